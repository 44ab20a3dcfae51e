"""Klaviyo, the profiles of one account.  In: deliveries, ids, cursors and orders in its own words.  Out: events,
records, receipts.

Fields are flat: ``first_name``, ``location.city``, ``properties.<name>``; ``consent.email`` and ``consent.sms`` are
ours, one word each.  The parts: deliveries in ``_klaviyo_hooks``, subscriptions in ``_klaviyo_hooking``, endpoints in
``_klaviyo_calls``, the walk over changes in ``_klaviyo_walk``, writing in ``_klaviyo_write``, consent in
``_klaviyo_consent``, what people did in ``_klaviyo_acts``, entries in their activity in ``_klaviyo_notes``, JSON in
``_klaviyo_wire``.  How to connect: docs/vendors/klaviyo.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

from connectors import _klaviyo_acts as engagement
from connectors import _klaviyo_hooking as hooking
from connectors import _klaviyo_hooks as deliveries
from connectors import _klaviyo_notes as notes_
from connectors import _klaviyo_walk as walk
from connectors._http import Http
from connectors._klaviyo_calls import BATCH, CONCURRENCY, RATES, REVISION, Profiles
from connectors._klaviyo_consent import Jobs
from connectors._klaviyo_wire import EMAIL, PHONE, PROPERTY, is_id, rows, schema
from connectors._klaviyo_write import write
from connectors._signing import secrets
from connectors.contract import (
    ActPage,
    Can,
    Connector,
    Delivery,
    Hook,
    Hooked,
    Kind,
    Limits,
    Note,
    Order,
    Page,
    Receipt,
    Received,
    Record,
    Refused,
    Schema,
    Setting,
    Side,
)

_URL: Final = "https://a.klaviyo.com"
_JSON: Final = "application/vnd.api+json"


class Klaviyo(Connector):
    """Klaviyo: the profiles of one account."""

    name = "klaviyo"
    side = Side.MARKETING
    can: ClassVar[frozenset[Can]] = frozenset(
        # Not ARCHIVE: there is none.  Not MERGE: it is queued, and whether the lost id leads anywhere is not said.
        {Can.WEBHOOK, Can.READ, Can.CHANGED, Can.FIND, Can.WRITE, Can.ERASE, Can.DESCRIBE, Can.HOOKS}
        | {Can.ENGAGEMENT, Can.TIMELINE}
    )
    limits = Limits(
        read_batch=BATCH,
        find_batch=50,
        write_batch=100,  # ours: one call each; a job of consent takes 100
        concurrency=CONCURRENCY,
        keys=RATES,
    )
    hosts: ClassVar[frozenset[str]] = frozenset({"a.klaviyo.com"})
    settings = (
        Setting("api_key", "Private API key: Settings > API keys (scopes: docs/vendors/klaviyo.md)", secret=True),
        Setting(
            "webhook_secret",
            "What signs webhooks, 16 characters or more, yours to choose; while rotating: new,old",
            secret=True,
            required=False,
        ),
        Setting("list_id", "List with single opt-in to which proven consent may subscribe people", required=False),
        Setting("properties", "Custom properties to read, with commas; default: by the mapping", required=False),
        Setting("base_url", f"Where the API is; default: {_URL}", required=False),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """See the contract.  ValueError for a missing setting, or a list_id that is none."""
        super().__init__(settings, http)
        given = settings.get("webhook_secret", "")
        self._secrets = secrets(given) if given.strip(" ,") else []
        list_id = settings.get("list_id", "").strip()
        if list_id and not is_id(list_id):
            raise ValueError("klaviyo: list_id is the id of a list, such as Y6nRLr: it stands in the list's address")
        names = [name for name in map(str.strip, settings.get("properties", "").split(",")) if name]
        known = {settings["api_key"].strip(), *self._secrets}
        self._profiles = Profiles(http, properties=names, secrets=known)
        self._jobs = Jobs(self._profiles, list_id if list_id else None)
        self._kinds = {Kind.CONTACT: self._profiles}

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API is."""
        url = settings.get("base_url", "").strip().rstrip("/")
        return url if url else _URL

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """What every request carries ("Authenticate API requests", "API versioning policy")."""
        return {
            "Authorization": f"Klaviyo-API-Key {settings['api_key'].strip()}",
            "revision": REVISION,
            "Accept": _JSON,
            "Content-Type": _JSON,
        }

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """The custom properties that the mapping names; all others stay where they are."""
        named = sorted(name.removeprefix(PROPERTY) for name in theirs if name.startswith(PROPERTY))
        return {"properties": ",".join(named)} if named else {}

    def receive(self, delivery: Delivery) -> Received:
        """Signature and its time, then the events.  Klaviyo waits five seconds."""
        deliveries.verify(delivery, self._secrets)
        return Received(deliveries.events(delivery))

    def check(self) -> str:
        """Asks for the account, then reads one profile, which needs the scope that everything needs."""
        found = rows(self._profiles.ask("/api/accounts", "account"))
        self._profiles.page(None, "-updated", size=1)
        account = found[0] if found else {}
        about = account.get("attributes")
        about = about if isinstance(about, Mapping) else {}
        contact = about.get("contact_information")
        name = contact.get("organization_name") if isinstance(contact, Mapping) else None
        test = ", a test account" if about.get("test_account") is True else ""
        return f"Klaviyo account {account.get('id')} ({name!r}){test}: profiles readable, revision {REVISION}"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """In lists by id; one that the list does not know is asked for alone."""
        return list(self._kinds[kind].read(ids).values())

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """Profiles by the time of their change; each poll first asks who was stopped.  Deleted ones are in neither."""
        state = walk.load(cursor)
        where, sort = walk.query(state)
        found = self._kinds[kind].page(where, sort, state.cursor)
        following, more = walk.advance(state, found.records, found.following, found.at)
        return Page(walk.fresh(state, found.records), walk.dump(following), more=more)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """By ``email`` (case does not count), ``phone_number`` (E.164) or ``id``.  Refused for another key."""
        if key == EMAIL:
            return self._kinds[kind].by_email(values)
        if key == PHONE:
            return self._kinds[kind].by_phone(values)
        if key == "id":
            return list(self._kinds[kind].read(values).values())
        raise Refused(f"klaviyo: cannot find by {key!r}; can by email, phone_number, id", code="key", field=key)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """One call each, a few at once, consent in jobs; see ``_klaviyo_write``."""
        return write(self._profiles, self._jobs, orders)

    def describe(self, kind: Kind) -> Schema:
        """The fields of a profile, and the custom properties seen in the 100 that changed last, or mapped.

        Klaviyo declares no custom properties.
        """
        profiles = self._kinds[kind]
        return schema(profiles.raw(), profiles.properties)

    def acts(self, cursor: str | None) -> ActPage:
        """The events of one metric after the other, page by page."""
        return engagement.acts(self._profiles, cursor)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """An event each in the activity of the profile, which starts no flow."""
        return notes_.write(self._profiles, notes)

    def hooks(self) -> Sequence[Hook]:
        """All webhooks of the account.  Refused where it has none to offer."""
        return hooking.listed(self._profiles)

    def hook(self, url: str) -> Hooked:
        """One webhook for all topics about consent; an old one is switched on, completed, and signed anew."""
        return hooking.install(self._profiles, url, self._secrets[0] if self._secrets else "")

    def unhook(self, id: str) -> None:  # noqa: A002
        """By its id."""
        hooking.drop(self._profiles, id)
