"""Merging two contacts at HubSpot.  In: orders.  Out: their receipts.

A merge cannot be undone, and HubSpot's words do not tell a repeated one from another mistake.  So the ids themselves
are asked: batch calls know only records that are there, a single call follows an id to the record that it lives on in.

Sources: developers.hubspot.com, "CRM API | Contacts"; changelog "Updated merge functionality for contacts and
companies" (the merged record has an id of its own, to which both old ones lead).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from connectors._hubspot_calls import REFUSALS, Contacts
from connectors._hubspot_wire import fault_of, is_id, problem, record
from connectors.contract import Done, Failed, Gone, Order, Receipt, Refused, TryLater

MOST: Final = 250  # records that one record can take in, then 414; knowledge.hubspot.com, "Merge records"


class Merging:
    """The merges of one write."""

    def __init__(self, contacts: Contacts, orders: Sequence[Order]) -> None:
        """``orders``: all that will be asked for, so that they are looked up together.  No I/O."""
        self._contacts = contacts
        self._ids = [i for o in orders for i in (o.id, o.loser) if i is not None and is_id(i)]
        self._there: set[str] | None = None  # ids known to be those of records, not former ones
        self._made: set[str] = set()  # ids of records that merges of this write have led to

    def one(self, order: Order) -> Receipt:
        """Merge.  Raises TryLater, NeedsHuman."""
        winner, loser = order.id, order.loser
        if winner is None or loser is None or winner == loser:
            return Failed(order.key, Refused("hubspot: a merge needs two ids", code="id"))
        if not (is_id(winner) and is_id(loser)):
            return Gone(order.key, "hubspot: no contact of one of these ids")
        if self._there is None:
            self._there = {r.id for r in self._contacts.by(None, self._ids)}
        if not {winner, loser} <= self._there:
            settled = self._settled(order, winner, loser)
            if not isinstance(settled, tuple):
                return settled
            winner, loser = settled
        self._there -= {winner, loser}
        response = self._contacts.merge(winner, loser)
        if response.status_code in REFUSALS:
            return self._refused(order, winner, loser, response)
        row = self._contacts.json(response)
        if not isinstance(row, Mapping) or row.get("id") is None:
            raise TryLater("hubspot: the answer to a merge is not a contact", landed=True)
        found = record(row, asked=order.id)
        self._made.add(found.id)
        former = dict.fromkeys([*found.former_ids, str(order.loser), winner, loser])
        found = dataclasses.replace(found, former_ids=tuple(i for i in former if i != found.id))
        return Done(order.key, found.id, found, found.modified)

    def _settled(self, order: Order, winner: str, loser: str) -> Receipt | tuple[str, str]:
        """The receipt where there is nothing to merge; else the ids under which the two are known."""
        into, what = self._contacts.resolve(winner), self._contacts.resolve(loser)
        if into is None or what is None:
            whom = "to merge into" if into is None else "that is to be merged"
            return Gone(order.key, f"hubspot: no contact of the id {whom}")
        if into == what:
            return Done(order.key, into)
        if what != loser and what not in self._made:  # somebody merged it elsewhere: that record was not meant
            why = "hubspot: the contact that is to be merged lives on in a third one"
            return Failed(order.key, Refused(why, code="conflict"))
        return into, what

    def _refused(self, order: Order, winner: str, loser: str, response: httpx.Response) -> Receipt:
        status = response.status_code
        if status == 414:
            why = f"hubspot: 414, a contact can take in {MOST} others at most"
            return Failed(order.key, Refused(why, code="merges"))
        settled = self._settled(order, winner, loser)  # meanwhile done, or gone
        if not isinstance(settled, tuple):
            return settled
        return Failed(order.key, problem(fault_of(response), self._contacts.secrets, status=status))
