"""Mautic beyond the suite: who belongs to companies, what polls of acts ask and leave out, notes, their webhooks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from connectors import _mautic_calls as calls
from connectors.contract import Action, Doing, Done, Failed, Gone, Kind, NeedsHuman, Note, Record, Refused
from connectors.mautic import Mautic
from tests.examples.mautic import AT, NOW, SECRET, FakeMautic, connect, contact, php, refused, sign
from tests.walking import to_the_end

STAMP = "2026-08-13 10:15:00"


@pytest.fixture
def api() -> FakeMautic:
    return FakeMautic()


@pytest.fixture
def it(api: FakeMautic) -> Mautic:
    return connect(api)


def walk(it: Mautic, cursor: str | None = None) -> tuple[list[Record], list[str], str]:
    """A whole walk over companies: who came, which are gone, where to go on."""
    pages, end = to_the_end(lambda at: it.changed(Kind.COMPANY, at), cursor, 20)
    return [r for page in pages for r in page.records], [i for page in pages for i in page.deleted], end


def told(it: Mautic, cursor: str | None = None) -> tuple[list[str], str]:
    """A whole walk over acts: their ids, and where to go on."""
    pages, end = to_the_end(it.acts, cursor, 50)
    return [act.id for page in pages for act in page.acts], end


@pytest.mark.parametrize("size", [2, 3, 4, 500])
def test_people_of_companies_are_told_whole_at_any_border(
    it: Mautic, api: FakeMautic, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A page that ends in a contact of several companies loses none of them; who was removed is left out."""
    monkeypatch.setattr("connectors._mautic_around.TIES", size)
    people = [int(api.add(email=f"p{n}@one.example")) for n in range(5)]
    one, two = (api.sim.around.company(companyname=name) for name in ("One", "Two"))
    for person in people:
        api.sim.around.joins(one, person, main=True)
        if person != people[2]:
            api.sim.around.joins(two, person)
    first, second = it.read(Kind.COMPANY, [str(one), str(two), "x"])
    assert [(t.id, t.main) for t in first.ties[Kind.CONTACT]] == [(str(p), True) for p in people]
    assert [(t.id, t.main) for t in second.ties[Kind.CONTACT]] == [(str(p), False) for p in people if p != people[2]]


def test_a_change_of_people_is_polled_though_the_company_does_not_change(it: Mautic, api: FakeMautic) -> None:
    """By the log of belongings; and companies that were deleted by the audit log, which contacts are not taken for."""
    who = int(api.add(email="ada@one.example"))
    id_, other, gone = (api.sim.around.company(companyname=name) for name in ("One", "Two", "Three"))
    seen, _, cursor = walk(it)
    assert [r.id for r in seen] == [str(id_), str(other), str(gone)]
    api.now = NOW + timedelta(hours=1)
    api.touch(str(who), api.now)  # moves the clock of the answers
    api.sim.around.joins(id_, who, main=True)
    _, _, cursor = walk(it, cursor)
    api.now = NOW + timedelta(hours=2)
    api.sim.around.leaves(id_, who)
    api.sim.contacts._log(api.rows[who], "delete")
    row = {"id": 99, "bundle": "lead", "object": "company", "object_id": str(gone), "action": "delete"}
    api.sim.contacts.audit.append({**row, "date_added": "2026-08-13 12:15:00"})
    seen, deleted, _ = walk(it, cursor)
    assert [(r.id, r.ties[Kind.CONTACT]) for r in seen if r.id == str(id_)] == [(str(id_), ())]
    assert deleted == [str(gone)]


def test_what_the_user_may_not_see_is_not_said(it: Mautic, api: FakeMautic) -> None:
    """Without the table of belongings nobody is taken for gone; without names acts are told without campaign."""
    who = int(api.add(email="ada@one.example"))
    id_ = api.sim.around.company(companyname="One")
    api.sim.around.joins(id_, who)
    api.sim.around.name("emails", 7, "Spring")
    api.sim.around.happens("email_stats", lead_id=who, email_id=7, date_sent=STAMP)
    api.sim.hidden |= {"companies_leads", "lead_companies_change_log", "email_stat_replies"}
    (found,) = it.read(Kind.COMPANY, [str(id_)])
    assert dict(found.ties) == {}
    seen, _, cursor = walk(it)
    assert [dict(r.ties) for r in seen] == [{}]
    assert walk(it, cursor)[1] == []
    api.trouble = lambda request: refused(403, "No") if request.url.path == "/api/emails" else None
    (act,) = it.acts(None).acts
    assert (act.kind, act.campaign) == (Doing.SEND, None)
    assert told(it)[0] == ["email_stats:1:sent"]
    api.sim.hidden.add("email_stats")
    with pytest.raises(NeedsHuman, match="statistics"):
        it.acts(None)


