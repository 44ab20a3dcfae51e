"""Klaviyo's events as acts, entries in a profile's activity, and a webhook that has been switched off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.core.db import Database
from app.core.words import Mode
from app.records import alarms
from app.repair.hooks import Hooks
from app.sync.connection import Connections
from connectors import _klaviyo_acts as engagement
from connectors.contract import Act, Done, Failed, Gone, Note, Refused, Side, TryLater
from connectors.klaviyo import Klaviyo
from tests.examples.klaviyo import FakeKlaviyo, connect, notes, refused
from tests.walking import to_the_end
from tests.world import World

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
DOOR = "https://tandem.example"
ADVANCE = engagement._advance


@pytest.fixture
def api() -> FakeKlaviyo:
    return FakeKlaviyo()


@pytest.fixture
def it(api: FakeKlaviyo) -> Klaviyo:
    return connect(api)


def walked(it: Klaviyo, cursor: str | None = None) -> tuple[list[Act], str]:
    pages, end = to_the_end(it.acts, cursor, 60)
    return [a for page in pages for a in page.acts], end


def did(api: FakeKlaviyo, who: str, at: datetime = AT, metric: str = "Opened Email", **said: Any) -> str:
    return api.account.feed.did(metric, who, at.timestamp(), said)


# --- acts -------------------------------------------------------------------------------------------------------------


def test_a_moment_with_more_events_than_a_page(api: FakeKlaviyo, it: Klaviyo) -> None:
    """A campaign goes out to 450 in a second: all come, those after it too, and a later walk tells only what is new."""
    who = api.add(email="ada@people.example")
    ids = [did(api, who, metric="Received Email") for _ in range(450)]
    ids += [did(api, who, AT + timedelta(minutes=n), "Received Email") for n in range(1, 250)]
    found, cursor = walked(it)
    assert {a.id for a in found} == set(ids)
    assert len(found) <= len(ids) + 10, "pages begin where the one before ended"
    did(api, who, api.now - timedelta(days=366), "Received Email")  # too long ago for a first walk
    assert len({a.id for a in walked(it)[0]}) == len(ids)
    api.now += timedelta(days=1)
    new = did(api, who, api.now)
    assert [a.id for a in walked(it, cursor)[0]] == [new]


def naive(walk: engagement._Walk, found: Sequence[Mapping[str, Any]], cursor: str | None) -> engagement._Walk:
    """The saboteur: trusts that a cursor is a place."""
    return ADVANCE(walk, found, None) if cursor is None else dataclasses.replace(walk, cursor=cursor)


@pytest.mark.parametrize("sabotaged", [False, True])
def test_events_that_are_deleted_push_none_out_of_sight(
    api: FakeKlaviyo, it: Klaviyo, monkeypatch: pytest.MonkeyPatch, sabotaged: bool
) -> None:
    """Somebody with three events on the first page is deleted meanwhile; who follows the cursor loses three others."""
    if sabotaged:
        monkeypatch.setattr(engagement, "_advance", naive)
    gone, stays = api.add(email="ada@people.example"), api.add(email="bea@people.example")
    for n in range(3):
        did(api, gone, AT + timedelta(seconds=n))
    ids = {did(api, stays, AT + timedelta(minutes=n)) for n in range(1, 300)}
    first = it.acts(it.acts(None).cursor)
    api.people.delete("id", gone)
    rest, _ = walked(it, first.cursor)
    missing = ids - {a.id for a in (*first.acts, *rest)}
    assert len(missing) == (3 if sabotaged else 0)


@pytest.mark.parametrize(
    ("metric", "said", "human"),
    [
        ("Opened Email", {}, None),
        ("Opened Email", {"machine_open": False}, True),
        ("Opened Email", {"Machine Open": True}, False),
        ("Opened Email", {"machine_open": True, "Apple Privacy Open": False}, False),
        ("Opened Email", {"Apple Privacy Open": "True"}, False),
        ("Opened Email", {"Bot Click": True}, None),
        ("Clicked Email", {"Bot Click": False}, True),
        ("Clicked Email", {"bot_click": True}, False),
        ("Received Email", {"machine_open": True}, None),
    ],
)
def test_machines_are_told_from_people(
    api: FakeKlaviyo, it: Klaviyo, metric: str, said: dict[str, Any], human: bool | None
) -> None:
    """By the flags of an event, however they are spelled; without one it is not said."""
    did(api, api.add(email="ada@people.example"), metric=metric, **said)
    (act,) = walked(it)[0]
    assert act.human is human


def test_an_account_without_acts(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Metrics that are none, more of them than a page, and one of a form alone."""
    who = api.add(email="ada@people.example")
    for n in range(230):
        did(api, who, metric=f"Order {n}")
    page = it.acts(None)
    assert (page.acts, page.more) == ((), False)
    form = did(api, who, api.now, "Form completed by profile")
    assert [a.id for a in walked(it, page.cursor)[0]] == [form]


