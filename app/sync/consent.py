"""What somebody agreed to.  In: the entries of the consent ledger for one address.  Out: the state now.  Pure.

Consent is a ratchet.  The state is a function of the set of entries and does not depend on the order in which they
arrived.  A withdrawal holds until a *newer* grant *with evidence*, from a source that may grant, lifts it; how much
evidence it takes depends on why it was withdrawn, and an erasure is never lifted.  What has no such evidence (a field,
a blank, an import, a first sync, a merge) may say that somebody is subscribed, but never lifts a withdrawal.

Why the ratchet: a person's objection to direct marketing holds without conditions (GDPR art. 21(2) and (3)), consent
has to be demonstrable (art. 7(1)), and withdrawing must be as easy as giving (art. 7(3)).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.core.words import EVERYTHING, OPERATOR, STOPPING, STRICTNESS, Channel, Entry, Reason, Status, Value
from app.sync import matching

# What lifts a withdrawal, by the reason why it was made.
_PROOFS: Final = frozenset({"form", "double_opt_in", "operator"})
LIFTED_BY: Final[Mapping[Reason, frozenset[str]]] = {
    Reason.HARD_BOUNCE: frozenset({"double_opt_in", "operator"}),  # a form may carry a mistyped address again
    Reason.COMPLAINT: frozenset({"operator"}),  # who reported spam is not won back by a form
    Reason.COMPLIANCE: frozenset({"double_opt_in", "operator"}),
    Reason.ERASURE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class State:
    """What holds now for one address, channel and purpose."""

    status: Status
    entry: Entry | None = None  # the line that decides; None = nothing is known

    @property
    def stops(self) -> bool:
        """Whether it forbids to write."""
        return self.status in STOPPING


UNKNOWN: Final = State(Status.NONE)
OURSELVES: Final = "tandem"
"""The source of lines that follow from others: an objection carried to another address, or to another contact."""

MayGrant = Callable[[str], bool]
"""Whether a source (connection, or "operator") may lift withdrawals; the configuration says so."""


FIELDS: Final[Mapping[Channel, str]] = {
    Channel.EMAIL: "email",
    Channel.PHONE: "phone",
    Channel.SMS: "mobile_phone",
}
"""The canonical field that is a channel's address.  Post has none: a street is no key."""

KEYS: Final[Mapping[Channel, str]] = {Channel.EMAIL: "email", Channel.PHONE: "phone", Channel.SMS: "phone"}
"""The key under which contacts with a channel's address are found, see ``app.sync.matching.keys_of``."""


def address(values: Mapping[str, Value], channel: Channel) -> str | None:
    """The address under which a contact's consent for a channel is kept; None where there is none."""
    name = FIELDS.get(channel)
    value = values.get(name) if name is not None else None
    return value if isinstance(value, str) and value else None


def addresses(values: Mapping[str, Value], channel: Channel) -> list[str]:
    """All addresses of a contact for a channel, the one in use first."""
    own = address(values, channel)
    first = [] if own is None else [own]
    return [*first, *sorted(matching.addresses(values) - set(first))] if channel is Channel.EMAIL else first


def proven(held: State) -> bool:
    """Whether a grant rests on evidence, so that it may be said to another vendor."""
    return held.entry is not None and _proven(held.entry)


def _proven(entry: Entry) -> bool:
    return entry.status is Status.GRANTED and any(entry.evidence.get(proof) for proof in _PROOFS)


def lifts(grant: Entry, withdrawal: Entry, may_grant: MayGrant) -> bool:
    """Whether ``grant`` undoes ``withdrawal``: newer, of the same purpose, with enough evidence, from who may grant."""
    return (
        grant.status is Status.GRANTED
        and grant.at > withdrawal.at
        and grant.purpose == withdrawal.purpose
        and may_grant(grant.source)
        and any(grant.evidence.get(proof) for proof in LIFTED_BY.get(withdrawal.reason, _PROOFS))
    )


def state(entries: Iterable[Entry], may_grant: MayGrant, purpose: str = EVERYTHING) -> State:
    """What holds for one purpose, from all entries of one address and channel.

    An entry about everything also binds each purpose; the stricter of the two holds.
    """
    found = _standing(entries)
    own = _of_purpose([e for e in found if e.purpose == purpose], may_grant)
    if purpose == EVERYTHING:
        return own
    every = _of_purpose([e for e in found if e.purpose == EVERYTHING], may_grant)
    return every if every.stops and STRICTNESS[every.status] >= STRICTNESS[own.status] else own


def _standing(entries: Iterable[Entry]) -> list[Entry]:
    """All lines but those that a merge brought which a named operator split since, and the lines that say so."""
    found = list(entries)
    split = {e.evidence["split"] for e in found if e.source == OPERATOR and "split" in e.evidence}
    if not split:
        return found
    return [e for e in found if e.evidence.get("merge") not in split and "split" not in e.evidence]


def _of_purpose(entries: Collection[Entry], may_grant: MayGrant) -> State:
    grants = [e for e in entries if e.status is Status.GRANTED]
    standing = [e for e in entries if e.stops and not any(lifts(g, e, may_grant) for g in grants)]
    if standing:
        entry = max(standing, key=lambda e: (STRICTNESS[e.status], *e.rank))
        return State(entry.status, entry)
    # A grant that had withdrawals to lift counts only if it lifts; nothing but evidence speaks after a withdrawal.
    lifted = [e for e in entries if e.stops]
    latest = max((e.at for e in lifted), default=None)
    speaking = [e for e in entries if not e.stops and (latest is None or e.at > latest)]
    if not speaking:
        return UNKNOWN
    # A vendor that only echoes a field ("not opted out") takes nothing from a consent that somebody can show.
    entry = max(speaking, key=lambda e: (_proven(e), e.status is not Status.NONE, e.rank))
    return State(entry.status, entry)


def strictest(states: Iterable[State]) -> State:
    """The most restrictive of several states, e.g. of two contacts that become one."""
    return max(
        states, key=lambda s: (STRICTNESS[s.status], s.entry.rank if s.entry is not None else ()), default=UNKNOWN
    )
