"""What people did, from Klaviyo's events.  In: a cursor.  Out: acts.

Klaviyo keeps events by metric ("Opened Email").  A walk asks which metrics the account has, then reads those that are
acts one after the other, oldest event first: in one list of everything an order's whole content would come, too.  Each
page asks again from the last time seen, and Klaviyo's own cursor is followed only within a moment that holds more than
a page: events may be deleted with their profile, and whether cursors count rows is not said.

Sources: Klaviyo's OpenAPI document of revision 2026-07-15, ``GET /api/events``, ``GET /api/metrics``; names of metrics:
help.klaviyo.com, "Email metrics reference", "SMS metrics", "How to identify iOS15 Mail Privacy Protection opens".
Names of an event's properties are not in the document (docs/vendors/klaviyo.md says which are taken).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors._klaviyo_calls import Profiles
from connectors._klaviyo_walk import stamp
from connectors._klaviyo_wire import clock, following, is_id, rows, time
from connectors.contract import Act, ActPage, Doing, Ending, Ref, Refused, TryLater

OVERLAP: Final = timedelta(minutes=15)  # an event may be listed late; ours
BACK: Final = timedelta(days=365)  # how far the first walk goes back; ours: years of sends would take days to read
PAGE: Final = 200  # "Returns a maximum of 200 events per page"; the parameter takes up to 1000
LISTS: Final = 50  # pages of metrics at most; ours

METRICS: Final[Mapping[str, tuple[Doing, str]]] = {
    "received email": (Doing.SEND, "email"),
    "opened email": (Doing.OPEN, "email"),
    "clicked email": (Doing.CLICK, "email"),
    "bounced email": (Doing.BOUNCE, "email"),
    "marked email as spam": (Doing.COMPLAINT, "email"),
    **dict.fromkeys(("unsubscribed", "unsubscribed from email marketing"), (Doing.UNSUBSCRIBE, "email")),
    "received sms": (Doing.SEND, "sms"),
    "clicked sms": (Doing.CLICK, "sms"),
    "sent sms": (Doing.REPLY, "sms"),  # by the person, to the account's number
    "failed to deliver sms": (Doing.BOUNCE, "sms"),
    **dict.fromkeys(("unsubscribed from sms", "unsubscribed from sms marketing"), (Doing.UNSUBSCRIBE, "sms")),
    "active on site": (Doing.PAGE_VISIT, "web"),
    "form submitted by profile": (Doing.FORM, "web"),
    "form completed by profile": (Doing.FORM, "web"),
}
"""Metrics by name, case does not count, and what they are."""
INSTEAD: Final = {"form completed by profile": "form submitted by profile"}
"""Not read where the account has the other one, too: they tell of one happening."""

# Properties as ``_plain`` names them; the first that says something counts.
_CAMPAIGN: Final = ("campaign_name", "message_name", "flow_name")
_VARIANT: Final = ("variation_name", "variation")
_URL: Final = ("url", "page_url", "page")
_FORM: Final = ("form_name", "form_title", "form_id")
_MACHINE: Final = {
    Doing.OPEN: ("machine_open", "apple_privacy_open", "bot_open"),
    Doing.CLICK: ("bot_click", "machine_click"),
}


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk stands.  Between walks only ``since`` says something."""

    since: str | None = None  # what happened before this was told
    began: str | None = None  # Klaviyo's clock when the walk began
    left: tuple[tuple[str, str], ...] = ()  # metrics to go: id, name
    start: str | None = None  # of the first metric the events from this moment on come next
    cursor: str | None = None  # of Klaviyo, within that moment


