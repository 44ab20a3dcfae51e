"""The pages of ``changed``: the first walk, polls, removals.  In: a source and where its walk stands.  Out: pages.

A source is the people of an org, its accounts or its opportunities.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from connectors import _salesforce_walk as walk
from connectors._salesforce_calls import Found
from connectors._salesforce_wire import Row
from connectors.contract import Page, Record


class Source(Protocol):
    """What can be walked."""

    @property
    def entities(self) -> Sequence[str]:
        """Objects of the first walk."""

    @property
    def order(self) -> Sequence[str]:
        """Objects of a poll."""

    def query(self, entity: str, where: str, order: str, *, removed: bool = False) -> Found:
        """One page of one object."""

    def count(self, entity: str, where: str = "") -> int | None:
        """How many there are."""

    def about(self, entity: str, rows: Sequence[Row], /) -> Sequence[Row]:
        """The rows whom a page of changed rows is about."""

    def resolve(self, ids: Iterable[str]) -> tuple[list[Record], set[str]]:
        """The records that these ids lead to, and the ids whose way ends at a removed row."""

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of these ids, removed ones too."""

    def removals(self, entity: str, start: datetime, end: datetime) -> list[str]:
        """The ids that the delete feed names."""

    def first(self, records: Sequence[Record]) -> list[Record]:
        """The records as the first walk tells them."""

    def led(self, records: Sequence[Record]) -> list[Record]:
        """The records with all that is to be said of them."""


def page(source: Source, cursor: str | None) -> Page:
    """First all by id, then changes by time, removals among them."""
    state = walk.Listing("") if cursor is None else walk.load(cursor)
    return _listed(source, state) if isinstance(state, walk.Listing) else _polled(source, state)


def _listed(source: Source, state: walk.Listing) -> Page:
    """One page of the first walk."""
    begins = state.entity == 0 and state.after is None
    found = source.query(*walk.listing(state, source.entities))
    if begins:
        counts = [source.count(entity, walk.live(entity)) for entity in source.entities]
        total = None if None in counts else sum(n for n in counts if n is not None)
        state = dataclasses.replace(state, since=walk.first(found.at), total=total)
    following, more = walk.listed(state, found.rows, full=found.full, entities=source.entities)
    records = source.first([r.record for r in found.rows if not r.away])
    return Page(tuple(records), walk.dump(following), more=more, total=state.total)


def _polled(source: Source, state: walk.Poll) -> Page:
    """One page of a poll; with an object's last page comes what its delete feed names."""
    order = source.order
    entity, where, by = walk.query(state, order)
    found = source.query(entity, where, by, removed=True)
    following, more = walk.polled(state, found.rows, full=found.full, now=found.at, order=order)
    removals: list[str] = []
    if not found.full:
        span = walk.feed(dataclasses.replace(state, began=following.began if more else following.since))
        if span is not None:
            removals = source.removals(entity, *span)
    return _page(source, source.about(entity, found.rows), removals, walk.dump(following), more=more)


def _page(source: Source, rows: Iterable[Row], removals: Iterable[str], cursor: str, *, more: bool) -> Page:
    """Who lives on elsewhere is followed; who is removed and does not is deleted."""
    rows = tuple(rows)
    away = list(dict.fromkeys([*(r.record.id for r in rows if r.away), *removals]))
    followed, removed = source.resolve(away)
    # What the feed names and no query shows any more has left the recycle bin.
    known = removed | {former for r in followed for former in (r.id, *r.former_ids)}
    unseen = [i for i in removals if i not in known]
    shown = source.rows(unseen)
    purged = {i for i in unseen if i not in shown}
    moved = {r.id: r for r in followed if r.former_ids}
    here = {r.record.id: r.record for r in rows if not r.away} | moved
    deleted = tuple(i for i in away if i in removed or i in purged)
    return Page(tuple(source.led(list(here.values()))), cursor, more=more, deleted=deleted)
