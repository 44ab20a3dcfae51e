"""What members did with campaigns, from Mailchimp's reports.  In: a cursor.  Out: acts.

Opens, clicks, bounces and opt-outs.
A walk takes the campaigns of the audience that were sent in the last ``WATCHED`` one after the other: what happened
since the walk before (``email-activity``), then who unsubscribed.  There is no list of happenings over all campaigns.
Of A/B campaigns each member's group is asked for, too.  Mailchimp says nothing of who or what opened a mail.

Sources: the API's contract 3.0.55 (``/reports``, ``email-activity``, ``unsubscribed``, ``sent-to``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from connectors._mailchimp_calls import CONCURRENCY, SECONDS, Audience
from connectors._mailchimp_wire import rows, time
from connectors._receipts import together
from connectors.contract import Act, ActPage, Doing, Ending, Ref, Refused, TryLater

WATCHED: Final = timedelta(days=60)
"""How long after it was sent a campaign is looked at; ours: later opens are rare, and each campaign costs two calls."""
OVERLAP: Final = timedelta(minutes=10)  # a happening may show late; ours
CAMPAIGNS: Final = 500  # of one walk, the newest
PAGE: Final = 500  # members in one page of activity; contract: at most 1,000, each with all its activity
TESTED: Final = 50  # of an A/B campaign, where each member is a call of its own

_ACTIONS: Final[Mapping[str, Doing]] = {"open": Doing.OPEN, "click": Doing.CLICK, "bounce": Doing.BOUNCE}
_TESTS: Final = frozenset({"ab_split", "absplit", "variate"})
_BOUNCES: Final[Mapping[str, Ending]] = {"hard": Ending.HARD, "soft": Ending.SOFT}


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk stands.  Between walks only ``since`` says something."""

    since: str | None = None  # what happened before this was told, with an overlap
    began: str | None = None  # Mailchimp's clock when the walk began
    left: tuple[tuple[str, str, bool], ...] = ()  # campaigns to go: id, title, whether an A/B test
    part: str = "emails"  # or "unsubscribes"
    offset: int = 0


def acts(audience: Audience, list_id: str, cursor: str | None) -> ActPage:
    """One page of one campaign.  Refused for a cursor that is not ours."""
    walk = _load(cursor)
    if walk.began is None:
        walk = _begin(audience, list_id, walk)
        return ActPage((), _dump(walk if walk.left else _end(walk)), more=bool(walk.left))
    (campaign, title, tested), *rest = walk.left
    path = f"/reports/{quote(campaign, safe='')}"
    if walk.part == "emails":
        size = TESTED if tested else PAGE
        since = {} if walk.since is None else {"since": walk.since}
        params = {"count": size, "offset": walk.offset, **since}
        fields = "emails.email_id,emails.email_address,emails.activity"
        found = rows(audience.ask(f"{path}/email-activity", {**params, "fields": fields}), "emails")
        busy = [row for row in found if row.get("activity") and row.get("email_address")]
        groups = _groups(audience, path, busy) if tested else {}
        told = [a for row in busy for a in _activity(row, campaign, title, groups.get(str(row.get("email_id"))))]
    else:
        size = PAGE
        fields = "unsubscribes.email_id,unsubscribes.email_address,unsubscribes.timestamp,unsubscribes.reason"
        params = {"count": size, "offset": walk.offset, "fields": fields}
        found = rows(audience.ask(f"{path}/unsubscribed", params), "unsubscribes")
        told = [a for row in found if (a := _unsubscribed(row, campaign, title)) is not None]
    if len(found) >= size:
        following = replace(walk, offset=walk.offset + len(found))
    elif walk.part == "emails":
        following = replace(walk, part="unsubscribes", offset=0)
    else:
        following = replace(walk, left=tuple(rest), part="emails", offset=0)
    more = bool(following.left)
    return ActPage(tuple(told), _dump(following if more else _end(walk)), more=more)