def acts(profiles: Profiles, cursor: str | None) -> ActPage:
    """One page of one metric.  Refused for a cursor that is not ours."""
    walk = _load(cursor)
    if walk.began is None:
        walk = _begin(profiles, walk)
        return ActPage((), _dump(walk), more=bool(walk.left))
    metric, name = walk.left[0]
    params = {
        "filter": f'and(equals(metric_id,"{metric}"),greater-or-equal(datetime,{walk.start}))',
        "sort": "datetime",
        "include": "attributions",
        "page[size]": PAGE,
        **({} if walk.cursor is None else {"page[cursor]": walk.cursor}),
    }
    body = profiles.ask("/api/events", "events", params)
    found = rows(body)
    included = _included(body)
    told = [act for row in found if (act := _act(row, name, included)) is not None]
    walk = _advance(walk, found, following(body))
    return ActPage(tuple(told), _dump(walk), more=bool(walk.left))


def _begin(profiles: Profiles, walk: _Walk) -> _Walk:
    """The account's metrics that are acts, and the time by Klaviyo's clock."""
    now: datetime | None = None
    known: list[tuple[str, str]] = []
    cursor: str | None = None
    for _ in range(LISTS):
        params = {} if cursor is None else {"page[cursor]": cursor}
        response = profiles.send("GET", "/api/metrics", "metrics", params=params)
        now = clock(response) if now is None else now
        body = profiles.json(response)
        known += [metric for row in rows(body) if (metric := _metric(row)) is not None]
        cursor = following(body)
        if cursor is None:
            break
    if now is None:
        raise TryLater("klaviyo: an answer without its time")
    names = {name for _, name in known}
    left = tuple((id_, name) for id_, name in known if INSTEAD.get(name) not in names)
    since = walk.since if walk.since is not None else stamp(now - BACK)
    began = replace(walk, since=since, began=stamp(now), left=left, start=since)
    return began if left else _end(began)


def _metric(row: Mapping[str, Any]) -> tuple[str, str] | None:
    about, id_ = row.get("attributes"), row.get("id")
    name = str(about.get("name")).strip().lower() if isinstance(about, Mapping) else ""
    return (id_, name) if name in METRICS and isinstance(id_, str) and is_id(id_) else None


def _advance(walk: _Walk, found: Sequence[Mapping[str, Any]], cursor: str | None) -> _Walk:
    """Where to go on after this page."""
    if cursor is None:
        after = replace(walk, left=walk.left[1:], start=walk.since, cursor=None)
        return after if after.left else _end(after)
    if cursor == walk.cursor:
        raise TryLater("klaviyo: the next page of events is this page")
    moments = sorted({stamp(at) for row in found if (at := _moment(row)) is not None})
    if len(moments) < 2 or walk.start is None or moments[-1] <= walk.start:
        return replace(walk, cursor=cursor)
    return replace(walk, start=moments[-1], cursor=None)


def _end(walk: _Walk) -> _Walk:
    began = time(walk.began)
    return _Walk(walk.since if began is None else stamp(began - OVERLAP))


# --- events -----------------------------------------------------------------------------------------------------------


def _act(row: Mapping[str, Any], metric: str, included: Mapping[str, Mapping[str, str]]) -> Act | None:
    """One event as an act; None where it is nobody's, or has no time."""
    id_, who, at = row.get("id"), _related(row, "profile"), _moment(row)
    if not isinstance(id_, str) or not is_id(who) or who is None or at is None:
        return None
    kind, channel = METRICS[metric]
    said = _said(row)
    by = _attributed(row, included)
    campaign = _first(said, _CAMPAIGN)
    ids = {"message": said.get("message", by.get("campaign-message", by.get("flow-message")))}
    ids |= {"flow": said.get("flow", by.get("flow")), "url": _first(said, _URL)}
    ids |= {"form": _first(said, _FORM)} if kind is Doing.FORM else {}
    variant = _first(said, _VARIANT)
    return Act(
        id=id_,
        who=Ref(who),
        kind=kind,
        at=at,
        human=_human(said, kind),
        campaign=campaign if campaign is not None else by.get("campaign", by.get("flow")),
        variant=variant if variant is not None else by.get("flow-message-variation"),
        channel=channel,
        outcome=_bounced(said) if kind is Doing.BOUNCE else None,
        detail={name: str(value) for name, value in ids.items() if value is not None},
    )


