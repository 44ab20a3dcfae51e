"""Consent at HubSpot: opting an address out of all e-mail or of one subscription type, and in to one type.

The properties that show it are read-only; the act is a call about the address.  What somebody said lives with the
address, not with the contact, so an opt-out is made before the rest of its order: a contact that is created afterwards
is opted out from its first moment.  An opt-in is made last, and only if the rest took effect: an order that meets
somebody else's record must not have changed what that person said.  Both set a state, so saying them twice is as good
as once.

Nobody is opted in against an opt-out that the order does not know of: HubSpot would take it back for us (v4 does, v3
does not), so it is looked up first, and the order is refused with code ``compliance``.

Sources: developers.hubspot.com, "Communication preferences" (v4 guide, mirror of April 2026: channel, states, legal
basis wanted of accounts with data privacy settings); HubSpot's public API specification, "Subscriptions v4".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx

from connectors._hubspot_calls import REFUSALS, Contacts
from connectors._hubspot_wire import EMAIL, fault_of, faults, problem
from connectors.contract import Done, Failed, NeedsHuman, Order, Receipt, Refused, TryLater, Verb

OPT_OUT: Final = "hs_email_optout"
"""The property that shows the opt-out of all e-mail; with ``_<id>`` that of one subscription type.  ``"true"``: opted
out.  ``"false"``: not, which is no consent.  The same names are written: ``"true"`` opts out, ``"BASIS: explanation"``
opts in to a type."""

BASES: Final = (  # "Subscriptions v4", legalBasis
    "CONSENT_WITH_NOTICE",
    "LEGITIMATE_INTEREST_CLIENT",
    "LEGITIMATE_INTEREST_OTHER",
    "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR",
    "PERFORMANCE_OF_CONTRACT",
    "PROCESS_AND_STORE",
)
_TOPIC: Final = re.compile(rf"{OPT_OUT}_([0-9]{{1,18}})")  # the id is a 64-bit number
_OPT_IN: Final = re.compile(r"([A-Z_]+)\s*:\s*(\S.*)", re.DOTALL)
_STATUSES: Final = "/communication-preferences/v4/statuses/{}"
_CHANNEL: Final = {"channel": "EMAIL"}
# Where data privacy settings are on, every change of a state needs both (v4 guide): an opt-out must not fail for it.
_OBJECTION: Final = ("LEGITIMATE_INTEREST_OTHER", "The person opted out in another system.")
_CHANGED: Final = frozenset({"REQUESTED_CHANGE_OCCURRED", "RESUBSCRIBE_OCCURRED"})  # setStatusSuccessReason


@dataclass(frozen=True, slots=True)
class _Act:
    """One thing to say about an address."""

    name: str  # of the property
    topic: int | None  # the subscription type; None: all e-mail
    grant: tuple[str, str] | None = None  # legal basis and explanation of an opt-in; None: an opt-out


@dataclass(frozen=True, slots=True)
class _Plan:
    """An order without what it says about consent, and that."""

    order: Order
    address: str = field(default="", repr=False)
    outs: tuple[_Act, ...] = ()
    ins: tuple[_Act, ...] = ()


def write(
    contacts: Contacts, orders: Sequence[Order], rest: Callable[[Contacts, Sequence[Order]], Sequence[Receipt]]
) -> list[Receipt]:
    """Opt out who is to be opted out, let ``rest`` carry out what else the orders say, then opt in.

    Where one of the steps fails, the order has failed and can be sent again as it is: what was done stays done.
    """
    receipts: dict[int, Receipt] = {}
    plans: dict[int, _Plan] = {}
    for at, order in enumerate(orders):
        try:
            plan = _plan(order)
            for act in plan.outs:
                _opt_out(contacts, plan.address, act)
        except (Refused, TryLater, NeedsHuman) as trouble:
            receipts[at] = _failed(order, trouble, made=False)
        else:
            plans[at] = plan
    written = rest(contacts, [plan.order for plan in plans.values()])
    for (at, plan), receipt in zip(plans.items(), written, strict=True):
        receipts[at] = _opted_in(contacts, plan, receipt) if isinstance(receipt, Done) else receipt
    return [receipts[at] for at in range(len(orders))]


def _plan(order: Order) -> _Plan:
    """Refused for an order that says about consent what cannot be said."""
    acts = [_act(name, value) for name, value in order.fields.items() if name == OPT_OUT or _TOPIC.fullmatch(name)]
    if not acts:
        return _Plan(order)
    address = _address(order.fields, order.known)
    if address is None:
        raise Refused("hubspot: without an address there is nobody to opt in or out", code="consent", field=EMAIL)
    names = {act.name for act in acts}
    others = {name: value for name, value in order.fields.items() if name not in names}
    outs, ins = [a for a in acts if a.grant is None], [a for a in acts if a.grant is not None]
    return _Plan(dataclasses.replace(order, fields=others), address, tuple(outs), tuple(ins))


def _act(name: str, value: object) -> _Act:
    word, topic = str(value).strip(), _TOPIC.fullmatch(name)
    if word.lower() == "true":
        return _Act(name, int(topic[1]) if topic is not None else None)
    if topic is None:
        raise Refused(
            "hubspot: the opt-out of all e-mail cannot be taken back over the API", code="consent", field=name
        )
    grant = _OPT_IN.fullmatch(word)
    if grant is None or grant[1] not in BASES:
        wanted = f"'true' (opt out) or 'BASIS: explanation' (opt in), BASIS being one of {', '.join(BASES)}"
        raise Refused(f"hubspot: {name} takes {wanted}", code="consent", field=name)
    return _Act(name, int(topic[1]), (grant[1], grant[2]))


def _opt_out(contacts: Contacts, address: str, act: _Act) -> None:
    response = _set(contacts, address, act, "UNSUBSCRIBED")
    if response.status_code in REFUSALS:
        raise problem(fault_of(response), contacts.secrets, status=response.status_code)
    if not _heeded(contacts, response, act, "UNSUBSCRIBED"):
        raise TryLater(f"hubspot: the answer says that {act.name} is not set")


def _opted_in(contacts: Contacts, plan: _Plan, receipt: Done) -> Receipt:
    try:
        for act in plan.ins:
            _opt_in(contacts, plan, act)
    except (Refused, TryLater, NeedsHuman) as trouble:
        return _failed(plan.order, trouble, made=True)
    return receipt


def _opt_in(contacts: Contacts, plan: _Plan, act: _Act) -> None:
    stays = Refused(
        "hubspot: the address is opted out there, which only the person can take back",
        code="compliance",
        field=act.name,
    )
    statuses = _url(plan.address)
    out = any(_about(row, act) for row in _opted_out(contacts, statuses))
    known = str(plan.order.known.get(act.name)).lower() == "true"
    # An opt-out that we know of is taken back on purpose; one that we do not know of came later than what we go by.
    if (out and not known) or any(_opted_out(contacts, f"{statuses}/unsubscribe-all")):
        raise stays
    response = _set(contacts, plan.address, act, "SUBSCRIBED")
    if response.status_code in REFUSALS:
        trouble = problem(fault_of(response), contacts.secrets, status=response.status_code)
        raise stays if out and isinstance(trouble, Refused) else trouble
    if not _heeded(contacts, response, act, "SUBSCRIBED"):
        raise stays


def _set(contacts: Contacts, address: str, act: _Act, state: str) -> httpx.Response:
    """The answer, whatever it is.  The channel stands in the query of one call and in the body of the other."""
    url = _url(address)
    if act.topic is None:
        return contacts.send("POST", f"{url}/unsubscribe-all", params=_CHANNEL, take=REFUSALS, safe=True)
    basis, why = act.grant if act.grant is not None else _OBJECTION
    about = {"subscriptionId": act.topic, "statusState": state, "legalBasis": basis, "legalBasisExplanation": why}
    return contacts.send("POST", url, json={**_CHANNEL, **about}, take=REFUSALS, safe=True)


def _heeded(contacts: Contacts, response: httpx.Response, act: _Act, state: str) -> bool:
    """False where the answer shows another state.  Raises the error that it holds; TryLater where it is no answer."""
    answer = contacts.json(response)
    if found := faults(answer):
        raise problem(found[0], contacts.secrets, status=response.status_code)
    return not any(
        _about(row, act) and row.get("status") != state and row.get("setStatusSuccessReason") not in _CHANGED
        for row in _rows(answer)
    )


def _opted_out(contacts: Contacts, url: str) -> Iterator[Mapping[str, Any]]:
    """What the address is opted out of.  404: nothing was ever said."""
    response = contacts.send("GET", url, params=_CHANNEL, take={404})
    if response.status_code == 404:
        return iter(())
    answer = contacts.json(response)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("results"), list):
        raise TryLater("hubspot: an answer without `results`")
    return (row for row in _rows(answer) if row.get("status") == "UNSUBSCRIBED")


def _about(row: Mapping[str, Any], act: _Act) -> bool:
    return str(row.get("subscriptionId")) == str(act.topic)


def _rows(answer: object) -> Iterator[Mapping[str, Any]]:
    found = answer.get("results") if isinstance(answer, Mapping) else None
    return (row for row in found if isinstance(row, Mapping)) if isinstance(found, list) else iter(())


def _failed(order: Order, problem: Refused | TryLater | NeedsHuman, *, made: bool) -> Failed:
    """``made``: the rest of the order took effect.  A create that may be there has to be looked up by the next try."""
    if isinstance(problem, TryLater) and order.verb is Verb.CREATE:
        problem = TryLater(str(problem), after=problem.after, landed=made or order.again)
    return Failed(order.key, problem)


def _url(address: str) -> str:
    return _STATUSES.format(quote(address, safe=""))


def _address(*places: Mapping[str, Any]) -> str | None:
    for fields in places:
        value = fields.get(EMAIL)
        if isinstance(value, str) and value:
            return value
    return None
