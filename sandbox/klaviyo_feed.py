"""Klaviyo's events and metrics: what people did, by metric; lists of them, and events that programs send.

In: query parameters, bodies, what the product itself records.  Out: resources.  Sources: Klaviyo's OpenAPI document of
revision 2026-07-15 (``/api/events``, ``/api/metrics``); names of metrics: help.klaviyo.com, "Email metrics reference",
"SMS metrics".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.klaviyo_query import conditions, following, place
from sandbox.klaviyo_store import KlaviyoError, People, stamp
from sandbox.webhooks import Happening

_TIMES = frozenset({"greater-or-equal", "greater-than", "less-or-equal", "less-than"})
OPERATORS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("metric_id", "profile_id"), frozenset({"equals"})),
    **dict.fromkeys(("datetime", "timestamp"), _TIMES),
}
NAMES = ("campaign", "campaign-message", "flow", "flow-message", "flow-message-variation")
_INCLUDES = frozenset({"attributions", "metric", "profile"})
_SITE = "https://a.klaviyo.com/api"
_METRICS = 200  # of a page
_SMALL = frozenset({"from", "as", "on", "by", "to"})  # words of a metric's name
_SHOUTED = {"sms": "SMS"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event.  ``by``: what its attribution names, of ``NAMES``."""

    id: str
    metric: str  # id
    profile: str
    at: float
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)
    by: Mapping[str, str] = field(default_factory=dict)


