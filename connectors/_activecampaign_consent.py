"""Consent at ActiveCampaign: one state for each list that a contact is on.  In: rows of ``contactLists``, orders.
Out: one word per channel and list, and what to set so that an order holds.  Pure.

The vendor keeps no objection to all e-mail, so one list of the account, ``list_id``, speaks for it: an objection stands
there even for somebody who was on no list, and only there consent that is proven elsewhere may subscribe.  A withdrawal
takes the person off every list of the channel.

The API subscribes again whoever has unsubscribed by hand, without a word ("Update list status for a contact").  So
nobody is subscribed here who is unsubscribed there in a way the order does not know of, and nobody ever who bounced, or
who was asked to confirm and has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.contract import Order, Refused

EMAIL_CONSENT: Final = "consent.email"
SMS_CONSENT: Final = "consent.sms"
LIST: Final = "lists."

NONE: Final = "none"
UNCONFIRMED: Final = "unconfirmed"
SUBSCRIBED: Final = "subscribed"
UNSUBSCRIBED: Final = "unsubscribed"
BOUNCED: Final = "bounced"

# contactList.status; a number that is not here is nobody's consent.
_WORDS: Final[Mapping[str, str]] = {"0": UNCONFIRMED, "1": SUBSCRIBED, "2": UNSUBSCRIBED, "3": BOUNCED}
ACTIVE: Final = "1"
OFF: Final = "2"
RESUBSCRIBED: Final = "4"  # sourceid "when re-subscribing a contact"
_OPEN: Final = frozenset({SUBSCRIBED, UNCONFIRMED})  # may be mailed, or will be once confirmed


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a contact stands.  ``lists``: list → (channel, word).  ``bounced``: the address itself does not work."""

    lists: Mapping[str, tuple[str, str]]
    bounced: bool = False

    def word(self, list_id: str) -> str:
        """The state on one list."""
        return self.lists[list_id][1] if list_id in self.lists else NONE

    def of(self, channel: str) -> dict[str, str]:
        """The states on all lists of a channel."""
        return {list_id: word for list_id, (own, word) in self.lists.items() if own == channel}


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that an order says about consent."""

    name: str  # the field
    word: str

    @property
    def stops(self) -> bool:
        """Whether it takes the person off."""
        return self.word == UNSUBSCRIBED


@dataclass(frozen=True, slots=True)
class Step:
    """One state to set.  ``again``: the person was on the list before."""

    list_id: str
    status: str
    again: bool = False


def speaks(name: str) -> bool:
    """Whether a field is about consent."""
    return name in {EMAIL_CONSENT, SMS_CONSENT} or name.startswith(LIST)


def standing(rows: Iterable[Mapping[str, Any]], *, bounced: bool) -> Standing:
    """Rows of ``contactLists`` about one contact."""
    found = {}
    for row in rows:
        channel = "sms" if str(row.get("channel", "")).lower() == "sms" else "email"
        found[str(row.get("list"))] = (channel, _WORDS.get(str(row.get("status")), UNCONFIRMED))
    return Standing(found, bounced)


def words(stands: Standing, list_id: str, lists: Iterable[str]) -> dict[str, str]:
    """One word per channel, and per list that was asked for.

    To be on other lists only is no consent; to be off all of them is an objection.
    """
    main = stands.word(list_id)
    mail = set(stands.of("email").values())
    if stands.bounced:
        main = BOUNCED
    elif main == NONE and UNSUBSCRIBED in mail and not mail & _OPEN:
        main = UNSUBSCRIBED
    texts = set(stands.of("sms").values())
    if SUBSCRIBED in texts:
        sms = SUBSCRIBED
    else:
        sms = UNSUBSCRIBED if UNSUBSCRIBED in texts and UNCONFIRMED not in texts else NONE
    return {EMAIL_CONSENT: main, SMS_CONSENT: sms, **{LIST + one: stands.word(one) for one in lists}}


def acts(order: Order) -> tuple[Act, ...]:
    """What an order says about consent, withdrawals first.  Refused for what cannot be said."""
    found = []
    for name, value in order.fields.items():
        if speaks(name):
            takes = (UNSUBSCRIBED,) if name == SMS_CONSENT else (UNSUBSCRIBED, SUBSCRIBED)
            if value not in takes:
                raise Refused(f"activecampaign: {name} takes {', '.join(takes)}", code="consent", field=name)
            found.append(Act(name, str(value)))
    return tuple(sorted(found, key=lambda act: not act.stops))


def steps(act: Act, stands: Standing, list_id: str, known: Mapping[str, Any]) -> list[Step]:
    """What is left to set so that the act holds.  ``known``: what the order goes by.  Refused where it must not be."""
    own = act.name.removeprefix(LIST) if act.name.startswith(LIST) else list_id
    if not act.stops:
        return _grant(act, stands, own, known)
    if act.name.startswith(LIST):
        return [Step(own, OFF)] if stands.word(own) in {*_OPEN, NONE} else []
    channel = "sms" if act.name == SMS_CONSENT else "email"
    found = [Step(one, OFF) for one, word in sorted(stands.of(channel).items()) if word in _OPEN]
    if channel == "email" and stands.word(list_id) == NONE:
        found.append(Step(list_id, OFF))
    return found


def _grant(act: Act, stands: Standing, list_id: str, known: Mapping[str, Any]) -> list[Step]:
    word = stands.word(list_id)
    if stands.bounced or word == BOUNCED:
        raise Refused("activecampaign: mail to the person bounced", code="compliance", field=act.name)
    if word == SUBSCRIBED:
        return []
    if word == UNCONFIRMED:
        says = "activecampaign: the person was asked to confirm and has not; only they can"
        raise Refused(says, code="compliance", field=act.name)
    shown = words(stands, list_id, ())[EMAIL_CONSENT] if act.name == EMAIL_CONSENT else word
    if shown == UNSUBSCRIBED and known.get(act.name) != UNSUBSCRIBED:
        says = "activecampaign: the person unsubscribed there, later than what the order goes by"
        raise Refused(says, code="compliance", field=act.name)
    return [Step(list_id, ACTIVE, again=word == UNSUBSCRIBED)]
