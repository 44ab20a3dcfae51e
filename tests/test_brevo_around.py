"""Brevo's companies and deals, what contacts did, and notes, beyond the conformance suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors import _brevo_acts as engagement
from connectors import _brevo_around as around
from connectors.brevo import Brevo
from connectors.contract import Act, Done, Failed, Gone, Kind, Note, Refused, TryLater
from sandbox.brevo_crm import STAGES
from tests.examples.brevo import NOW, FakeBrevo, connect, notes, refused
from tests.walking import to_the_end

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def api() -> FakeBrevo:
    return FakeBrevo()


@pytest.fixture
def it(api: FakeBrevo) -> Brevo:
    return connect(api)


def walked(it: Brevo, kind: Kind, cursor: str | None = None) -> tuple[list[str], str]:
    pages, end = to_the_end(lambda at: it.changed(kind, at), cursor, 60)
    return [r.id for page in pages for r in page.records], end


def asked(api: FakeBrevo, path: str) -> int:
    return sum(call[1] == path for call in api.calls)


# --- companies and deals ----------------------------------------------------------------------------------------------

KINDS = ((Kind.COMPANY, "companies"), (Kind.DEAL, "deals"))


@pytest.mark.parametrize("sabotaged", [False, True])
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_walk_loses_nobody_when_others_are_deleted(
    api: FakeBrevo, it: Brevo, monkeypatch: pytest.MonkeyPatch, kind: Kind, name: str, sabotaged: bool
) -> None:
    """Pages of three; two of the first are deleted after it.  Who does not look at the number of all loses two."""
    monkeypatch.setitem(around.SIZES, kind, 3)  # type: ignore[arg-type]
    if sabotaged:
        monkeypatch.setattr(around, "number", lambda _answer, _name: None)
    api.now -= timedelta(days=1)
    ids = [api.account.crm.put(name, {}, []) for _ in range(8)]
    api.now += timedelta(days=1)
    first = it.changed(kind, None)
    for id_ in ids[:2]:
        del api.account.crm.items[name][id_]
    rest, cursor = walked(it, kind, first.cursor)
    assert len({*ids} - {r.id for r in first.records} - {*rest}) == (2 if sabotaged else 0)
    api.now += timedelta(hours=1)
    new = api.account.crm.put(name, {}, [])
    assert walked(it, kind, cursor)[0] == [new]


def test_a_deal_tells_the_names_of_its_stage(api: FakeBrevo, it: Brevo) -> None:
    """One call for all pipelines; of a stage that is no more the id, which is not asked for again and again."""
    won = api.account.crm.put("deals", {"deal_stage": STAGES["Won"], "amount": 0, "note": ""}, [1])
    old = api.account.crm.put("deals", {"deal_stage": "gone"}, [1, 2])
    none = api.account.crm.put("deals", {}, [])
    for _ in range(3):
        first, second, third = it.read(Kind.DEAL, [won, old, none])
    assert (first.fields["stage"], first.fields["pipeline"]) == ("Won", "Sales Pipeline")
    assert (first.fields["attributes.amount"], first.fields["attributes.note"]) == (0, None)
    assert second.fields["stage"] == "gone"
    assert "pipeline" not in second.fields
    assert "stage" not in third.fields
    assert asked(api, "/crm/pipeline/details/all") == 1
    assert [[t.main for t in r.ties[Kind.CONTACT]] for r in (first, second, third)] == [[True], [False, False], []]
    assert it.read(Kind.DEAL, ["no such id!", "0123456789abcdef01234567"]) == []


@pytest.mark.parametrize("cursor", ["", "x", "[]", '{"since":"x"}', '{"page":-1}', '{"page":"many"}'])
def test_a_foreign_cursor_is_refused(it: Brevo, cursor: str) -> None:
    """By name."""
    for kind, _ in KINDS:
        with pytest.raises(Refused, match="cursor"):
            it.changed(kind, cursor)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda it: it.changed(Kind.COMPANY, None), {"companies": []}),
        (lambda it: it.changed(Kind.DEAL, None), {"items": [{"attributes": {}}], "pager": {}}),
        (lambda it: it.read(Kind.DEAL, ["abc"]), {"id": "abc", "attributes": {"deal_stage": "x"}}),
        (lambda it: it.describe(Kind.COMPANY), {"attributes": []}),
        (lambda it: it.acts(None), {"campaigns": "none"}),
        (lambda it: it.acts(None), []),
        (lambda it: it.acts('{"began":"2026-03-01T08:00:00Z","names":{}}'), []),
    ],
)
def test_answers_that_make_no_sense(api: FakeBrevo, it: Brevo, ask: Callable[[Brevo], Any], said: Any) -> None:
    """Tried again later; an empty list is another thing."""
    api.trouble = lambda _: httpx.Response(200, json=said)
    with pytest.raises(TryLater):
        ask(it)
    api.trouble = lambda _: httpx.Response(200, json={"pager": {"total": 0}})
    assert it.changed(Kind.COMPANY, None).records == ()


# --- what contacts did ------------------------------------------------------------------------------------------------


def polled(it: Brevo, cursor: str | None = None) -> tuple[list[Act], str]:
    """What one poll tells."""
    pages, end = to_the_end(it.acts, cursor, 60)
    return [a for page in pages for a in page.acts], end


@pytest.mark.parametrize("sabotaged", [False, True])
def test_a_sweep_goes_on_with_the_next_poll(
    api: FakeBrevo, it: Brevo, monkeypatch: pytest.MonkeyPatch, sabotaged: bool
) -> None:
    """Two pages a poll; two contacts are deleted between polls, and nobody else is passed over."""
    monkeypatch.setattr(engagement, "PAGE", 10)
    monkeypatch.setattr(engagement, "SLICE", 2)
    if sabotaged:
        monkeypatch.setattr("connectors._brevo_walk.KEPT", 0)
    api.account.crm.campaign(7, "Spring")
    ids = [api.add(f"p{n}@people.example", AT + timedelta(minutes=n)) for n in range(30)]
    for id_ in ids:
        api.account.crm.did(int(id_), "opened", 7, AT.timestamp())
    told, cursor = polled(it)
    assert len(told) <= 20, "a poll takes too much"
    del api.account.rows[int(ids[0])], api.account.rows[int(ids[1])]
    while "began" in cursor:
        more, cursor = polled(it, cursor)
        told += more
    assert len({*ids} - {a.who.value for a in told}) == (2 if sabotaged else 0)


def test_what_was_told_is_not_told_again(api: FakeBrevo, it: Brevo) -> None:
    """The next sweep tells what happened since, a day back; an act that comes again has the same id."""
    api.account.crm.campaign(7, "Spring")
    who = api.add("ada@people.example")
    crm, day = api.account.crm, timedelta(days=1)
    crm.did(int(who), "opened", 7, (NOW - 3 * day).timestamp())
    crm.did(int(who), "clicked", 7, (NOW - 3 * day).timestamp(), url="https://shop.example/")
    first, cursor = polled(it)
    assert len(first) == 2
    crm.stats[int(who)]["opened"][0] |= {"count": 2, "eventTime": NOW.isoformat()}
    (again,), cursor = polled(it, cursor)
    assert again.id in {a.id for a in first}
    assert (again.detail["count"], again.at) == (2, NOW)


def test_without_campaigns_nobody_is_asked_for(api: FakeBrevo, it: Brevo) -> None:
    """One call tells that there was none; a draft is none."""
    api.add("ada@people.example")
    api.account.crm.campaign(8, "Draft", "draft")
    told, cursor = polled(it)
    assert (told, len(api.calls)) == ([], 1)
    api.account.crm.campaign(7, "Spring")
    api.account.crm.did(1, "opened", 7, api.now.timestamp())
    assert [a.campaign for a in polled(it, cursor)[0]] == ["Spring"]


def test_one_contact_holds_up_no_sweep(api: FakeBrevo, it: Brevo) -> None:
    """One known by telephone only is not asked for, one that Brevo refuses is passed over, and one who went."""
    api.account.crm.campaign(7, "Spring")
    ids = [api.add(f"p{n}@people.example") for n in range(3)]
    api.add(None, SMS="+491701234567")
    for id_ in ids:
        api.account.crm.did(int(id_), "opened", 7, api.now.timestamp())
    bad = {f"/v3/contacts/{id_}/campaignStats": status for id_, status in zip(ids, (400, 404), strict=False)}
    api.trouble = lambda r: refused(bad[r.url.path]) if r.url.path in bad else None
    assert [a.who.value for a in polled(it)[0]] == ids[2:]
    assert sum(path.endswith("campaignStats") for _, path, _ in api.calls) == 3


@pytest.mark.parametrize(
    "cursor", ["", "x", "[]", "{}", '{"since":"x"}', '{"began":"2026-03-01T08:00:00Z"}', '{"names":{}}']
)
def test_a_foreign_cursor_of_acts_is_refused(it: Brevo, cursor: str) -> None:
    """By name."""
    with pytest.raises(Refused, match="cursor"):
        it.acts(cursor)


# --- notes ------------------------------------------------------------------------------------------------------------


def test_a_note_is_plain_text_with_its_time(api: FakeBrevo, it: Brevo) -> None:
    """Brevo reads HTML: nothing of a text becomes a tag; nobody gets a note that is not there."""
    who = api.add("ada@people.example")
    note = Note("hub:1", who, AT, "Called: 3 < 4 & <b>more</b>\nSecond line")
    wanted = [note, Note("hub:2", "999999", AT, "x"), Note("hub:3", "nobody", AT, "y")]
    assert [type(r) for r in it.note(wanted)] == [Done, Gone, Gone]
    (text,) = notes(api, who)
    assert text.startswith(
        "2026-03-01 08:00 UTC: Called: 3 &lt; 4 &amp; &lt;b&gt;more&lt;/b&gt;<br>Second line (Tandem "
    )
    assert [type(r) for r in it.note([dataclasses.replace(note, again=True)])] == [Done]
    assert len(notes(api, who)) == 1
    assert "Tandem" not in repr(api.calls[0])


def test_what_a_note_says_is_not_repeated(api: FakeBrevo, it: Brevo) -> None:
    """Brevo's refusal quotes the text; the receipt does not."""
    who = api.add("ada@people.example")
    api.trouble = lambda r: refused(400, "Secretive is too odd") if r.method == "POST" else None
    (receipt,) = it.note([Note("k", who, AT, "Secretive")])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert "Secretive" not in repr(receipt)
