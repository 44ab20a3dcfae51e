"""Consent at Klaviyo: who is taken off, who is put on, and what is certain of it.

A profile itself takes no consent; jobs do, which are answered with 202 before anything has happened, and most of them
cannot be asked how they went.  So nothing here is believed because it was sent: the profile is read back, and an act
is done once the profile shows it.  Until then the order waits, and its next try looks first and asks again.

- ``consent.email`` takes ``unsubscribed``, ``suppressed`` and ``subscribed``; ``consent.sms`` the first and the last.
- To subscribe lifts an unsubscribe, a suppression by hand and a spam complaint there.  So somebody who is stopped in
  Klaviyo is subscribed only where that stop was known when the order was made; never after a complaint or a bounce.
- Subscriptions go through a list with single opt-in.  With double opt-in each try would mail the person again.

Source: Klaviyo's OpenAPI document 2026-07-15, the three ``profile-*-bulk-*-jobs`` and ``/api/lists/{id}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from connectors._klaviyo_calls import JOB, Profiles
from connectors._klaviyo_wire import (
    BOUNCED,
    COMPLAINED,
    CONSENT,
    EMAIL,
    EMAIL_CONSENT,
    PHONE,
    SMS_CONSENT,
    STOPPED,
    SUBSCRIBED,
    SUPPRESSED,
    UNSUBSCRIBED,
    refusal,
)
from connectors.contract import Order, Record, Refused

SOURCE: Final = "Tandem"  # what Klaviyo shows as the source of a subscription

_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    EMAIL_CONSENT: (UNSUBSCRIBED, SUPPRESSED, SUBSCRIBED),
    SMS_CONSENT: (UNSUBSCRIBED, SUBSCRIBED),
}
_ADDRESS: Final[Mapping[str, str]] = {EMAIL_CONSENT: EMAIL, SMS_CONSENT: PHONE}
_JOBS: Final[Mapping[str, tuple[str, str]]] = {  # word -> kind of job, family of its rate
    UNSUBSCRIBED: ("profile-subscription-bulk-delete-job", "unsubscribe"),
    SUPPRESSED: ("profile-suppression-bulk-create-job", "suppress"),
    SUBSCRIBED: ("profile-subscription-bulk-create-job", "subscribe"),
}


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to say about one channel of a profile."""

    name: str  # the field
    word: str

    @property
    def stops(self) -> bool:
        """Whether it takes the person off."""
        return self.word != SUBSCRIBED

    def address(self, found: Record) -> str | None:
        """The address that it is about; None where the profile has none."""
        value = found.fields.get(_ADDRESS[self.name])
        return value if isinstance(value, str) and value else None

    def holds(self, found: Record, *, sent: bool) -> bool:
        """Whether the profile shows it.  ``sent``: the job was accepted before.

        Until it was sent only the objection itself counts, as a bounce or a suppression may be lifted by somebody.
        Afterwards any state in which nothing is sent will do: Klaviyo keeps one reason where there are two.
        """
        shown = found.fields.get(self.name)
        if self.word == UNSUBSCRIBED and not sent:
            return shown == UNSUBSCRIBED
        if not self.stops:
            return shown == SUBSCRIBED
        # SMS needs a subscription there: whoever has none gets none.
        return shown in STOPPED or (self.name == SMS_CONSENT and shown != SUBSCRIBED and sent)


@dataclass(frozen=True, slots=True)
class Ask:
    """One act about one address of one profile, on its way."""

    at: int  # the place of the order
    act: Act
    id: str
    address: str = field(repr=False)


def acts(order: Order) -> tuple[Act, ...]:
    """What an order says about consent.  Refused for what cannot be said."""
    found = []
    for name, value in order.fields.items():
        if not name.startswith(CONSENT):
            continue
        takes = _TAKES.get(name)
        if takes is None or value not in takes:
            wanted = f"takes {', '.join(takes)}" if takes is not None else "is read only"
            raise Refused(f"klaviyo: {name} {wanted}", code="consent", field=name)
        found.append(Act(name, str(value)))
    return tuple(found)


