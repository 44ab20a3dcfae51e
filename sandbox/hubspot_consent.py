"""HubSpot's communication preferences, kept per e-mail address and mirrored in properties of the contact.

``hs_email_optout`` mirrors the opt-out of all mail, ``hs_email_optout_<id>`` what was said about one subscription
("true" opted out, "false" opted in, without a value where nothing was said).

Sources: developers.hubspot.com, "Subscription preferences" v3 and v4 (mirror of April 2026; the v3 guide of 2025-12-02
says that v3 cannot re-subscribe who opted out, v4 can; whether v4 also lifts an opt-out of all mail is not said: not
here); shapes as in hubspot-api-client 12.0.0 (``communication_preferences.models``).  There is no webhook for consent
itself, only for the mirrored properties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.hubspot_rules import OPTOUT, Property, bad, iso
from sandbox.hubspot_store import Contact, Portal

STATES = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
DEFINITIONS = (  # (id, name, description): what an account might have
    (1001, "Newsletter", "Monthly news"),
    (1002, "Product updates", "What is new in the product"),
    (1003, "One to One", "Mails of our sales people"),
)
MIRRORS = tuple(f"{OPTOUT}_{id_}" for id_, _, _ in DEFINITIONS)  # properties, one for each
_BEGAN = "2024-01-15T09:00:00.000Z"  # when the account defined its subscriptions
_BASES = (
    "LEGITIMATE_INTEREST_PQL",
    "LEGITIMATE_INTEREST_CLIENT",
    "LEGITIMATE_INTEREST_OTHER",
    "PERFORMANCE_OF_CONTRACT",
    "CONSENT_WITH_NOTICE",
    "PROCESS_AND_STORE",
    "NON_GDPR",
)


@dataclass(frozen=True, slots=True)
class Status:
    """What an address said about one subscription.  ``at``: ms."""

    state: str
    at: int
    source: str
    basis: str | None = None
    explanation: str | None = None


class Consent:
    """The preferences of all addresses of one account."""

    def __init__(
        self, portal: Portal, now: Callable[[], int], *, data_privacy: bool, resubscribes: bool = True
    ) -> None:
        """``data_privacy``: the account's data privacy mode, in which a legal basis is required.

        ``resubscribes``: whether v4 subscribes who opted out of that subscription.
        """
        self._portal = portal
        self._now = now
        self._data_privacy = data_privacy
        self._resubscribes = resubscribes
        self._names = {id_: name for id_, name, _ in DEFINITIONS}
        for (_, name, _), mirror in zip(DEFINITIONS, MIRRORS, strict=True):
            portal.schema[mirror] = Property(
                mirror, f"Opted out of email: {name}", "bool", "booleancheckbox", "emailinformation", read_only=True
            )
        portal.moved = self._mirror
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._statuses: dict[tuple[str, int], Status] = {}
        self._everything: dict[str, int] = {}  # address -> when it opted out of all mail

    def set(self, email: str, given: Mapping[str, Any], source: str) -> dict[str, Any]:
        """v4: one subscription of one address, any state.

        Refused where it would lift an opt-out of all mail, or, where asked for, any opt-out.
        """
        id_, state = self._subscription(given), given.get("statusState")
        if state not in STATES:
            raise bad(f"statusState must be one of {list(STATES)}")
        if given.get("channel") != "EMAIL":
            raise bad("channel must be EMAIL")
        before = self._state(email, id_)
        stays = email.lower() in self._everything or (before == "UNSUBSCRIBED" and not self._resubscribes)
        if state == "SUBSCRIBED" and stays:
            raise bad(f"{email} opted out and cannot be subscribed to {id_}")
        self._put(email, id_, str(state), given, source)
        reason = "REQUESTED_CHANGE_OCCURRED"
        if before == state:
            reason = "NO_STATUS_CHANGE"
        elif before == "UNSUBSCRIBED" and state == "SUBSCRIBED":
            reason = "RESUBSCRIBE_OCCURRED"
        return {**self._row(email, id_), "setStatusSuccessReason": reason}

    def subscribe(self, given: Mapping[str, Any], source: str) -> dict[str, Any]:
        """v3: refused for whoever opted out, and where nothing would change."""
        email, id_ = _address(given), self._subscription(given)
        match self._state(email, id_):
            case "SUBSCRIBED":
                raise bad(f"This address is already subscribed to {id_}")
            case "UNSUBSCRIBED":
                raise bad(f"This address opted out of {id_} and cannot be subscribed again by this endpoint")
        if email in self._everything:
            raise bad("This address opted out of all e-mail")
        self._put(email, id_, "SUBSCRIBED", given, source)
        return self._old_row(email, id_)

    def unsubscribe(self, given: Mapping[str, Any], source: str) -> dict[str, Any]:
        """v3: one subscription; refused where nothing would change."""
        email, id_ = _address(given), self._subscription(given)
        if self._state(email, id_) == "UNSUBSCRIBED":
            raise bad(f"This address is already unsubscribed from {id_}")
        self._put(email, id_, "UNSUBSCRIBED", given, source)
        return self._old_row(email, id_)

    def unsubscribe_all(self, email: str, source: str, *, at: int | None = None) -> list[dict[str, Any]]:
        """The address opts out of all mail.  ``at``: ms, for filling the sandbox with a past."""
        email, now = email.lower(), self._now() if at is None else at
        self._everything.setdefault(email, now)
        for id_ in self._names:
            if self._state(email, id_) != "UNSUBSCRIBED":
                self._statuses[email, id_] = Status("UNSUBSCRIBED", now, source)
        self._mirrored(email, source, at)
        return [
            {**self._row(email, id_), "setStatusSuccessReason": "UNSUBSCRIBE_FROM_ALL_OCCURRED"} for id_ in self._names
        ]

    def resubscribe_all(self, email: str, source: str) -> None:
        """The person comes back, by a form of HubSpot's: the only way to lift an opt-out of all mail."""
        email = email.lower()
        self._everything.pop(email, None)
        for id_ in self._names:
            self._statuses[email, id_] = Status("SUBSCRIBED", self._now(), source)
        self._mirrored(email, source)

    def choose(self, email: str, subscription: object, state: str, source: str) -> None:
        """The person changes one subscription, on a page of HubSpot's; an opt-out of all mail goes with it."""
        email, id_ = email.lower(), self._subscription({"subscriptionId": subscription})
        if state == "SUBSCRIBED":
            self._everything.pop(email, None)
        self._statuses[email, id_] = Status(state, self._now(), source)
        self._mirrored(email, source)

    def statuses(self, email: str) -> list[dict[str, Any]]:
        """v4: what the address said about each subscription."""
        return [self._row(email.lower(), id_) for id_ in self._names]

    def wide(self, email: str) -> list[dict[str, Any]]:
        """v4: the opt-out of all mail; nothing where there is none."""
        at = self._everything.get(email.lower())
        if at is None:
            return []
        return [
            {
                "channel": "EMAIL",
                "subscriberIdString": email.lower(),
                "wideStatusType": "PORTAL_WIDE",
                "status": "UNSUBSCRIBED",
                "timestamp": iso(at),
            }
        ]

    def old_statuses(self, email: str) -> dict[str, Any]:
        """v3: a state that was never said counts as not subscribed."""
        return {"recipient": email, "subscriptionStatuses": [self._old_row(email.lower(), id_) for id_ in self._names]}

    def definitions(self) -> list[dict[str, Any]]:
        """What can be subscribed to; the same rows in v3 and v4."""
        return [
            {
                "id": str(id_),
                "name": name,
                "description": about,
                "purpose": "Marketing",
                "communicationMethod": "Email",
                "isActive": True,
                "isDefault": False,
                "isInternal": False,
                "createdAt": _BEGAN,
                "updatedAt": _BEGAN,
            }
            for id_, name, about in DEFINITIONS
        ]

    def _put(self, email: str, id_: int, state: str, given: Mapping[str, Any], source: str) -> None:
        basis, explanation = given.get("legalBasis"), given.get("legalBasisExplanation")
        if basis is not None and basis not in _BASES:
            raise bad(f"legalBasis must be one of {list(_BASES)}")
        if self._data_privacy and not (basis and explanation):
            raise bad("legalBasis and legalBasisExplanation are required in data privacy mode")
        self._statuses[email.lower(), id_] = Status(state, self._now(), source, basis, explanation)
        self._mirrored(email.lower(), source)

    def _mirrored(self, email: str, source: str, at: int | None = None) -> None:
        contact = self._portal.by_key("email", email)
        if contact is not None:
            self._mirror(contact, source, at)

    def _mirror(self, contact: Contact, source: str, at: int | None = None) -> None:
        """The opt-outs of the contact's present address as properties."""
        email = contact.values.get("email", "")
        mirrored = {OPTOUT: "true" if email in self._everything else ""}
        said = {"UNSUBSCRIBED": "true", "SUBSCRIBED": "false"}
        for id_, mirror in zip(self._names, MIRRORS, strict=True):
            mirrored[mirror] = said.get(self._state(email, id_), "")
        self._portal.update(contact, mirrored, source, at=at)

    def _state(self, email: str, id_: int) -> str:
        status = self._statuses.get((email.lower(), id_))
        return "NOT_SPECIFIED" if status is None else status.state

    def _subscription(self, given: Mapping[str, Any]) -> int:
        text = str(given.get("subscriptionId", ""))
        if not text.isdigit() or int(text) not in self._names:
            raise bad(f"Subscription {text} does not exist")
        return int(text)

    def _row(self, email: str, id_: int) -> dict[str, Any]:
        status = self._statuses.get((email.lower(), id_))
        row: dict[str, Any] = {
            "channel": "EMAIL",
            "subscriberIdString": email.lower(),
            "subscriptionId": id_,
            "subscriptionName": self._names[id_],
            "status": "NOT_SPECIFIED" if status is None else status.state,
            "source": "Not specified" if status is None else status.source,
            "timestamp": _BEGAN if status is None else iso(status.at),
        }
        if status is not None:
            row |= {"legalBasis": status.basis, "legalBasisExplanation": status.explanation} if status.basis else {}
        return row

    def _old_row(self, email: str, id_: int) -> dict[str, Any]:
        about = next(d for d in DEFINITIONS if d[0] == id_)
        wide = email in self._everything
        subscribed = not wide and self._state(email, id_) == "SUBSCRIBED"
        row = {
            "id": str(id_),
            "name": about[1],
            "description": about[2],
            "status": "SUBSCRIBED" if subscribed else "NOT_SUBSCRIBED",
            "sourceOfStatus": "PORTAL_WIDE_STATUS" if wide else "SUBSCRIPTION_STATUS",
        }
        status = self._statuses.get((email, id_))
        if status is not None and status.basis is not None:
            row |= {"legalBasis": status.basis, "legalBasisExplanation": status.explanation or ""}
        return row


def _address(given: Mapping[str, Any]) -> str:
    email = given.get("emailAddress")
    if not isinstance(email, str) or "@" not in email:
        raise bad("emailAddress is not a valid e-mail address")
    return email.lower()