def test_replies_are_walked_by_the_mail_that_they_answer(
    it: Mautic, api: FakeMautic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own ids are no numbers; several answers to one mail are told whole at any border."""
    who = int(api.add(email="ada@one.example"))
    for _ in range(3):
        api.sim.around.happens("email_stats", lead_id=who, date_sent=STAMP)
    for place, stat in enumerate((1, 1, 2, 3, 3)):
        api.sim.around.did["email_stat_replies"].append({"id": f"a-{place}", "stat_id": stat, "date_replied": STAMP})
    monkeypatch.setattr(calls.Contacts.stats, "__kwdefaults__", {"size": 3, "key": "id"})
    replies = [id_ for id_ in told(it)[0] if id_.startswith("email_stat_replies")]
    assert replies == [f"email_stat_replies:a-{n}" for n in range(5)]


def test_a_quiet_poll_of_acts_is_a_call_for_each_table(it: Mautic, api: FakeMautic) -> None:
    """Names are asked for once; a read that comes later is told though the mail was told before."""
    who = int(api.add(NOW - timedelta(days=3), email="ada@one.example"))
    api.sim.around.name("emails", 7, "Spring")
    api.sim.around.happens("email_stats", lead_id=who, email_id=7, date_sent="2026-08-10 10:00:00")
    _, cursor = told(it)
    api.calls.clear()
    assert told(it, cursor)[0] == []
    assert len(api.calls) == len({path for _, path, _ in api.calls}) + 1 == 7, "email_stats is asked for two times"
    api.sim.around.did["email_stats"][0]["date_read"] = STAMP
    api.calls.clear()
    assert told(it, cursor)[0] == ["email_stats:1:read"]
    assert "/api/emails" not in {path for _, path, _ in api.calls}


def test_an_objection_names_the_mail_that_led_to_it(it: Mautic, api: FakeMautic) -> None:
    """By the channel's id; what a person marked by hand is no act of the contact's."""
    who = api.rows[int(api.add(email="ada@one.example"))]
    api.sim.around.name("emails", 7, "Spring")
    rows: list[dict[str, Any]] = [
        {
            "id": n,
            "lead_id": who.id,
            "date_added": STAMP,
            "reason": reason,
            "channel": "email",
            "channel_id": channel_id,
        }
        for n, (reason, channel_id) in enumerate([(1, 7), (3, 7), (2, None)], 1)
    ]
    api.sim.contacts.objections = lambda: rows  # type: ignore[method-assign]
    cursor, found = None, []
    for _ in range(7):
        page = it.acts(cursor)
        found, cursor = [*found, *page.acts], page.cursor
    assert [(a.kind, a.campaign) for a in found] == [(Doing.UNSUBSCRIBE, "Spring"), (Doing.BOUNCE, None)]


def test_a_note_is_text_and_names_who_may_not_write_one(it: Mautic, api: FakeMautic) -> None:
    """Notes are HTML there; a merged contact's note is found on the one that it lives on in."""
    who = api.add(email="ada@one.example")
    (receipt,) = it.note([Note("n1", who, NOW, "a <b> & c")])
    assert isinstance(receipt, Done)
    assert api.sim.around.notes[0]["text"].startswith("a &lt;b&gt; &amp; c (Tandem ")
    (receipt,) = it.note([Note("n1", "x", NOW, "y")])
    assert isinstance(receipt, Gone)
    for status, kind in ((403, NeedsHuman), (422, Refused)):
        api.trouble = lambda request, s=status: refused(s, "about y") if request.method == "POST" else None
        (receipt,) = it.note([Note("n2", who, NOW, "about y")])
        assert isinstance(receipt, Failed)
        assert isinstance(receipt.problem, kind)
        assert "about y" not in str(receipt.problem)


def test_webhooks_about_companies(it: Mautic) -> None:
    """Saved, deleted; of a contact that joins one both are looked at."""
    body = {
        "mautic.company_post_save": [{"company": {"id": 5, "fields": {}}, "timestamp": AT}],
        "mautic.company_post_delete": [{"id": 6, "company": {"id": None}, "timestamp": AT}],
        "mautic.lead_company_change": [
            {"added": True, "contact": contact(47, "ada@people.example"), "company": {"id": 5}, "timestamp": AT}
        ],
    }
    found = it.receive(sign(php(body), NOW, SECRET)).events
    assert [(e.kind, e.action, e.ref.value) for e in found] == [
        (Kind.COMPANY, Action.CHANGED, "5"),
        (Kind.COMPANY, Action.DELETED, "6"),
        (Kind.CONTACT, Action.CHANGED, "47"),
        (Kind.COMPANY, Action.CHANGED, "5"),
    ]
    assert len({e.dedupe for e in found}) == 4


def test_companies_describe_themselves(it: Mautic) -> None:
    """Their fields, and the owner, which is read only."""
    found = it.describe(Kind.COMPANY).properties
    assert found["owner"].read_only
    assert found["companyname"].type == "text"


def test_a_server_that_ignores_conditions_gives_nobody_away(api: FakeMautic) -> None:
    """Who belongs to other companies is not told of this one, and a page that does not move on stops the walk."""
    one, two = (api.sim.around.company(companyname=name) for name in ("One", "Two"))
    for n in range(3):
        api.sim.around.joins(two, int(api.add(email=f"p{n}@one.example")))

    def deaf(request: httpx.Request) -> httpx.Response:
        kept = [(k, v) for k, v in request.url.params.multi_items() if not k.startswith("where")]
        return api(httpx.Request(request.method, request.url.copy_with(params=kept), headers=request.headers))

    (found,) = connect(deaf).read(Kind.COMPANY, [str(one)])
    assert found.ties[Kind.CONTACT] == ()