def _begin(audience: Audience, list_id: str, walk: _Walk) -> _Walk:
    """The campaigns of this walk, by Mailchimp's clock."""
    now = audience.now()
    params = {
        "count": CAMPAIGNS,
        "since_send_time": (now - WATCHED).strftime(SECONDS),
        "fields": "reports.id,reports.campaign_title,reports.type,reports.list_id,reports.send_time",
    }
    found = rows(audience.ask("/reports", params), "reports")
    mine = [row for row in found if row.get("list_id") == list_id and row.get("id")]
    mine.sort(key=lambda row: str(row.get("send_time")))
    left = tuple((str(r["id"]), str(r.get("campaign_title") or r["id"]), r.get("type") in _TESTS) for r in mine)
    return _Walk(walk.since, now.strftime(SECONDS), left)


def _end(walk: _Walk) -> _Walk:
    began = time(walk.began)
    return _Walk(walk.since if began is None else (began - OVERLAP).strftime(SECONDS))


def _groups(audience: Audience, path: str, found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The A/B group of each of these members."""

    def ask(row: Mapping[str, Any]) -> tuple[str, object]:
        id_ = str(row.get("email_id"))
        return id_, audience.ask(f"{path}/sent-to/{quote(id_, safe='')}", {"fields": "absplit_group"}, gone={})

    told = together(ask, found, CONCURRENCY)
    return {i: str(a["absplit_group"]) for i, a in told if isinstance(a, Mapping) and a.get("absplit_group")}


def _activity(row: Mapping[str, Any], campaign: str, title: str, group: str | None) -> Iterator[Act]:
    for one in row["activity"]:
        kind = _ACTIONS.get(str(one.get("action"))) if isinstance(one, Mapping) else None
        at = time(one.get("timestamp")) if kind is not None else None
        if kind is None or at is None:
            continue
        url = one.get("url")
        yield Act(
            id=_id(campaign, row.get("email_id"), kind, at, url),
            who=Ref(str(row["email_address"]), "email"),
            kind=kind,
            at=at,
            campaign=title,
            variant=group,
            channel="email",
            outcome=_BOUNCES.get(str(one.get("type"))) if kind is Doing.BOUNCE else None,
            detail={"url": str(url)} if url else {},
        )


def _unsubscribed(row: Mapping[str, Any], campaign: str, title: str) -> Act | None:
    at = time(row.get("timestamp"))
    if at is None or not row.get("email_address"):
        return None
    return Act(
        id=_id(campaign, row.get("email_id"), Doing.UNSUBSCRIBE, at, None),
        who=Ref(str(row["email_address"]), "email"),
        kind=Doing.UNSUBSCRIBE,
        at=at,
        campaign=title,
        channel="email",
        detail={"reason": str(row["reason"])} if row.get("reason") else {},
    )


def _id(campaign: str, member: object, kind: Doing, at: datetime, url: object) -> str:
    """Mailchimp gives happenings no id.  The member's hash is of the address, so it is hashed again with the rest."""
    same = json.dumps([campaign, member, kind, at.isoformat(), url], default=str)
    return f"{campaign}:{hashlib.sha256(same.encode()).hexdigest()[:32]}"


def _dump(walk: _Walk) -> str:
    return json.dumps(asdict(walk), separators=(",", ":"))


def _load(cursor: str | None) -> _Walk:
    if cursor is None:
        return _Walk()
    try:
        saved = json.loads(cursor)
        left = tuple((str(i), str(title), bool(tested)) for i, title, tested in saved["left"])
        walk = _Walk(saved["since"], saved["began"], left, saved["part"], int(saved["offset"]))
    except (ValueError, TypeError, KeyError):
        raise Refused("mailchimp: this is not a cursor of ours", code="cursor") from None
    if walk.began is not None and not walk.left:
        raise TryLater("mailchimp: a walk without campaigns")
    return walk
