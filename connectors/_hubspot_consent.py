"""Opting somebody out at HubSpot.  The property that shows it is read-only; the act is a call about the address.

An opt-out lives with the address, not with the contact, so it is done first: a contact that is created afterwards is
opted out from its first moment.  Opting in again is not offered: HubSpot refuses it for who opted out themselves.
Sources: HubSpot's public API specification, "Subscriptions v4"; "Subscription preferences API".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from connectors._hubspot_calls import REFUSALS, Contacts
from connectors._hubspot_wire import EMAIL, fault_of, problem
from connectors.contract import Failed, NeedsHuman, Order, Receipt, Refused, TryLater

OPT_OUT: Final = "hs_email_optout"
_URL: Final = "/communication-preferences/v4/statuses/{}/unsubscribe-all"


def write(
    contacts: Contacts, orders: Sequence[Order], rest: Callable[[Contacts, Sequence[Order]], Sequence[Receipt]]
) -> list[Receipt]:
    """Opt out who is to be opted out, then let ``rest`` carry out what else the orders say."""
    failed: dict[int, Failed] = {}
    others: list[tuple[int, Order]] = []
    for at, order in enumerate(orders):
        if OPT_OUT not in order.fields:
            others.append((at, order))
            continue
        try:
            _opt_out(contacts, order)
        except (Refused, TryLater, NeedsHuman) as trouble:
            failed[at] = Failed(order.key, trouble)
            continue
        fields = {name: value for name, value in order.fields.items() if name != OPT_OUT}
        others.append((at, dataclasses.replace(order, fields=fields)))
    receipts: dict[int, Receipt] = dict(failed)
    written = rest(contacts, [order for _, order in others])
    receipts.update({at: receipt for (at, _), receipt in zip(others, written, strict=True)})
    return [receipts[at] for at in range(len(orders))]


def _opt_out(contacts: Contacts, order: Order) -> None:
    said = str(order.fields[OPT_OUT]).lower()
    if said != "true":
        raise Refused("hubspot: an opt-out cannot be taken back over the API", code="consent", field=OPT_OUT)
    address = _address(order.fields, order.known)
    if address is None:
        raise Refused("hubspot: without an address there is nobody to opt out", code="consent", field=EMAIL)
    response = contacts.send(
        "POST", _URL.format(quote(address, safe="")), params={"channel": "EMAIL"}, take=REFUSALS, safe=True
    )
    if response.status_code in REFUSALS:
        raise problem(fault_of(response), contacts.secrets, status=response.status_code)


def _address(*places: Mapping[str, Any]) -> str | None:
    for fields in places:
        value = fields.get(EMAIL)
        if isinstance(value, str) and value:
            return value
    return None
