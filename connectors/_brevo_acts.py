"""What contacts did with campaigns, from Brevo's statistics of each contact.  In: a cursor.  Out: acts.

Brevo has no list of happenings, only those of one contact, of the last 90 days: so a sweep asks for contact after
contact, in the order of creation.  One poll takes ``SLICE`` pages of it, that other calls have room; the sweep goes on
with the next.  Of a campaign that somebody opened again and again Brevo tells one time and a number, as of a link.

Sources: the contract (see ``_brevo_wire``), ``contacts.get_contact_stats``, ``email_campaigns.get_email_campaigns``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from connectors import _brevo_walk as walk
from connectors._brevo_calls import CONCURRENCY, OTHER, Contacts
from connectors._brevo_wire import EMAIL, clock, number, time
from connectors._receipts import together
from connectors.contract import Act, ActPage, Doing, Ending, Ref, Refused, TryLater

PAGE: Final = 50  # contacts, a call each: ours
SLICE: Final = 4  # pages of one poll: ours, 2,400 calls an hour at the usual poll of 36,000 that are allowed
CAMPAIGNS: Final = 100  # the newest, whose names are told (contract: at most 100 a page)
OVERLAP: Final = timedelta(days=1)  # statistics may be late; ours

_KINDS: Final[Mapping[str, tuple[Doing, Ending | None]]] = {
    "messagesSent": (Doing.SEND, None),
    "opened": (Doing.OPEN, None),
    "hardBounces": (Doing.BOUNCE, Ending.HARD),
    "softBounces": (Doing.BOUNCE, Ending.SOFT),
    "complaints": (Doing.COMPLAINT, None),
}


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Where a sweep stands.  Between sweeps only ``since`` says something."""

    since: str | None = None  # when the sweep before began
    began: str | None = None  # by Brevo's clock
    names: Mapping[str, str] | None = None  # of campaigns
    contacts: str = "{}"  # of ``_brevo_walk``
    pages: int = 0  # of this poll


def acts(contacts: Contacts, cursor: str | None) -> ActPage:
    """The acts of one page of contacts.  Refused for a cursor that is not ours."""
    sweep = _load(cursor)
    if sweep.began is None or sweep.names is None:
        sweep = _begin(contacts, sweep)
        return ActPage((), _dump(sweep), more=sweep.began is not None)
    state = walk.load(sweep.contacts)
    page = contacts.page(offset=state.offset, size=PAGE)
    ids = [r.id for r in page.records if r.fields.get(EMAIL) is not None]  # campaigns go to addresses
    told = together(lambda id_: _stats(contacts, id_), ids, CONCURRENCY)
    names, since = sweep.names, time(sweep.since)
    found = [act for id_, said in zip(ids, told, strict=True) for act in _acts(id_, said, names)]
    if since is not None:
        found = [act for act in found if act.at >= since - OVERLAP]
    following, more = walk.advance(state, page.records, size=PAGE, count=page.count, now=page.at)
    if not more:
        return ActPage(tuple(found), _dump(_Sweep(since=sweep.began)), more=False)
    pages = (sweep.pages + 1) % SLICE
    sweep = _Sweep(sweep.since, sweep.began, names, walk.dump(following), pages)
    return ActPage(tuple(found), _dump(sweep), more=pages != 0)


def _begin(contacts: Contacts, sweep: _Sweep) -> _Sweep:
    """The names of the newest campaigns, and Brevo's clock; no sweep where no campaign was ever sent."""
    params = {"limit": CAMPAIGNS, "offset": 0, "sort": "desc", "excludeHtmlContent": True}
    response = contacts.send("GET", "/emailCampaigns", params=params, family=OTHER)
    answer, at = contacts.json(response), clock(response)
    listed = answer.get("campaigns") if isinstance(answer, Mapping) else None
    if at is None or not isinstance(answer, Mapping) or not isinstance(listed, list | None):
        raise TryLater("brevo: the answer is no list of campaigns, or without its time")
    campaigns = [row for row in listed or () if isinstance(row, Mapping) and number(row, "id") is not None]
    if len(campaigns) < CAMPAIGNS and all(row.get("status") == "draft" for row in campaigns):
        return _Sweep(since=at.isoformat())
    return _Sweep(sweep.since, at.isoformat(), {str(row["id"]): str(row.get("name", "")) for row in campaigns})


def _stats(contacts: Contacts, id_: str) -> Mapping[str, Any]:
    """What Brevo knows of one contact; nothing of one who is gone meanwhile, or of whom it does not take the question.

    One contact must not hold up the sweep.
    """
    response = contacts.send("GET", f"/contacts/{id_}/campaignStats", take={400, 404})
    if response.status_code >= 400:
        return {}
    said = contacts.json(response)
    if not isinstance(said, Mapping):
        raise TryLater("brevo: the answer is no statistics of a contact")
    return said


def _acts(contact: str, said: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Act]:
    """All acts of one contact."""
    for name, (kind, outcome) in _KINDS.items():
        for row in _rows(said.get(name)):
            yield from _act(contact, kind, row, row.get("campaignId"), names, outcome=outcome)
    for row in _rows(said.get("clicked")):
        for link in _rows(row.get("links")):
            yield from _act(contact, Doing.CLICK, link, row.get("campaignId"), names, url=link.get("url"))
    left = said.get("unsubscriptions")
    for row in _rows(left.get("userUnsubscription") if isinstance(left, Mapping) else None):
        yield from _act(contact, Doing.UNSUBSCRIBE, row, row.get("campaignId"), names)


def _act(
    contact: str,
    kind: Doing,
    row: Mapping[str, Any],
    campaign: object,
    names: Mapping[str, str],
    *,
    url: object = None,
    outcome: Ending | None = None,
) -> Iterator[Act]:
    """One act under the id of campaign, contact, kind and link, whatever time Brevo tells the next time."""
    at = time(row.get("eventTime"))
    if at is None:
        return
    key = "" if campaign is None else str(campaign)
    parts = [key if key else at.isoformat(), contact, str(outcome) if outcome is not None else str(kind)]
    if isinstance(url, str) and url:
        parts.append(hashlib.sha256(url.encode()).hexdigest()[:16])
    count = number(row, "count")
    detail = {"url": url} if isinstance(url, str) and url else {}
    yield Act(
        id=":".join(parts),
        who=Ref(contact),
        kind=kind,
        at=at,
        campaign=names.get(key, key) if key else None,
        channel="email",
        outcome=outcome,
        detail={**detail, "count": count} if count is not None else detail,
    )


def _rows(listed: object) -> list[Mapping[str, Any]]:
    return [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []


def _dump(sweep: _Sweep) -> str:
    said = {"since": sweep.since, "began": sweep.began, "names": sweep.names, "pages": sweep.pages}
    said["contacts"] = sweep.contacts if sweep.contacts != "{}" else None
    return json.dumps({name: value for name, value in said.items() if value is not None}, separators=(",", ":"))


def _load(cursor: str | None) -> _Sweep:
    if cursor is None:
        return _Sweep()
    try:
        saved = json.loads(cursor)
        names = saved.get("names")
        if names is not None:
            names = {str(id_): str(name) for id_, name in names.items()}
        sweep = _Sweep(
            saved.get("since"), saved.get("began"), names, saved.get("contacts", "{}"), int(saved.get("pages", 0))
        )
        walk.load(sweep.contacts)
        if any(text is not None and time(text) is None for text in (sweep.since, sweep.began)):
            raise ValueError
        if (sweep.began is None) != (names is None) or (sweep.began is None and sweep.since is None):
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise Refused("brevo: this is not a cursor of ours: start again without one", code="cursor") from None
    return sweep
