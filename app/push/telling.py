"""What came of orders, for traces: which change an order carries, and what the vendor said.  Asked for only then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection as Db

from app.core.trace import Step
from app.core.words import Channel
from app.entry import inbox
from app.push.plan import Planned
from app.records import ledger
from app.sync import consent
from connectors.contract import Failed, Receipt, Refused


def steps(db: Db, told: Sequence[tuple[Planned, Receipt]]) -> list[Step]:
    """One for each order.  The newest change in it has it in its trace, others are linked."""
    said = [set(_events(planned)) for planned, _ in told]
    objecting = [planned for planned, _ in told if planned.consents]
    if objecting:
        heard = ledger.newest_events(db, {a for planned in objecting for a in _addresses(planned)})
        for events, (planned, _) in zip(said, told, strict=True):
            if planned.consents:
                events |= {heard[a] for a in _addresses(planned) if a in heard}
    origins = inbox.origins(db, {event for events in said for event in events})
    found = []
    for events, (planned, receipt) in zip(said, told, strict=True):
        known = [origins[event] for event in sorted(events, reverse=True) if event in origins]
        about: dict[str, str | int | float] = {
            "tandem.receipt": type(receipt).__name__.lower(),
            "tandem.verb": str(planned.order.verb),
            "tandem.attempts": planned.row.attempts,
        }
        if isinstance(receipt, Failed):
            about["tandem.problem"] = type(receipt.problem).__name__
            if isinstance(receipt.problem, Refused):
                about["tandem.code"] = receipt.problem.code
        good = not isinstance(receipt, Failed)
        found.append(Step(known[0] if known else None, about, good, known[1:]))
    return found


def _events(planned: Planned) -> Iterator[int]:
    for name in planned.sent:
        fact = planned.contact.facts.get(name)
        if fact is not None and fact.event is not None:
            yield fact.event


def _addresses(planned: Planned) -> Iterator[str]:
    for channel in Channel:
        address = consent.address(planned.contact.values(), channel)
        if address is not None:
            yield address