def pending(order: Order, wanted: Sequence[Act], found: Record, sent: Mapping[tuple[str, str], str]) -> list[Act]:
    """The acts that the profile does not show yet.  ``sent``: (profile, field) → the address that was told of.

    Refused for a subscription that must not be, and for an objection that has no address to hang on.
    """
    open_ = []
    for act in wanted:
        address = act.address(found)
        if act.holds(found, sent=address is not None and sent.get((found.id, act.name)) == address):
            continue
        if not act.stops:
            _grantable(order, act, found)
        if address is None:
            if act.stops and act.name == SMS_CONSENT:
                continue  # no number, no message; and a number that comes later needs a subscription first
            says = f"klaviyo: a profile without {_ADDRESS[act.name]} can neither be subscribed nor unsubscribed"
            raise Refused(says, code="consent", field=act.name)
        open_.append(act)
    return open_


def _grantable(order: Order, act: Act, found: Record) -> None:
    shown = found.fields.get(act.name)
    known = order.known.get(act.name) in STOPPED
    if shown in {BOUNCED, COMPLAINED} or (shown in STOPPED and not known):
        says = "klaviyo: the person is stopped there, later than what we go by or for good"
        raise Refused(says, code="compliance", field=act.name)


class Jobs:
    """Sends acts, many in one job."""

    def __init__(self, profiles: Profiles, list_id: str | None) -> None:
        """``list_id``: the list to which people are subscribed; None: nobody is."""
        self._profiles = profiles
        self._list = list_id
        self._opt_in: str | None = None

    def send(self, asks: Sequence[Ask], refused: Callable[[Ask, Refused], None]) -> list[Ask]:
        """Start the jobs; those that were accepted.  ``refused`` hears of each that was not.

        Withdrawals go first.  Raises TryLater, NeedsHuman.
        """
        done: list[Ask] = []
        groups: dict[Act, list[Ask]] = {}
        for ask in asks:
            groups.setdefault(ask.act, []).append(ask)
        for act in sorted(groups, key=lambda a: (not a.stops, a.name, a.word)):
            if not act.stops:
                try:
                    self._single_opt_in(act)
                except Refused as problem:
                    for ask in groups[act]:
                        refused(ask, problem)
                    continue
            for part in _parts(groups[act]):
                done += self._part(act, part, refused)
        return done

    def _part(self, act: Act, part: Sequence[Ask], refused: Callable[[Ask, Refused], None]) -> list[Ask]:
        """One job; a refused one is cut until the address that spoils it stands alone."""
        response = self._job(act, part)
        if response.status_code != 400:
            return list(part)
        if len(part) == 1:
            problem = refusal(response, part[0].address, {*self._profiles.secrets, part[0].address})
            refused(part[0], Refused(str(problem), code=problem.code, field=act.name))
            return []
        half = len(part) // 2
        return [*self._part(act, part[:half], refused), *self._part(act, part[half:], refused)]

    def _job(self, act: Act, part: Sequence[Ask]) -> httpx.Response:
        kind, family = _JOBS[act.word]
        attributes: dict[str, Any] = {"profiles": {"data": [_profile(ask) for ask in part]}}
        if act.stops:
            # Never with a list: whoever is not on it would be unsubscribed from everything all the same.
            return self._profiles.job(kind, family, attributes)
        return self._profiles.job(kind, family, {**attributes, "custom_source": SOURCE}, self._list)

    def _single_opt_in(self, act: Act) -> None:
        if self._list is None:
            says = "klaviyo: set list_id, a list with single opt-in, to let Tandem subscribe people"
            raise Refused(says, code="consent", field=act.name)
        if self._opt_in is None:
            self._opt_in = self._profiles.opt_in(self._list)
        if self._opt_in != "single_opt_in":
            says = (
                "klaviyo: the list of list_id asks each person to confirm, which a sync must not set off: "
                "name a list with single opt-in"
            )
            raise Refused(says, code="consent", field=act.name)


def _profile(ask: Ask) -> dict[str, Any]:
    """One address only: with two Klaviyo would join the profiles that have them."""
    attributes: dict[str, Any] = {_ADDRESS[ask.act.name]: ask.address}
    if ask.act.word == SUPPRESSED:
        return {"type": "profile", "attributes": attributes}
    channel = ask.act.name.removeprefix(CONSENT)
    attributes["subscriptions"] = {channel: {"marketing": {"consent": ask.act.word.upper()}}}
    return {"type": "profile", **({} if ask.act.stops else {"id": ask.id}), "attributes": attributes}


def _parts(asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    for start in range(0, len(asks), JOB):
        yield asks[start : start + JOB]
