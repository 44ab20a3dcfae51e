"""Mautic by example: what stands around contacts, in the simulator's companies, users, notes and tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.contract import Act, Doing, Ending, Ref
from sandbox.mautic_around import Around as Objects
from tests.stage import COLLEAGUE, COMPANY, Around

_DAY = "2026-02-03 04:05:06"
AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
_LINK = "https://shop.example/p?x=1"


def around(vendor: Any) -> Around:
    """Two companies, users, and one act of each kind."""
    objects: Objects = vendor.sim.around
    one, two = (int(i) for i in vendor.ids[:2])
    company = objects.company(companyname=COMPANY, companywebsite="https://suite.example", owner_id=3)
    other = objects.company(companyname="Other")
    objects.joins(company, one, main=True)
    objects.joins(other, two, main=True)
    objects.joins(company, two)
    kim = {"id": 3, "username": "kim", "firstName": "Kim", "lastName": "Doe", "email": COLLEAGUE, "isPublished": True}
    objects.users.append(kim)
    return Around(
        company=str(company), colleague="3", acts=_acts(vendor, objects, one, two), later=_later(objects, one)
    )


def _acts(vendor: Any, objects: Objects, one: int, two: int) -> tuple[Act, ...]:
    visitor = int(vendor.add(AT))  # whom nobody knows
    objects.name("emails", 7, "Spring", subject="It is spring", variantParent=None, variantChildren=[])
    objects.name("emails", 8, "Spring B", subject="Sun!", variantParent={"id": 7, "name": "Spring"})
    objects.name("forms", 4, "Ask us")
    objects.name("campaigns", 5, "Welcome")
    objects.happens("campaign_lead_event_log", event_id=12, campaign_id=5, lead_id=one)
    mail = {"email_id": 7, "lead_id": one, "date_sent": _DAY, "is_failed": 0, "is_read": 1, "date_read": _DAY}
    objects.happens("email_stats", **mail, source="campaign.event", source_id=12)
    objects.happens("email_stats", email_id=8, lead_id=two, date_sent=_DAY, is_failed=1)
    objects.happens("email_stats", email_id=7, lead_id=None, date_sent=_DAY)  # of somebody who was deleted since
    objects.happens("page_hits", lead_id=one, email_id=7, redirect_id=3, date_hit=_DAY, url=f"{_LINK}&ct=YTo1")
    objects.happens("page_hits", lead_id=two, date_hit=_DAY, url="https://shop.example/", url_title="Shop")
    objects.happens("page_hits", lead_id=visitor, date_hit=_DAY, url="https://shop.example/")
    objects.happens("form_submissions", lead_id=one, form_id=4, date_submitted=_DAY, referer="https://shop.example/ask")
    objects.happens("email_stat_replies", stat_id=1, date_replied=_DAY, message_id="m@shop.example")
    objects.happens("sms_message_stats", lead_id=two, sms_id=2, date_sent=_DAY)
    contacts, now = vendor.sim.contacts, vendor.now
    vendor.now = AT
    rows = [contacts.rows[id_] for id_ in (one, two)]
    seen = [(row.modified, row.by) for row in rows]
    contacts.object(rows[0], "email", 1, "User unsubscribed.", "user")
    contacts.object(rows[1], "email", 2, "Bounced", "user")
    contacts.object(rows[1], "sms", 1, "Told by Tandem", "api")  # what we wrote is no act
    for row, (modified, by) in zip(rows, seen, strict=True):
        row.modified, row.by = modified, by
    vendor.now = now
    first, second = Ref(str(one)), Ref(str(two))
    spring: dict[str, Any] = {"campaign": "Spring", "channel": "email"}
    whole = {"title": "It is spring", "campaign": "Welcome"}
    sent = {**spring, "human": False}
    return (
        Act("email_stats:1:sent", first, Doing.SEND, AT, outcome=Ending.SENT, detail=whole, **sent),
        Act(
            *("email_stats:2:sent", second, Doing.SEND, AT),
            **{**sent, "variant": "Spring B", "outcome": Ending.FAILED, "detail": {"title": "Sun!"}},
        ),
        Act("email_stats:1:read", first, Doing.OPEN, AT, detail=whole, **spring),
        Act("page_hits:1", first, Doing.CLICK, AT, detail={"url": _LINK}, **spring),
        Act(
            *("page_hits:2", second, Doing.PAGE_VISIT, AT),
            channel="web",
            detail={"url": "https://shop.example/", "title": "Shop"},
        ),
        Act(
            *("form_submissions:1", first, Doing.FORM, AT),
            channel="web",
            detail={"title": "Ask us", "url": "https://shop.example/ask"},
        ),
        Act("lead_donotcontact:1", first, Doing.UNSUBSCRIBE, AT, channel="email"),
        Act("lead_donotcontact:2", second, Doing.BOUNCE, AT, channel="email"),
        Act("email_stat_replies:1", first, Doing.REPLY, AT, True, outcome=Ending.RECEIVED, **spring),
        Act("sms_message_stats:1", second, Doing.MESSAGE, AT, False, channel="sms", outcome=Ending.SENT),
    )


def _later(objects: Objects, one: int) -> Any:
    def later() -> str:
        stamp = "2026-08-13 10:15:00"
        return f"email_stats:{objects.happens('email_stats', email_id=7, lead_id=one, date_sent=stamp)}:sent"

    return later


def notes(vendor: Any, id_: str) -> list[str]:
    """The texts of a contact's notes."""
    return [note["text"] for note in vendor.sim.around.notes if str(note["lead"]["id"]) == id_]