def test_acts_of_nobody_and_of_no_time_are_left_out(api: FakeKlaviyo, it: Klaviyo) -> None:
    """The others of the page come; a walk over answers that make no sense ends nothing."""
    who = api.add(email="ada@people.example")
    good, bad, ugly = did(api, who), did(api, who), did(api, who)
    api.trouble = lambda r: _mutilated(api, r, {bad: "relationships", ugly: "attributes"})
    assert [a.id for a in walked(it)[0]] == [good]
    same = {"data": [], "links": {"next": "https://a.klaviyo.com/api/events?page%5Bcursor%5D=same"}}
    begun = it.acts(None).cursor
    api.trouble = lambda _: httpx.Response(200, json=same)
    with pytest.raises(TryLater, match="this page"):
        it.acts(it.acts(begun).cursor)
    api.dates, api.trouble = False, lambda _: None
    with pytest.raises(TryLater, match="time"):
        it.acts(None)


def _mutilated(api: FakeKlaviyo, request: httpx.Request, without: Mapping[str, str]) -> httpx.Response:
    body = api.answer(request).json()
    body["data"] = [{k: v for k, v in row.items() if k != without.get(row["id"])} for row in body["data"]]
    return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "[]", '{"since":"x"}', '{"left":[["M","opened email"]]}', '{"began":"2026-03-01T08:00:00Z"}'),
        '{"began":"2026-03-01T08:00:00Z","left":[["M","else"]]}',
        '{"began":"2026-03-01T08:00:00Z","left":[["M","opened email"]]}',
        '{"began":"2026-03-01T08:00:00Z","left":[["M\\"","opened email"]]}',
    ],
)
def test_a_foreign_cursor_is_refused(it: Klaviyo, cursor: str) -> None:
    """By name."""
    with pytest.raises(Refused, match="cursor"):
        it.acts(cursor)


# --- entries in a profile's activity ----------------------------------------------------------------------------------


def test_a_note_stands_once_starts_no_flow_and_makes_nobody(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Klaviyo knows it by its id; an event for an id that nobody has would make a profile, so none is sent."""
    who, other = api.add(email="ada@people.example"), "01GDDKASAP8TKDDA2GRZDSVXXX"
    note = Note("hub:1", who, AT, "Called: connected")
    wanted = [note, Note("hub:1", other, AT, "x"), Note("hub:2", who, AT, "y"), Note("hub:3", "no id!", AT, "z")]
    assert [type(r) for r in it.note(wanted)] == [Done, Gone, Done, Gone]
    assert [type(r) for r in it.note([dataclasses.replace(note, again=True)])] == [Done]
    assert sorted(notes(api, who)) == ["Called: connected", "y"]
    sent = [body["data"]["attributes"] for method, path, body in api.calls if (method, path) == ("POST", "/api/events")]
    assert all(about["backfill"] is True for about in sent), "a flow might start"
    assert len(sent) == 3
    assert walked(it)[0] == [], "an entry of ours is no act"


def test_what_a_note_says_is_not_repeated(api: FakeKlaviyo, it: Klaviyo) -> None:
    """Klaviyo's refusal quotes the text; the receipt does not."""
    who = api.add(email="ada@people.example")
    api.trouble = lambda r: refused(400, "Secretive is too odd") if r.method == "POST" else None
    (receipt,) = it.note([Note("k", who, AT, "Secretive")])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert "Secretive" not in repr(receipt)


# --- a webhook that does not work -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "armed"), [(Mode.OBSERVE, False), (Mode.LIVE, True)])
def test_a_webhook_that_klaviyo_switched_off_is_alarmed(
    database: Database, api: FakeKlaviyo, it: Klaviyo, mode: Mode, armed: bool
) -> None:
    """After 48 hours of failing: an alarm where nothing is written, else it is armed again."""
    made = World(database, {"klaviyo": Side.MARKETING})
    one = dataclasses.replace(made.connections["klaviyo"], connector=it, mode=mode)
    station = Hooks(database, Connections({"klaviyo": one}), DOOR)
    it.hook(f"{DOOR}/webhooks/klaviyo")
    assert _alarms(database, station) == []
    api.account.fail()
    words = _alarms(database, station)
    assert ["switched off" in w for w in words] == ([] if armed else [True])
    assert it.hooks()[0].on is armed


def _alarms(database: Database, station: Hooks) -> list[str]:
    (one,) = station._connections.values()
    station.look(one)
    with database.read() as db:
        return [a["words"] for a in alarms.listed(db) if a["kind"] == alarms.Kind.WEBHOOK]


@pytest.mark.parametrize(
    ("shown", "enabled", "url", "on"),
    [
        ("https://tandem.example/we...", True, f"{DOOR}/webhooks/klaviyo", True),
        ("https://tandem.example/we…", False, f"{DOOR}/webhooks/klaviyo", False),
        ("https://tan***klaviyo", None, f"{DOOR}/webhooks/klaviyo", None),
        ("https://other.example/we...", True, "https://other.example/we...", True),
    ],
)
def test_a_webhook_that_somebody_led_elsewhere_is_not_ours(
    api: FakeKlaviyo, it: Klaviyo, shown: str, enabled: bool | None, url: str, on: bool | None
) -> None:
    """As far as its URL is shown; what Klaviyo does not say of it is not taken for on."""
    it.hook(f"{DOOR}/webhooks/klaviyo")

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/api/webhooks":
            return None
        body = api.answer(request).json()
        about = body["data"][0]["attributes"]
        about["endpoint_url"], about["enabled"] = shown, enabled
        return httpx.Response(200, json=body)

    api.trouble = answer
    (hook,) = it.hooks()
    assert (hook.url, hook.on) == (url, on)