def _moment(row: Mapping[str, Any]) -> datetime | None:
    about = row.get("attributes")
    if not isinstance(about, Mapping):
        return None
    at = time(about.get("datetime"))
    seconds = about.get("timestamp")
    if at is None and isinstance(seconds, int) and not isinstance(seconds, bool):
        return datetime.fromtimestamp(seconds, UTC)
    return at


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that say something, by one spelling of their names: ``$message``, ``Bot Click``, ``bot_click``."""
    about = row.get("attributes")
    own = about.get("event_properties") if isinstance(about, Mapping) else None
    found = own.items() if isinstance(own, Mapping) else ()
    return {_plain(name): value for name, value in found if isinstance(value, str | int | float) and value != ""}


def _plain(name: object) -> str:
    return str(name).strip().lower().removeprefix("$").replace(" ", "_")


def _first(said: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((str(said[name]) for name in names if name in said), None)


def _human(said: Mapping[str, Any], kind: Doing) -> bool | None:
    """Not a person where one flag says so; a person where there are flags and all of them deny it."""
    flags = [str(said[name]).lower() == "true" for name in _MACHINE.get(kind, ()) if name in said]
    return not any(flags) if flags else None


def _bounced(said: Mapping[str, Any]) -> Ending | None:
    type_ = str(said.get("bounce_type", "")).lower()
    return next((ending for ending in (Ending.HARD, Ending.SOFT) if ending in type_), None)


def _included(body: object) -> dict[str, dict[str, str]]:
    """What each attribution of the page names: id → campaign, flow, message, variation."""
    listed = body.get("included") if isinstance(body, Mapping) else None
    return {str(row.get("id")): dict(_names(row)) for row in listed or () if isinstance(row, Mapping)}


def _names(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("campaign", "campaign-message", "flow", "flow-message", "flow-message-variation"):
        found = _related(row, name)
        if found is not None:
            yield name, found


def _attributed(row: Mapping[str, Any], included: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What the attributions of an event name; the first counts."""
    related = row.get("relationships")
    listed = related.get("attributions") if isinstance(related, Mapping) else None
    data = listed.get("data") if isinstance(listed, Mapping) else None
    found: dict[str, str] = {}
    for one in data if isinstance(data, list) else ():
        found = {**included.get(str(one.get("id")) if isinstance(one, Mapping) else "", {}), **found}
    return found


def _related(row: Mapping[str, Any], name: str) -> str | None:
    related = row.get("relationships")
    part = related.get(name) if isinstance(related, Mapping) else None
    data = part.get("data") if isinstance(part, Mapping) else None
    id_ = data.get("id") if isinstance(data, Mapping) else None
    return id_ if isinstance(id_, str) and id_ else None


# --- the cursor -------------------------------------------------------------------------------------------------------


def _dump(walk: _Walk) -> str:
    return json.dumps({name: value for name, value in asdict(walk).items() if value}, separators=(",", ":"))


def _load(cursor: str | None) -> _Walk:
    if cursor is None:
        return _Walk()
    try:
        said = json.loads(cursor)
        left = tuple((id_, name) for id_, name in said.pop("left", ()))
        walk = _Walk(**said, left=left)
        if not all(is_id(id_) and name in METRICS for id_, name in left) or (walk.began is not None) != bool(left):
            raise ValueError(cursor)
        if left and (walk.since is None or walk.start is None):
            raise ValueError(cursor)
        if any(time(moment) is None for moment in (walk.since, walk.began, walk.start) if moment is not None):
            raise ValueError(cursor)
    except (ValueError, TypeError, AttributeError):
        raise Refused("klaviyo: this cursor was not made here; start again without one", code="cursor") from None
    return walk
