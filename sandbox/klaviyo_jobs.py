"""Klaviyo's jobs about profiles: taken on now, done later.  In: JSON:API bodies.  Out: answers.

Source: Klaviyo's OpenAPI document of revision 2026-07-15: subscribe, unsubscribe, suppress, unsuppress, bulk import,
merge and deletion.  What the lists' opt-in does: "Collect email and SMS consent via API", developers.klaviyo.com.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sandbox.klaviyo_store import KlaviyoError, People, Profile, stamp

SUBSCRIBED_MOST, STOPPED_MOST, IMPORTED_MOST = 1000, 100, 10_000
_IDENTITY = {"email": ("email",), "sms": ("phone_number",)}

Answer = tuple[int, Any]
"""Status and body; None = no body."""


class Jobs:
    """The jobs of one account."""

    def __init__(self, people: People, lists: Mapping[str, Mapping[str, Any]]) -> None:
        self._people = people
        self._lists = lists
        self.known: dict[str, dict[str, Any]] = {}

    # --- consent ------------------------------------------------------------------------------------------------------

    def subscribe(self, data: Mapping[str, Any]) -> Answer:
        """Puts people on; with double opt-in they are only asked."""
        about = part(data, "attributes")
        rows, list_id = _profiles(about, SUBSCRIBED_MOST), self._list(data)
        historical = about.get("historical_import") is True
        for n, row in enumerate(rows):
            for channel, marketing in _channels(row, n, "SUBSCRIBED"):
                at = f"/data/attributes/profiles/data/{n}/attributes/subscriptions/{channel}/marketing/consented_at"
                if historical and not marketing.get("consented_at"):
                    raise KlaviyoError(400, detail="consented_at is required for historical imports", pointer=at)
                if not historical and marketing.get("consented_at"):
                    raise KlaviyoError(400, detail="consented_at needs historical_import", pointer=at)
        # Without a list the account's own setting counts, which is double opt-in where nobody changed it.
        asks = not historical and (list_id is None or self._lists[list_id]["opt_in_process"] == "double_opt_in")

        def run() -> None:
            for n, row in enumerate(rows):
                for channel, _ in _channels(row, n, "SUBSCRIBED"):
                    found = self._whom(row, channel, make=True)
                    if found is not None and not asks:
                        self._people.subscribe(found, channel)
                        if list_id is not None:
                            found.lists.setdefault(list_id, self._people.now())

        self._people.later(run)
        return 202, None

    def unsubscribe(self, data: Mapping[str, Any]) -> Answer:
        """Takes people off; with a list only of that, unless they are not on it: then of everything."""
        rows, list_id = _profiles(part(data, "attributes"), STOPPED_MOST), self._list(data)
        for n, row in enumerate(rows):
            _channels(row, n, "UNSUBSCRIBED")

        def run() -> None:
            for n, row in enumerate(rows):
                for channel, _ in _channels(row, n, "UNSUBSCRIBED"):
                    found = self._whom(row, channel, make=True)
                    if found is None:
                        continue
                    if list_id is not None and list_id in found.lists:
                        del found.lists[list_id]
                        found.list_suppressed[list_id] = self._people.now()
                    else:
                        self._people.unsubscribe(found, channel)

        self._people.later(run)
        return 202, None

    def suppress(self, data: Mapping[str, Any], *, lift: bool) -> Answer:
        """By address; can be asked how it went."""
        rows = _profiles(part(data, "attributes"), STOPPED_MOST)
        for n, row in enumerate(rows):
            if not part(row, "attributes").get("email"):
                where = f"/data/attributes/profiles/data/{n}/attributes/email"
                raise KlaviyoError(400, detail="email is a required field", pointer=where)

        def one(row: Mapping[str, Any]) -> bool:
            found = self._whom(row, "email", make=not lift)
            if found is not None:
                (self._people.unsuppress if lift else self._people.suppress)(found)
            return found is not None

        return self._job(str(data["type"]), rows, one, "skipped_count")

    # --- profiles -----------------------------------------------------------------------------------------------------

    def imported(self, data: Mapping[str, Any]) -> Answer:
        """Many profiles, created or changed; what was refused is told apart."""
        rows = _profiles(part(data, "attributes"), IMPORTED_MOST)

        def one(row: Mapping[str, Any]) -> bool:
            try:
                self._people.upsert(row.get("id"), part(row, "attributes"), part(row, "meta"))
            except KlaviyoError:
                return False
            return True

        return self._job(str(data["type"]), rows, one, "failed_count")

    def merge(self, data: Mapping[str, Any]) -> Answer:
        """One profile into another."""
        sources = part(part(data, "relationships"), "profiles").get("data")
        if not isinstance(sources, list) or len(sources) != 1:
            raise KlaviyoError(400, detail="Exactly one source profile", pointer="/data/relationships/profiles")
        into, what = self._people.find(str(data.get("id"))).id, self._people.find(str(sources[0].get("id"))).id
        self._people.later(lambda: self._people.merge(into, what))
        return 201, {"data": {"type": "profile", "id": into}}

    def deletion(self, data: Mapping[str, Any]) -> Answer:
        """All profiles of one identifier, for good."""
        profile = part(part(part(data, "attributes"), "profile"), "data")
        about = part(profile, "attributes")
        given = {name: about[name] for name in ("email", "phone_number") if about.get(name)}
        given |= {"id": profile["id"]} if profile.get("id") else {}
        if len(given) != 1:
            raise KlaviyoError(400, detail="Exactly one identifier", pointer="/data/attributes/profile")
        ((name, value),) = given.items()
        self._people.later(lambda: self._people.delete(name, str(value)))
        return 202, None

    # --- shared -------------------------------------------------------------------------------------------------------

    def show(self, kind: str, id_: str) -> Answer:
        """A job as it stands."""
        found = self.known.get(id_)
        if found is None or found["type"] != kind:
            raise KlaviyoError(404, "not_found", "There is no job of this id.")
        return 200, {"data": found}

    def _job(
        self, kind: str, rows: Sequence[Mapping[str, Any]], one: Callable[[Mapping[str, Any]], bool], missed: str
    ) -> Answer:
        about: dict[str, Any] = {
            "status": "queued",
            "created_at": stamp(self._people.now()),
            "total_count": len(rows),
            "completed_count": 0,
            missed: 0,
            "completed_at": None,
        }
        id_ = hashlib.sha1(f"job:{len(self.known)}".encode()).hexdigest()[:20]
        self.known[id_] = {
            "type": kind,
            "id": id_,
            "attributes": about,
            "links": {"self": f"https://a.klaviyo.com/api/{kind}s/{id_}/"},
        }
        answer = {"data": {**self.known[id_], "attributes": dict(about)}}

        def run() -> None:
            done = sum(map(one, rows))
            about.update(status="complete", completed_count=done, completed_at=stamp(self._people.now()))
            about[missed] = len(rows) - done

        self._people.later(run)
        return 202, answer

    def _list(self, data: Mapping[str, Any]) -> str | None:
        found = part(part(part(data, "relationships"), "list"), "data").get("id")
        if found is not None and found not in self._lists:
            raise KlaviyoError(404, "not_found", "A list of this id does not exist.")
        return found

    def _whom(self, row: Mapping[str, Any], channel: str, *, make: bool) -> Profile | None:
        about = part(row, "attributes")
        if row.get("id"):
            return self._people.profiles.get(str(row["id"]))
        for name in _IDENTITY[channel]:
            value = about.get(name)
            found = self._people.by(name, value) if value else None
            if found is None and value and make:
                found = self._people.create({name: value})
            if found is not None:
                return found
        return None


def part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object in an object; empty where there is none."""
    found = whole.get(name)
    return found if isinstance(found, Mapping) else {}