class Feed:
    """The events of one account."""

    def __init__(self, people: People) -> None:
        self._people = people
        self.metrics: dict[str, str] = {}  # name → id
        self.events: dict[str, Event] = {}  # by id
        self._taken: set[tuple[str, str, str]] = set()  # profile, metric, unique id

    def clear(self) -> None:
        """Forget all events; metrics stay."""
        self.events.clear()
        self._taken.clear()

    def metric(self, name: str) -> str:
        """The id of a metric, which is made with its first event."""
        return self.metrics.setdefault(name, hashlib.sha1(f"metric:{name}".encode()).hexdigest()[:6])

    def did(self, metric: str, profile: str, at: float, said: Mapping[str, Any], **by: str) -> str:
        """Somebody does something; the event's id.  ``by``: ``campaign``, ``flow_message`` …, as attributed."""
        id_ = hashlib.sha1(f"event:{len(self.events)}:{metric}:{profile}:{at}".encode()).hexdigest()[:11]
        named = {name.replace("_", "-"): value for name, value in by.items()}
        self.events[id_] = Event(id_, self.metric(metric), profile, at, dict(said), named)
        return id_

    def told(self, happenings: Iterable[Happening]) -> None:
        """What webhooks tell is in the list of events, too, under the same id."""
        for happening in happenings:
            data = happening.data["payload"]["data"]
            words = happening.type.rpartition(".")[2].split("_")
            name = " ".join(_SHOUTED.get(w, w if w in _SMALL else w.capitalize()) for w in words)
            about, who = data["attributes"], data["relationships"]["profile"]["data"]["id"]
            self.events[data["id"]] = Event(
                data["id"], self.metric(name), who, about["timestamp"], about["event_properties"]
            )

    # --- the wire -----------------------------------------------------------------------------------------------------

    def list_metrics(self, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
        """One page of metrics, and the cursor of the next."""
        start = place(query)
        rows = [_metric(id_, name) for name, id_ in sorted(self.metrics.items())]
        return rows[start : start + _METRICS], following(start + _METRICS, len(rows))

    def list_events(self, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]:
        """One page of events, what it includes, and the cursor of the next."""
        size, sort = query.get("page[size]", "200"), query.get("sort", "-datetime")
        if not size.isdigit() or not 1 <= int(size) <= 1000:
            raise KlaviyoError(400, detail="page size must be from 1 to 1000", parameter="page[size]")
        if sort.removeprefix("-") not in {"datetime", "timestamp"}:
            raise KlaviyoError(400, detail="cannot be sorted by", parameter="sort")
        include = set(filter(None, query.get("include", "").split(",")))
        if include - _INCLUDES:
            raise KlaviyoError(400, detail="cannot be included", parameter="include")
        wanted = conditions(query.get("filter", ""), OPERATORS)
        found = [e for e in self.events.values() if self._whose(e) is not None and all(_fits(e, *c) for c in wanted)]
        found.sort(key=lambda e: (int(e.at), e.id), reverse=sort.startswith("-"))
        start = place(query)
        part = found[start : start + int(size)]
        rows = [self._show(event) for event in part]
        attributed = [_attribution(e) for e in part if e.by] if "attributions" in include else []
        return rows, attributed, following(start + int(size), len(found))

    def post(self, data: Mapping[str, Any]) -> None:
        """An event from a program: checked now, recorded later, once per ``unique_id``.  Raises 400."""
        about = data.get("attributes")
        about = about if isinstance(about, Mapping) else {}
        metric = _inner(about, "metric").get("attributes", {}).get("name")
        profile = _inner(about, "profile")
        at = about.get("time")
        when = self._people.now() if at is None else datetime.fromisoformat(str(at)).timestamp()
        if not isinstance(about.get("properties"), Mapping):
            raise KlaviyoError(400, detail="properties are required", pointer="/data/attributes/properties")
        if not metric or not isinstance(metric, str):
            raise KlaviyoError(400, detail="a metric's name is required", pointer="/data/attributes/metric")
        given = {**profile.get("attributes", {}), **({"id": profile["id"]} if profile.get("id") else {})}
        if not given:
            raise KlaviyoError(400, detail="an identifier is required", pointer="/data/attributes/profile")
        unique = str(about["unique_id"]) if about.get("unique_id") is not None else str(int(when))
        self._people.later(lambda: self._record(metric, given, when, unique, about["properties"]))

    def _record(self, metric: str, given: Mapping[str, Any], at: float, unique: str, said: Mapping[str, Any]) -> None:
        # What becomes of an event for an id that nobody has is not documented: here of nothing.
        about = {name: value for name, value in given.items() if name != "id"}
        if "id" in given:
            who = self._people.profiles.get(str(given["id"]))
        else:
            who, _ = self._people.upsert(None, about, {})
        if who is not None and (who.id, metric, unique) not in self._taken:
            self._taken.add((who.id, metric, unique))
            self.did(metric, who.id, at, said)

    def _whose(self, event: Event) -> str | None:
        """The profile that has the event now; a merge moves it, a deletion takes it away."""
        who = event.profile
        while who in self._people.moved:
            who = self._people.moved[who]
        return who if who in self._people.profiles else None

    def _show(self, event: Event) -> dict[str, Any]:
        here = f"{_SITE}/events/{event.id}/"

        def related(name: str, data: Any) -> dict[str, Any]:
            return {"data": data, "links": {"self": f"{here}relationships/{name}/", "related": f"{here}{name}/"}}

        return {
            "type": "event",
            "id": event.id,
            "attributes": {
                "timestamp": int(event.at),
                "event_properties": dict(event.said),
                "datetime": datetime.fromtimestamp(int(event.at), UTC).isoformat(),
                "uuid": f"{event.id}-0000",
            },
            "relationships": {
                "profile": related("profile", {"type": "profile", "id": self._whose(event)}),
                "metric": related("metric", {"type": "metric", "id": event.metric}),
                "attributions": related("attributions", [{"type": "attribution", "id": event.id}] if event.by else []),
            },
            "links": {"self": here},
        }


def _attribution(event: Event) -> dict[str, Any]:
    here = f"{_SITE}/attributions/{event.id}/"
    links = {"self": here, "related": here}
    related = {
        name: {"data": {"type": name, "id": event.by[name]}, "links": links} for name in NAMES if name in event.by
    }
    return {"type": "attribution", "id": event.id, "relationships": related, "links": {"self": here}}


def _metric(id_: str, name: str) -> dict[str, Any]:
    integration = {"object": "integration", "id": "0rG4eQ", "name": "Klaviyo", "category": "Internal"}
    about = {"name": name, "created": stamp(0), "updated": stamp(0), "integration": integration}
    return {"type": "metric", "id": id_, "attributes": about, "links": {"self": f"{_SITE}/metrics/{id_}/"}}


def _inner(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = about.get(name)
    data = part.get("data") if isinstance(part, Mapping) else None
    return data if isinstance(data, Mapping) else {}


_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "greater-or-equal": lambda own, asked: own >= asked,
    "greater-than": lambda own, asked: own > asked,
    "less-or-equal": lambda own, asked: own <= asked,
    "less-than": lambda own, asked: own < asked,
}


def _fits(event: Event, op: str, name: str, wanted: Any) -> bool:
    if op == "equals":
        return bool(wanted == (event.metric if name == "metric_id" else event.profile))
    return _COMPARE[op](int(event.at), wanted)
