"""Klaviyo's profiles: what is kept of a person, how consent moves, what is told.  In: attributes.  Out: profiles.

Jobs are taken on at once and carried out later.  Sources: Klaviyo's OpenAPI document of revision 2026-07-15
(descriptions of the profile endpoints); developers.klaviyo.com, "Collect email and SMS consent via API".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.klaviyo_events import happening
from sandbox.webhooks import Happening

ATTRIBUTES = (
    *("email", "phone_number", "external_id", "first_name", "last_name", "organization"),
    *("locale", "title", "image", "location", "properties"),
)
PLACE = ("address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip")
IDENTIFIERS = ("email", "phone_number", "external_id")
LIFTED = frozenset({"UNSUBSCRIBE", "SPAM_COMPLAINT", "USER_SUPPRESSED"})  # by a new subscription

_EMAIL = re.compile(r"[^\s@,\"]{1,64}@[^\s@,]+\.[^\s@,.]{2,}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


class KlaviyoError(Exception):
    """A refusal: status, code, detail, where, and what else it says."""

    def __init__(
        self,
        status: int,
        code: str = "invalid",
        detail: str = "Invalid input.",
        *,
        pointer: str | None = None,
        parameter: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.source = {"pointer": pointer} if parameter is None else {"parameter": parameter}
        self.meta = dict(meta) if meta is not None else {}


@dataclass(slots=True)
class Profile:
    """One person.  Times: seconds since 1970.  ``suppressed``: reason → when; ``lists``: id → when."""

    id: str
    created: float
    updated: float
    about: dict[str, Any] = field(default_factory=dict, repr=False)
    email_consent: str = "NEVER_SUBSCRIBED"
    email_at: float | None = None
    method: str | None = None
    double_optin: bool | None = None
    suppressed: dict[str, float] = field(default_factory=dict)
    list_suppressed: dict[str, float] = field(default_factory=dict)
    sms_consent: str = "NEVER_SUBSCRIBED"
    sms_at: float | None = None
    lists: dict[str, float] = field(default_factory=dict)


class People:
    """All profiles of one account."""

    def __init__(
        self,
        now: Callable[[], float],
        emit: Callable[[Iterable[Happening]], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        """``now``: seconds since 1970.  ``later``: runs what a job does, when it does it."""
        self.now = now
        self._emit = emit
        self.later = later
        self._next = 1
        self.profiles: dict[str, Profile] = {}
        self.moved: dict[str, str] = {}  # merged away → into

    def clear(self) -> None:
        """Forget all; ids go on."""
        self.profiles.clear()

    def find(self, id_: str) -> Profile:
        """The profile.  Raises 404."""
        found = self.profiles.get(id_)
        if found is None:
            raise KlaviyoError(404, "not_found", f"A profile with id {id_} does not exist.")
        return found

    def by(self, name: str, value: object) -> Profile | None:
        """The profile with this identifier."""
        wanted = value.lower() if name == "email" and isinstance(value, str) else value
        return next((p for p in self.profiles.values() if p.about.get(name) == wanted), None)

    # --- profiles -----------------------------------------------------------------------------------------------------

    def create(self, given: Mapping[str, Any], *, at: float | None = None) -> Profile:
        """A new profile.  ``at``: seconds, for filling the sandbox with a past.  Raises 400, 409."""
        self._check(given)
        if not any(given.get(name) for name in IDENTIFIERS):
            says = "One of email, phone_number, external_id is required."
            raise KlaviyoError(400, detail=says, pointer="/data/attributes")
        self._unique(given, None)
        when = self.now() if at is None else at
        # Ids sort by time at the real one; nothing says so, so here they do not.
        digest = hashlib.sha1(f"profile:{self._next}".encode()).hexdigest().upper()
        self._next += 1
        made = self.profiles[digest[:26]] = Profile(digest[:26], when, when)
        self._set(made, given, {})
        return made

    def update(self, found: Profile, given: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> None:
        """What is given; null clears, the rest stays.  Raises 400, 409."""
        self._check(given)
        self._unique(given, found.id)
        self._set(found, given, meta if meta is not None else {})
        found.updated = self.now()

    def upsert(self, id_: str | None, given: Mapping[str, Any], meta: Mapping[str, Any]) -> tuple[Profile, bool]:
        """Whoever has one of the identifiers is changed, else there is a new one (True)."""
        found = self.find(id_) if id_ is not None else None
        for name in IDENTIFIERS if found is None else ():
            found = self.by(name, given[name]) if found is None and given.get(name) else found
        if found is None:
            return self.create(given), True
        self.update(found, given, meta)
        return found, False

    def delete(self, name: str, value: str) -> None:
        """All profiles with this identifier, for good."""
        gone = [p.id for p in self.profiles.values() if (p.id if name == "id" else p.about.get(name)) == value]
        for id_ in gone:
            del self.profiles[id_]

    def merge(self, into: str, what: str) -> None:
        """The source's values fill the gaps of the destination; the source is no more."""
        winner, loser = self.profiles.get(into), self.profiles.pop(what, None)
        if winner is None or loser is None:
            return
        self.moved[what] = into
        for name, value in loser.about.items():
            if winner.about.get(name) is None:
                winner.about[name] = value
        winner.suppressed = {**loser.suppressed, **winner.suppressed}
        winner.updated = self.now()

    def _check(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            wrong = name not in ATTRIBUTES and "is not a valid field for the resource 'profile'"
            if name == "email" and value is not None and not (isinstance(value, str) and _EMAIL.fullmatch(value)):
                wrong = "Invalid email address"
            elif name == "phone_number" and value is not None and not _PHONE.fullmatch(str(value)):
                wrong = "Invalid phone number format (Example of a valid format: +12345678901)"
            elif name == "location" and value is not None and set(value) - set(PLACE):
                wrong = "Invalid location"
            elif name in {"first_name", "last_name", "title", "organization", "locale"} and not (
                value is None or isinstance(value, str)
            ):
                wrong = "Not a valid string."
            if wrong:
                raise KlaviyoError(400, detail=wrong, pointer=f"/data/attributes/{name}")

    def _unique(self, given: Mapping[str, Any], own: str | None) -> None:
        for name in IDENTIFIERS:
            other = self.by(name, given[name]) if given.get(name) else None
            if other is not None and other.id != own:
                raise KlaviyoError(
                    409,
                    "duplicate_profile",
                    "A profile already exists with one of these identifiers.",
                    pointer="/data/attributes",
                    meta={"duplicate_profile_id": other.id},
                )

    def _set(self, found: Profile, given: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name in {"location", "properties"}:
                found.about[name] = {**found.about.get(name, {}), **(value if value is not None else {})}
            else:
                found.about[name] = value.lower() if name == "email" and isinstance(value, str) else value
        patch = meta.get("patch_properties", {})
        unset = patch.get("unset", [])
        for name in [unset] if isinstance(unset, str) else unset:
            found.about.get("properties", {}).pop(name, None)

    # --- consent; whether it moves `updated` is not documented: here it does not --------------------------------------

    def subscribe(self, found: Profile, channel: str, *, at: float | None = None, method: str = "API") -> None:
        """The channel is subscribed; what a new subscription lifts is lifted."""
        when = self.now() if at is None else at
        if channel == "sms":
            found.sms_consent, found.sms_at = "SUBSCRIBED", when
        else:
            found.email_consent, found.email_at, found.method = "SUBSCRIBED", when, method
            found.suppressed = {r: t for r, t in found.suppressed.items() if r not in LIFTED}
        self._tell(found, f"subscribed_to_{channel}_marketing")

    def unsubscribe(self, found: Profile, channel: str) -> None:
        """The person objects to the channel."""
        if channel == "sms":
            found.sms_consent, found.sms_at = "UNSUBSCRIBED", self.now()
        else:
            found.email_consent, found.email_at = "UNSUBSCRIBED", self.now()
            found.suppressed["UNSUBSCRIBE"] = self.now()
        self._tell(found, f"unsubscribed_from_{channel}_marketing")

    def suppress(self, found: Profile, reason: str = "USER_SUPPRESSED") -> None:
        """No e-mail to the address, whatever its consent."""
        if reason not in found.suppressed:
            found.suppressed[reason] = self.now()
            topics = {"SPAM_COMPLAINT": "marked_email_as_spam", "HARD_BOUNCE": "bounced_email"}
            self._tell(found, topics.get(reason, "manually_suppressed_from_email_marketing"))

    def unsuppress(self, found: Profile) -> None:
        """Lifts what was suppressed by hand, nothing else."""
        if found.suppressed.pop("USER_SUPPRESSED", None) is not None:
            self._tell(found, "manually_unsuppressed_from_email_marketing")

    def _tell(self, found: Profile, topic: str) -> None:
        self._emit([happening(topic, found.id, found.about.get("email"), self.now())])

    # --- as JSON ------------------------------------------------------------------------------------------------------

    def show(self, found: Profile, *, subscriptions: bool = True) -> dict[str, Any]:
        """As a resource."""
        about: dict[str, Any] = {name: found.about.get(name) for name in ATTRIBUTES if name not in {"location"}}
        place = found.about.get("location", {})
        about |= {
            "properties": found.about.get("properties", {}),
            "location": {part: place.get(part) for part in PLACE if part not in {"latitude", "longitude"}},
            "created": stamp(found.created),
            "updated": stamp(found.updated),
            "last_event_date": None,
        }
        if subscriptions:
            about["subscriptions"] = _subscriptions(found)
        url = f"https://a.klaviyo.com/api/profiles/{found.id}/"
        return {"type": "profile", "id": found.id, "attributes": about, "links": {"self": url}}


def _subscriptions(found: Profile) -> dict[str, Any]:
    suppression = [{"reason": reason, "timestamp": stamp(at)} for reason, at in found.suppressed.items()]
    listed = [
        {"list_id": id_, "reason": "UNSUBSCRIBE", "timestamp": stamp(at)} for id_, at in found.list_suppressed.items()
    ]
    at = stamp(found.email_at) if found.email_at is not None else None
    sms_at = stamp(found.sms_at) if found.sms_at is not None else None
    return {
        "email": {
            "marketing": {
                "can_receive_email_marketing": not found.suppressed,
                "consent": found.email_consent,
                "consent_timestamp": at,
                "last_updated": at,
                "method": found.method,
                "method_detail": "",
                "custom_method_detail": None,
                "double_optin": found.double_optin,
                "suppression": suppression,
                "list_suppressions": listed,
            }
        },
        "sms": {
            "marketing": {
                "can_receive_sms_marketing": found.sms_consent == "SUBSCRIBED",
                "consent": found.sms_consent,
                "consent_timestamp": sms_at,
                "method": None,
                "method_detail": "",
                "last_updated": sms_at,
            }
        },
    }


def stamp(at: float) -> str:
    """A time as Klaviyo writes it."""
    return datetime.fromtimestamp(int(at), UTC).isoformat()