def _profiles(about: Mapping[str, Any], most: int) -> list[Mapping[str, Any]]:
    rows = part(about, "profiles").get("data")
    if not isinstance(rows, list) or not 1 <= len(rows) <= most or not all(isinstance(r, Mapping) for r in rows):
        says = f"profiles must hold from 1 to {most} profiles"
        raise KlaviyoError(400, detail=says, pointer="/data/attributes/profiles")
    return rows


def _channels(row: Mapping[str, Any], n: int, consent: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The channels that a row speaks of.  Raises 400."""
    at = f"/data/attributes/profiles/data/{n}/attributes"
    about = part(row, "attributes")
    found = []
    for channel, said in part(about, "subscriptions").items():
        marketing = part(said, "marketing") if isinstance(said, Mapping) else {}
        if channel not in _IDENTITY or marketing.get("consent") != consent:
            raise KlaviyoError(400, detail=f"consent must be {consent}", pointer=f"{at}/subscriptions/{channel}")
        if not row.get("id") and not any(about.get(name) for name in _IDENTITY[channel]):
            raise KlaviyoError(400, detail=f"no address for {channel}", pointer=at)
        found.append((channel, marketing))
    if not found:
        raise KlaviyoError(400, detail="subscriptions is a required field", pointer=f"{at}/subscriptions")
    return found
