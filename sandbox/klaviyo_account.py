"""One account of Klaviyo as its API answers.  In: requests in parts.  Out: a status and JSON.  No sockets.

Sources: Klaviyo's OpenAPI document of revision 2026-07-15 (github.com/klaviyo/openapi); developers.klaviyo.com, "API
versioning policy" (a revision is required and ends with 410), "Working with system webhooks".
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from sandbox.klaviyo_events import TOPICS
from sandbox.klaviyo_feed import Feed
from sandbox.klaviyo_jobs import Answer, Jobs, part
from sandbox.klaviyo_query import page
from sandbox.klaviyo_store import KlaviyoError, People, stamp
from sandbox.webhooks import Happening, Target

KEY = "pk_0123456789abcdef0123456789abcdef01"  # opens nothing but this simulator
SINGLE, DOUBLE = "SgLe01", "DbLe01"  # lists that the account begins with
OLDEST = "2024-10-15"  # revisions before this have ended

_REVISION = re.compile(r"\d{4}-\d{2}-\d{2}(?:\.[a-z]+)?")
_JSON = ("application/vnd.api+json", "application/json")
_LOOPBACK = ("http://127.0.0.1:", "http://localhost:")


class Account:
    """Profiles, lists, jobs, events and webhooks behind one key."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        emit: Callable[[Iterable[Happening]], None],
        later: Callable[[Callable[[], None]], None],
        targets: dict[str, Target],
        key: str = KEY,
        system_webhooks: bool = True,
    ) -> None:
        """``targets``: where webhooks go, by id.  ``system_webhooks``: whether the account has them."""
        self.key = key

        def told(happenings: Iterable[Happening]) -> None:
            every = list(happenings)
            self.feed.told(every)
            emit(every)

        self.people = People(now, told, later)
        self.feed = Feed(self.people)
        self.lists: dict[str, dict[str, Any]] = {
            SINGLE: {"name": "Newsletter", "opt_in_process": "single_opt_in"},
            DOUBLE: {"name": "Asked twice", "opt_in_process": "double_opt_in"},
        }
        self.jobs = Jobs(self.people, self.lists)
        self.system_webhooks = system_webhooks
        self._targets = targets
        self._hooks: dict[str, dict[str, Any]] = {}

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Answer a request.  ``headers``: names in lower case.  Raises KlaviyoError."""
        revision = headers.get("revision", "")
        if headers.get("authorization") != f"Klaviyo-API-Key {self.key}":
            raise KlaviyoError(401, "not_authenticated", "Authentication credentials were not provided or are wrong.")
        if not _REVISION.fullmatch(revision):
            raise KlaviyoError(400, detail="The revision header is required", parameter="revision")
        if revision < OLDEST:
            raise KlaviyoError(410, "gone", "This revision has been retired.")
        data = _data(headers, body) if method in {"POST", "PATCH"} else {}
        match [method, *path.strip("/").split("/")[1:]]:
            case ["GET", "accounts"]:
                return 200, {"data": [_ACCOUNT]}
            case [_, "profiles" | "profile-import", *_rest]:
                return self._profiles(method, path, query, data)
            case [_, "webhooks" | "webhook-topics", *slot]:
                return self._webhooks(method, path, slot, data)
            case ["GET", "lists"]:
                return 200, {"data": [self._list(id_) for id_ in self.lists], "links": {"next": None}}
            case ["GET", "lists", id_] if id_ in self.lists:
                return 200, {"data": self._list(id_)}
            case ["GET", "metrics"]:
                found, cursor = self.feed.list_metrics(query)
                return 200, {"data": found, "links": _links(path, query, cursor)}
            case ["GET", "events"]:
                found, included, cursor = self.feed.list_events(query)
                more = {"included": included} if "include" in query else {}
                return 200, {"data": found, "links": _links(path, query, cursor), **more}
            case ["POST", "events"]:
                _typed(data, "event")
                self.feed.post(data)
                return 202, None
            case ["POST", kind]:
                return self._post(kind, data)
            case ["GET", kind, id_] if kind.endswith("-jobs"):
                return self.jobs.show(kind.removesuffix("s"), id_)
        raise KlaviyoError(404, "not_found", "There is nothing here.")

    def trouble(self, error: KlaviyoError) -> dict[str, Any]:
        """The error document."""
        source = {name: value for name, value in error.source.items() if value is not None}
        one = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, error.detail)),
            "status": error.status,
            "code": error.code,
            "title": "Invalid input." if error.status == 400 else error.code,
            "detail": error.detail,
            "source": source,
            "links": {},
            "meta": error.meta,
        }
        return {"errors": [one]}

    # --- profiles -----------------------------------------------------------------------------------------------------

    def _profiles(self, method: str, path: str, query: Mapping[str, str], data: Mapping[str, Any]) -> Answer:
        asked = query.get("additional-fields[profile]", "").split(",")
        subscriptions = "subscriptions" in asked
        slot = path.strip("/").split("/")[1:]
        match [method, *slot]:
            case ["GET", "profiles"]:
                found, cursor = page(self.people.profiles.values(), query)
                rows = [self.people.show(p, subscriptions=subscriptions) for p in found]
                return 200, {"data": rows, "links": _links(path, query, cursor)}
            case ["POST", "profiles"]:
                _typed(data, "profile")
                made = self.people.create(part(data, "attributes"))
                return 201, {"data": self.people.show(made, subscriptions=subscriptions)}
            case ["POST", "profile-import"]:
                _typed(data, "profile")
                made, new = self.people.upsert(data.get("id"), part(data, "attributes"), part(data, "meta"))
                return 201 if new else 200, {"data": self.people.show(made, subscriptions=subscriptions)}
            case ["GET", "profiles", id_]:
                return 200, {"data": self.people.show(self.people.find(id_), subscriptions=subscriptions)}
            case ["PATCH", "profiles", id_]:
                _typed(data, "profile")
                if data.get("id") != id_:
                    raise KlaviyoError(409, "conflict", "The id is not that of the path", pointer="/data/id")
                changed = self.people.find(id_)
                self.people.update(changed, part(data, "attributes"), part(data, "meta"))
                return 200, {"data": self.people.show(changed, subscriptions=subscriptions)}
        raise KlaviyoError(405, "method_not_allowed", "Method not allowed.")

    def _post(self, kind: str, data: Mapping[str, Any]) -> Answer:
        name = kind.removesuffix("s") if kind.endswith("-jobs") else kind
        _typed(data, name)
        match name:
            case "profile-subscription-bulk-create-job":
                return self.jobs.subscribe(data)
            case "profile-subscription-bulk-delete-job":
                return self.jobs.unsubscribe(data)
            case "profile-suppression-bulk-create-job":
                return self.jobs.suppress(data, lift=False)
            case "profile-suppression-bulk-delete-job":
                return self.jobs.suppress(data, lift=True)
            case "profile-bulk-import-job":
                return self.jobs.imported(data)
            case "data-privacy-deletion-job":
                return self.jobs.deletion(data)
            case "profile-merge":
                return self.jobs.merge(data)
        raise KlaviyoError(404, "not_found", "There is nothing here.")

    def _list(self, id_: str) -> dict[str, Any]:
        about = {**self.lists[id_], "created": stamp(0), "updated": stamp(0)}
        return {
            "type": "list",
            "id": id_,
            "attributes": about,
            "links": {"self": f"https://a.klaviyo.com/api/lists/{id_}/"},
        }

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def _webhooks(self, method: str, path: str, slot: list[str], data: Mapping[str, Any]) -> Answer:
        if not self.system_webhooks:
            says = "You do not have permission to perform this action."
            raise KlaviyoError(403, "permission_denied", says)
        if path.strip("/").split("/")[1] == "webhook-topics":
            return 200, {
                "data": [
                    {"type": "webhook-topic", "id": t, "links": {"self": _self("webhook-topics", t)}} for t in TOPICS
                ]
            }
        if not slot:
            if method == "GET":
                return 200, {"data": [self._hook(id_) for id_ in self._hooks], "included": []}
            _typed(data, "webhook")
            id_ = "01H" + hashlib.sha1(f"hook:{len(self._hooks)}".encode()).hexdigest().upper()[:23]
            self._change(id_, {"enabled": True, "description": None}, data)
            return 201, {"data": self._hook(id_)}
        if slot[0] not in self._hooks:
            raise KlaviyoError(404, "not_found", "There is no webhook of this id.")
        match method:
            case "DELETE":
                del self._hooks[slot[0]]
                self._targets.pop(slot[0], None)
                return 204, None
            case "PATCH":
                self._change(slot[0], self._hooks[slot[0]], data)
        return 200, {"data": self._hook(slot[0])}

    def _change(self, id_: str, before: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        made = {**before, **part(data, "attributes")}
        topics = part(part(data, "relationships"), "webhook-topics").get("data")
        made["topics"] = [t.get("id") for t in topics] if isinstance(topics, list) else made.get("topics", [])
        url, secret = str(made.get("endpoint_url", "")), str(made.get("secret_key", ""))
        if not url.startswith(("https://", *_LOOPBACK)):
            raise KlaviyoError(400, detail="Use https", pointer="/data/attributes/endpoint_url")
        if len(secret) < 16:
            raise KlaviyoError(400, detail="At least 16 characters", pointer="/data/attributes/secret_key")
        if not made.get("name") or not made["topics"] or set(made["topics"]) - set(TOPICS):
            raise KlaviyoError(400, detail="Unknown topic, or none", pointer="/data/relationships/webhook-topics")
        self._hooks[id_] = made
        wanted = dict.fromkeys(made["topics"], True)
        self._targets[id_] = Target(id_, url, secret, events=wanted, enabled=made["enabled"] is True)

    def fail(self) -> None:
        """All webhooks have failed for 48 hours: Klaviyo switches them off."""
        for id_, made in self._hooks.items():
            made["enabled"] = self._targets[id_].enabled = False

    def _hook(self, id_: str) -> dict[str, Any]:
        made = self._hooks[id_]
        about = {name: made[name] for name in ("name", "description", "enabled")}
        # The whole URL is not shown.
        about |= {"endpoint_url": f"{made['endpoint_url'][:24]}...", "created_at": stamp(0), "updated_at": stamp(0)}
        topics = [{"type": "webhook-topic", "id": topic} for topic in made["topics"]]
        here = _self("webhooks", id_)
        links = {"self": f"{here}relationships/webhook-topics/", "related": f"{here}webhook-topics/"}
        return {
            "type": "webhook",
            "id": id_,
            "attributes": about,
            "relationships": {"webhook-topics": {"data": topics, "links": links}},
            "links": {"self": here},
        }


_ACCOUNT = {
    "type": "account",
    "id": "SaNdBx",
    "attributes": {
        "test_account": True,
        "contact_information": {
            "default_sender_name": "Sandbox",
            "default_sender_email": "sandbox@example.com",
            "website_url": None,
            "organization_name": "Sandbox Ltd",
            "street_address": {"address1": "", "address2": "", "city": "", "country": "", "region": "", "zip": ""},
        },
        "industry": None,
        "timezone": "Europe/Berlin",
        "preferred_currency": "EUR",
        "public_api_key": "SaNdBx",
        "locale": "en-GB",
    },
    "links": {"self": "https://a.klaviyo.com/api/accounts/SaNdBx/"},
}


def _self(kind: str, id_: str) -> str:
    return f"https://a.klaviyo.com/api/{kind}/{id_}/"


def _links(path: str, query: Mapping[str, str], cursor: str | None) -> dict[str, Any]:
    base = f"https://a.klaviyo.com{urlsplit(path).path}"
    following = f"{base}?{urlencode({**query, 'page[cursor]': cursor})}" if cursor is not None else None
    return {"self": f"{base}?{urlencode(query)}", "next": following, "prev": None}


def _typed(data: Mapping[str, Any], kind: str) -> None:
    if data.get("type") != kind:
        raise KlaviyoError(400, detail=f"type must be {kind}", pointer="/data/type")


def _data(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    if headers.get("content-type", "").partition(";")[0] not in _JSON:
        raise KlaviyoError(415, "unsupported_media_type", "Use application/vnd.api+json.")
    if len(body) > 5 * 1024 * 1024:
        raise KlaviyoError(413, "too_large", "Too large.")
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, Mapping) or not isinstance(said.get("data"), Mapping):
        raise KlaviyoError(400, detail="The body must be an object with data", pointer="/data")
    found: Mapping[str, Any] = said["data"]
    return found
