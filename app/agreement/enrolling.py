"""Who is in which programme: a part of the fold (``app.agreement.lifecycle``), so no order of arrival matters.  Pure.

Somebody is enrolled when a programme's condition becomes true of them, and stays until its ``ends`` is true or its days
are over; where it has neither, until the condition is not true any more.  Who left because the days were over comes
again only after the condition had been false in between.

Consent goes before everything: whoever has withdrawn the consent to e-mail, or whose address is suppressed, is not
enrolled, and a member who withdraws leaves at that moment.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from app.agreement import judging
from app.agreement.load import Agreement, Programme
from app.agreement.versions import Versions
from app.agreement.words import Lead, Membership

DAY: Final = 86_400_000
STOPS: Final = "consent.email.stops"
STATUS: Final = "consent.email.status"
GONE: Final = "the agreement has no such programme any more"


class Enrolling:
    """The programmes of one person while the fold runs.

    ``since``: nobody is enrolled before: what nobody could deliver then was no programme.  ``kept``: go on from there
    (``seal``).
    """

    def __init__(self, since: int = 0, kept: Mapping[str, Any] | None = None) -> None:
        self._since = since
        data = kept if kept is not None else {}
        self.memberships: list[Membership] = [Membership(**one) for one in data.get("memberships", ())]
        self._fits: dict[str, bool] = dict(data.get("fits", {}))  # at the last look
        self._rounds: dict[str, int] = dict(data.get("rounds", {}))  # how often, so far
        self._stale: set[str] = set(data.get("stale", ()))
        self._agreement: Agreement | None = None
        self._readers: dict[str, set[str]] = {}  # fact → programmes that read it
        self._flipping: frozenset[str] = frozenset()  # that time alone may turn

    def seal(self, at: int) -> dict[str, Any]:
        """The form at rest: what may still change after ``at``."""
        held = [dataclasses.asdict(m) for m in self.memberships if not final(m.ended_at, m.until, m.reached_at, at)]
        more = {"fits": dict(self._fits), "rounds": dict(self._rounds), "stale": sorted(self._stale)}
        return {"memberships": held, **more}

    def under(self, agreement: Agreement | None, *, again: bool = False) -> None:
        """Go by this version from now on; ``again``: it is the one that held when this was sealed."""
        self._agreement = agreement
        self._readers.clear()
        programmes = agreement.programmes if agreement is not None else ()
        for one in programmes:
            for path in (*one.when.paths, *(one.ends.paths if one.ends is not None else ()), STOPS):
                self._readers.setdefault(path, set()).add(one.name)
        self._flipping = frozenset(p.name for p in programmes if _flips(p))
        if not again:
            self._stale = {p.name for p in programmes} | {m.programme for m in self._open()}

    def touch(self, paths: Iterable[str]) -> None:
        """These facts may be others now."""
        if self._readers:
            for path in paths:
                self._stale |= self._readers.get(path, set())

    def passed(self) -> None:
        """Time has passed."""
        self._stale |= self._flipping

    def turns(self, known: Mapping[str, Any], after: int) -> Iterable[int]:
        """The moments later than ``after`` at which time alone may change something."""
        if self._agreement is None:
            return
        if self._since > after:
            yield self._since
        held = {m.programme: m for m in self._open()}
        for one in self._agreement.programmes:
            for condition in (one.when, one.ends):
                if condition is not None and condition.flips:
                    moment = condition.turns(known, after)
                    if moment is not None:
                        yield moment
            member = held.get(one.name)
            if member is not None and one.days is not None and member.at + one.days * DAY > after:
                yield member.at + one.days * DAY

    def moved(self, before: str | None, after: str, moment: int) -> None:
        """The person came to another stage: what a programme was to bring about may be there."""
        for n, one in enumerate(self.memberships):
            timely = one.reached_at is None and one.until is not None and one.at < moment <= one.until
            if timely and self._brings(one.stage, before, after):
                self.memberships[n] = replace(one, reached_at=moment)

    def _brings(self, wanted: str | None, before: str | None, after: str) -> bool:
        agreement = self._agreement
        aim = agreement.stage(wanted) if agreement is not None else None
        now = agreement.stage(after) if agreement is not None else None
        if agreement is None or aim is None or now is None:
            return False
        was = agreement.stage(before)
        return aim is now or (aim.rank < now.rank and (was is None or was.rank < aim.rank))

    def look(self, known: Mapping[str, Any], moment: int) -> None:
        """Enrol whom a programme fits now, and let go whom it does not."""
        if not self._stale or moment < self._since:
            return
        programmes = {p.name: p for p in self._agreement.programmes} if self._agreement is not None else {}
        for n, member in enumerate(self.memberships):
            if member.ended_at is None and member.programme not in programmes:
                self.memberships[n] = replace(member, ended_at=moment, ended_why=GONE)
        self._fits = {name: fits for name, fits in self._fits.items() if name in programmes}
        for one in programmes.values():
            if one.name in self._stale:
                self._one(one, known, moment)
        self._stale.clear()

    def _one(self, one: Programme, known: Mapping[str, Any], moment: int) -> None:
        stops = forbidden(known)
        wanted = one.when.holds(known, moment)
        over = one.ends is not None and one.ends.holds(known, moment)
        fits = wanted and not over and not stops
        member = next((n for n, m in enumerate(self.memberships) if m.programme == one.name and m.ended_at is None), -1)
        if member >= 0:
            held = self.memberships[member]
            why = None
            if stops:
                why = f"consent to e-mail: {known.get(STATUS, 'withdrawn')}"
            elif over and one.ends is not None:
                why = judging.told(one.ends.because(known, moment))
            elif one.days is not None and moment >= held.at + one.days * DAY:
                why = f"{one.days} days are over"
            elif one.ends is None and one.days is None and not wanted:
                why = "its condition is not true any more"
            if why is not None:
                self.memberships[member] = replace(held, ended_at=moment, ended_why=why)
        elif fits and not self._fits.get(one.name, False) and self._agreement is not None:
            why = judging.told(one.when.because(known, moment))
            number = self._rounds[one.name] = self._rounds.get(one.name, 0) + 1
            until = moment + one.within if one.stage is not None else None
            digest = self._agreement.digest
            self.memberships.append(Membership(one.name, number, digest, moment, why, stage=one.stage, until=until))
        self._fits[one.name] = fits

    def _open(self) -> list[Membership]:
        return [m for m in self.memberships if m.ended_at is None]


def final(ended_at: int | None, until: int | None, reached_at: int | None, at: int) -> bool:
    """Whether nothing later than ``at`` can change a membership: it is over, and so is what it is measured by."""
    measured = until is None or until <= at or (reached_at is not None and reached_at <= at)
    return ended_at is not None and ended_at <= at and measured


def forbidden(known: Mapping[str, Any]) -> bool:
    """Whether the person is not to be written to by e-mail."""
    return known.get(STOPS) is True


def _flips(programme: Programme) -> bool:
    ends = programme.ends is not None and bool(programme.ends.flips)
    return ends or bool(programme.when.flips) or programme.days is not None


def held_out(programme: str, contact: int, share: float) -> bool:
    """Whether a person is one of those left without the programme, to compare with.

    By a hash of both, so that it is the same whenever and wherever it is asked, chance as far as the person goes, and
    another choice for each programme.
    """
    digest = hashlib.blake2b(str(contact).encode(), digest_size=8, key=programme.encode(), person=b"hold-out").digest()
    return int.from_bytes(digest, "big") < share * 2**64


def share_of(versions: Versions, member: Membership) -> float:
    """The share that is left without the programme, by the version in force when the membership began."""
    for version in versions:
        if version.agreement.digest == member.version:
            return next((p.hold_out for p in version.agreement.programmes if p.name == member.programme), 0.0)
    return 0.0


def tags(versions: Versions, lead: Lead, contact: int, now: int) -> tuple[frozenset[str], frozenset[str]]:
    """The tags that a person is to have by programmes now, and all tags that are programmes' by now."""
    every = frozenset(tag for v in versions if v.since <= now for tag in _tags(v.agreement).values())
    version = versions.at(now)
    if version is None:
        return frozenset(), every
    named = _tags(version.agreement)
    return frozenset(named[name] for name in getting(versions, lead, contact) if name in named), every


def getting(versions: Versions, lead: Lead, contact: int) -> list[str]:
    """The programmes that a person has now: those in which they are, and of which they are not left out."""
    members = [m for m in lead.memberships if m.ended_at is None]
    return [m.programme for m in members if not held_out(m.programme, contact, share_of(versions, m))]


def _tags(agreement: Agreement) -> dict[str, str]:
    return {p.name: p.tag for p in agreement.programmes if p.tag is not None}
