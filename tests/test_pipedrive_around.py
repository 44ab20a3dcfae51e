"""What only Pipedrive does around persons: ends of deals, the archive, participants, labels, notes without a cursor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.sync import mapping
from connectors import _pipedrive_acts as acts
from connectors import _pipedrive_around as around
from connectors import _pipedrive_walk as walk
from connectors._pipedrive_calls import Found, Persons
from connectors._pipedrive_wire import rows
from connectors.contract import (
    Act,
    Action,
    Doing,
    Done,
    Ending,
    Failed,
    Gone,
    Kind,
    Note,
    Page,
    Ref,
    Refused,
    Tie,
    TryLater,
)
from connectors.pipedrive import Pipedrive
from sandbox.pipedrive_objects import OLD
from tests.examples.pipedrive import NOW, PASSWORD, URL, FakePipedrive, connect, refused, sign, told
from tests.speccheck import ROOT
from tests.walking import to_the_end

C, COMPANY, DEAL = Kind.CONTACT, Kind.COMPANY, Kind.DEAL
TIER = "custom_fields." + "f" * 40
OBJECTS = {
    "company_fields": f"name,website,address.street,address.locality,industry.label,{TIER}",
    "deal_fields": "title,stage.name,pipeline.name,value,currency,owner_id,lost_reason,channel.label,close.date",
}


@pytest.fixture
def api() -> FakePipedrive:
    return FakePipedrive()


@pytest.fixture
def it(api: FakePipedrive) -> Pipedrive:
    return connect(api, **OBJECTS)


def whole(it: Pipedrive, kind: Kind, cursor: str | None = None) -> tuple[list[Page], str]:
    return to_the_end(lambda at: it.changed(kind, at), cursor, 50)


def every(it: Pipedrive, cursor: str | None = None) -> tuple[list[Act], str]:
    pages, end = to_the_end(it.acts, cursor, 50)
    return [a for page in pages for a in page.acts], end


def asked(api: FakePipedrive, *words: str) -> list[str]:
    """The paths of all calls so far that hold one of the words; then they are forgotten."""
    found = [path for _, path, _ in api.calls if not words or any(w in path for w in words)]
    api.calls.clear()
    api.queries.clear()
    return found


# --- organizations and deals ------------------------------------------------------------------------------------------


def test_an_organization_in_words(api: FakePipedrive, it: Pipedrive) -> None:
    """Parts of the address, the words of an option, a custom field; an address that is empty says so."""
    address = {"route": "Unter den Linden", "street_number": "1", "locality": "Berlin"}
    api.api.answer("GET", "/v2/organizationFields", {}, {})
    one = api.objects.put("organizations", name="One", address=address, industry=12, custom_fields={"f" * 40: 51})
    two = api.objects.put("organizations", name="Two", industry=99)
    first, second = it.read(COMPANY, [str(one), str(two)])
    assert first.fields == {
        "name": "One",
        "website": None,
        "address.street": "Unter den Linden 1",
        "address.locality": "Berlin",
        "industry.label": "Option 12",
        TIER: 51,
    }
    assert (second.fields["address.street"], second.fields["address.locality"]) == (None, None)
    assert second.fields["industry.label"] is None


@pytest.mark.parametrize(
    ("said", "stage", "close"),
    [
        ({"stage_id": 2}, "Proposal Made", None),
        ({"stage_id": 2, "expected_close_date": "2026-10-01"}, "Proposal Made", "2026-10-01"),
        ({"stage_id": 3, "pipeline_id": 2}, "won (stage 3)", None),  # a stage that somebody called so is no end
        ({"stage_id": 77}, "77", None),
        ({"status": "won", "expected_close_date": "2026-10-01"}, "won", "2026-08-13"),
        ({"status": "lost", "lost_reason": "Too dear"}, "lost", "2026-08-13"),
        ({"status": "open", "is_archived": True}, "archived", None),
        ({"status": "won", "is_archived": True}, "won", "2026-08-13"),
    ],
)
def test_where_a_deal_stands(
    api: FakePipedrive, it: Pipedrive, said: dict[str, Any], stage: str, close: str | None
) -> None:
    """By its status before its stage; the archive does not hide how it ended."""
    id_ = str(api.objects.put("deals", title="Big", channel=61, value=10.5, currency="CHF", **said))
    (read,) = it.read(DEAL, [id_])
    (walked,) = [r for page in whole(it, DEAL)[0] for r in page.records]
    assert read == walked
    assert not read.archived, "a record that is archived would not be stored"
    f = read.fields
    assert (f["stage.name"], f["close.date"], f["lost_reason"]) == (stage, close, said.get("lost_reason"))
    assert (f["value"], f["currency"], f["channel.label"]) == (10.5, "CHF", "Option 61")
    assert f["pipeline.name"] == ("Partners" if said.get("pipeline_id") == 2 else "Sales")


def test_only_deals_with_more_people_are_asked_for_them(api: FakePipedrive, it: Pipedrive) -> None:
    """The main person comes with the deal; several pages of participants are read whole."""
    people = [int(api.add(f"p{n}@one.example")) for n in range(130)]
    firm = api.objects.put("organizations", name="One")
    lone = api.objects.put("deals", person_id=people[0], org_id=firm)
    none = api.objects.put("deals")
    many = api.objects.put("deals", person_id=people[0])
    api.objects.take_part(many, *people)
    asked(api)
    found = {r.id: r.ties for page in whole(it, DEAL)[0] for r in page.records}
    assert asked(api, "participants") == [f"/v1/deals/{many}/participants"] * 3
    assert found[str(lone)] == {Kind.CONTACT: (Tie(str(people[0]), main=True),), COMPANY: (Tie(str(firm), main=True),)}
    assert found[str(none)] == {Kind.CONTACT: (), COMPANY: ()}
    assert found[str(many)][Kind.CONTACT] == tuple(Tie(str(p), main=n == 0) for n, p in enumerate(people))


def test_a_deleted_deal_is_told_once_somebody_asks_again(api: FakePipedrive, it: Pipedrive) -> None:
    """The first walk leaves them out; a poll names what was deleted, also from the archive."""
    api.now -= timedelta(days=1)
    old = api.objects.put("deals", is_deleted=True)
    api.now += timedelta(days=1)
    gone, away = api.objects.put("deals"), api.objects.put("deals", is_archived=True)
    pages, cursor = whole(it, DEAL)
    assert {i for p in pages for i in p.deleted} == set()
    assert {r.id for p in pages for r in p.records} == {str(gone), str(away)}
    api.now += timedelta(hours=2)
    for id_ in (gone, away):
        api.objects.put("deals", id_, is_deleted=True)
    pages, _ = whole(it, DEAL, cursor)
    assert {i for p in pages for i in p.deleted} == {str(gone), str(away)}
    assert it.read(DEAL, [str(old), str(gone), str(away)]) == []


def test_the_archive_and_notes_are_asked_rarely(api: FakePipedrive, it: Pipedrive) -> None:
    """They cost twice as much; a quiet poll within the hour is one call, after it two."""
    api.objects.put("deals")
    _, cursor = whole(it, DEAL)
    _, done = every(it)
    asked(api)
    api.now += timedelta(minutes=30)
    _, cursor = whole(it, DEAL, cursor)
    assert asked(api) == ["/v2/deals"]
    _, done = every(it, done)
    assert asked(api) == ["/v2/activities", "/v2/persons"]
    api.now += timedelta(minutes=31)
    whole(it, DEAL, cursor)
    every(it, done)
    assert asked(api, "archived", "notes") == ["/v2/deals/archived", "/v1/notes"]


def test_stages_are_looked_up_once(api: FakePipedrive, it: Pipedrive) -> None:
    """And again for a stage that was not there then."""
    id_ = str(api.objects.put("deals"))
    for _ in range(2):
        it.read(DEAL, [id_])
    assert asked(api, "stages") == ["/v2/stages"]
    api.objects.put("deals", int(id_), stage_id=99)
    it.read(DEAL, [id_])
    assert asked(api, "stages") == ["/v2/stages"]


def test_persons_say_where_they_belong_where_companies_are_read(api: FakePipedrive, it: Pipedrive) -> None:
    """One organization, or none; without a section for companies nothing is said."""
    firm = api.objects.put("organizations", name="One")
    one, two = api.add("a@one.example", org_id=firm), api.add("b@one.example")
    ties = {r.id: r.ties for r in it.read(C, [one, two])}
    assert ties == {one: {COMPANY: (Tie(str(firm), main=True),)}, two: {COMPANY: ()}}
    assert [r.ties for r in connect(api).read(C, [one])] == [{}]


def test_the_fields_around_are_described(it: Pipedrive) -> None:
    """Ours and Pipedrive's, read only, with the words of options."""
    firm, deal = it.describe(COMPANY).properties, it.describe(DEAL).properties
    assert firm["industry.label"].options == ("Option 11", "Option 12")
    assert {"address.street", "address.locality", TIER, "industry"} <= firm.keys()
    assert {"stage.name", "pipeline.name", "close.date", "lost_reason", "channel.label"} <= deal.keys()
    assert all(p.read_only for p in (*firm.values(), *deal.values()))


def test_a_user_who_left_is_not_active(api: FakePipedrive, it: Pipedrive) -> None:
    """The whole directory in one call."""
    api.objects.user("Kim", "kim@suite.example")
    api.objects.user("", "lee@suite.example", active=False)
    page = it.changed(Kind.COLLEAGUE, None)
    assert [(r.fields["name"], r.fields["active"]) for r in page.records] == [
        ("Kim", True),
        ("lee@suite.example", False),
    ]
    assert not page.more


def test_the_shipped_mapping_understands_all_of_it(api: FakePipedrive) -> None:
    """Every field that it names is there and described, and says what it is in canonical words."""
    objects = mapping.load(ROOT / "mappings" / "pipedrive.yaml").objects
    it = connect(api, **Pipedrive.from_objects(objects.theirs()))
    address = {"route": "A", "street_number": "1", "country": "Germany", "locality": "Berlin"}
    firm = api.objects.put("organizations", name="One", industry=11, employee_count=5, address=address)
    deal = api.objects.put("deals", title="Big", value=10.5, status="lost", lost_reason="Too dear", channel=61)
    (company,), (lost,) = it.read(COMPANY, [str(firm)]), it.read(DEAL, [str(deal)])
    assert objects.company is not None
    assert objects.deal is not None
    said = objects.company.read(company.fields)
    assert (said["street"], said["country"], said["industry"], said["employees"]) == ("A 1", "DE", "Option 11", "5")
    said = objects.deal.read(lost.fields)
    assert (said["amount"], said["currency"], said["lost_reason"], said["source"]) == (
        *("10.5", "EUR", "Too dear", "Option 61"),
    )
    assert (said["created_at"], said["close_date"]) == ("2026-08-13T10:15:00Z", "2026-08-13")
    assert objects.deal.status(said["stage"]) == "lost"
    for kind, names in objects.theirs().items():
        assert set(names) <= it.describe(kind).properties.keys()


# --- webhooks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("entity", "kind"), [("organization", COMPANY), ("deal", DEAL)])
def test_webhooks_tell_of_organizations_and_deals(it: Pipedrive, entity: str, kind: Kind) -> None:
    """Changes, deletions and merges; none of them is urgent."""
    said = {"marketing_status": "unsubscribed"}
    (changed,) = it.receive(sign(told({"entity": entity}, data=said), NOW, PASSWORD)).events
    assert (changed.kind, changed.action, changed.ref, changed.urgent) == (kind, Action.CHANGED, Ref("8"), False)
    (gone,) = it.receive(sign(told({"entity": entity, "action": "delete"}), NOW, PASSWORD)).events
    assert gone.action is Action.DELETED
    lost = told({"entity": entity, "action": "delete", "merged_to_id": "9"})
    (merged,) = it.receive(sign(lost, NOW, PASSWORD)).events
    assert (merged.action, merged.ref, merged.losers) == (Action.MERGED, Ref("9"), ("8",))


def test_a_webhook_for_each_kind_that_is_read(api: FakePipedrive, it: Pipedrive) -> None:
    """Three of them, none twice; where one tells everything it is enough; one of another kind is left alone."""
    other = {"subscription_url": URL, "name": "O", "event_action": "*", "event_object": "product"}
    api.api.answer("POST", "/v1/webhooks", {}, other)
    for _ in range(2):
        made = it.hook(URL).hooks
        assert [h.about for h in made] == ["*.person", "*.organization", "*.deal"]
        assert not any(h.lacks for h in made)
        assert len(it.hooks()) == 4
    everything = {**other, "event_object": "*", "http_auth_user": "tandem", "http_auth_password": PASSWORD}
    api.api.answer("POST", "/v1/webhooks", {}, everything)
    assert [h.about for h in it.hook(URL).hooks] == ["*.*"]
    assert sorted(h.about for h in it.hooks()) == ["*.*", "*.product"]


# --- acts -------------------------------------------------------------------------------------------------------------

DAY, AT = "2026-02-03", datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
DUE = {"due_date": DAY, "due_time": "04:05"}
LATER = {"done": True, "marked_as_done_time": "2026-02-04T00:00:00Z"}
DONE_AT = datetime(2026, 2, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "kind", "outcome", "at"),
    [
        ({"type": "call", **DUE}, Doing.CALL, Ending.PLANNED, AT),
        ({"type": "call", **DUE, **LATER}, Doing.CALL, Ending.HELD, DONE_AT),
        ({"type": "lunch", **DUE, **LATER}, Doing.MEETING, Ending.HELD, AT),
        ({"type": "meeting", **LATER}, Doing.MEETING, Ending.HELD, DONE_AT),
        ({"type": "email", **DUE, **LATER}, Doing.MAIL, Ending.SENT, DONE_AT),
        ({"type": "task", "due_date": DAY, "due_time": ""}, Doing.TASK, Ending.OPEN, datetime(2026, 2, 3, tzinfo=UTC)),
        ({"type": "deadline", "done": True}, Doing.TASK, Ending.DONE, NOW),
        ({"type": "demo", **DUE}, Doing.MEETING, Ending.PLANNED, AT),
        ({"type": "anything", **DUE}, Doing.TASK, Ending.OPEN, AT),
    ],
)
def test_what_an_activity_was(
    api: FakePipedrive, said: dict[str, Any], kind: Doing, outcome: Ending, at: datetime
) -> None:
    """By type, done or not; a meeting was at its hour, a call when it was marked as done; own types by the setting."""
    who = int(api.add("a@one.example"))
    api.objects.put("activities", person_id=who, **said)
    (act,) = every(connect(api, activity_types="demo = meeting"))[0]
    assert (act.kind, act.outcome, act.at, act.who) == (kind, outcome, at, Ref(str(who)))


@pytest.mark.parametrize("value", ["demo", "demo=lunch", "=call"])
def test_a_type_that_is_none_is_refused(value: str) -> None:
    """Before anything is called."""
    with pytest.raises(ValueError, match="activity_types"):
        connect(FakePipedrive(), activity_types=value)


def noted(api: FakePipedrive, it: Pipedrive, *, together: bool) -> bool:
    """Whether a walk over 45 notes, 10 a page, tells all; while they are read, one that came moves to the end."""
    api.api._most = 10
    who = int(api.add("a@one.example"))
    ids = []
    for n in range(45):
        api.now = NOW if together else NOW + timedelta(minutes=n)
        ids.append(api.objects.put("notes", content=str(n), person_id=who))
    api.now = NOW + timedelta(hours=1)
    moved = iter([] if together else ids)

    def meddle(request: httpx.Request) -> None:
        if request.url.path.endswith("/notes") and (id_ := next(moved, None)) is not None and id_ < ids[6]:
            api.objects.rows["notes"][id_]["update_time"] = api.now.strftime(OLD)

    api.trouble = meddle
    return {a.id for a in every(it)[0]} == {f"notes:{i}:{who}" for i in ids}


@pytest.mark.parametrize("together", [True, False])
def test_all_notes_are_told_though_they_are_paged_by_offset(api: FakePipedrive, it: Pipedrive, together: bool) -> None:
    """More in a second than a page holds; and those that change move nobody past a border."""
    assert noted(api, it, together=together)


def test_a_walk_by_offset_alone_would_lose_notes(
    api: FakePipedrive, it: Pipedrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saboteur."""

    def naive(persons: Persons, state: walk.Poll) -> Found:
        start = int(state.at) if state.at is not None else 0
        body, at = persons.asked("/v1/notes", {"sort": "update_time ASC", "start": start, "limit": 200})
        found = rows(body)
        return Found(tuple(found), str(start + len(found)) if around.goes_on(body) else None, at)

    monkeypatch.setattr(acts, "_notes", naive)
    assert not noted(api, it, together=False)


def test_what_is_no_note_of_somebody_is_not_told(api: FakePipedrive, it: Pipedrive) -> None:
    """Removed ones, those on a deal alone, and our own."""
    who = int(api.add("a@one.example"))
    api.objects.put("notes", content="x", person_id=who, active_flag=False)
    api.objects.put("notes", content="x", deal_id=5)
    (receipt,) = it.note([Note("k", str(who), NOW, "Clicked")])
    assert isinstance(receipt, Done)
    assert every(it)[0] == []


def test_the_last_mails_are_told_both_ways(api: FakePipedrive, it: Pipedrive) -> None:
    """One that comes is the person's reply; of one that goes nobody says who sent it; the next comes with a poll."""
    who = api.add("a@one.example")
    api.objects.mailed(int(who), out=True)
    told_, cursor = every(it)
    assert [(a.kind, a.human, a.outcome, a.at) for a in told_] == [(Doing.MAIL, None, Ending.SENT, NOW)]
    api.now += timedelta(hours=3)
    api.objects.mailed(int(who), out=False)
    again = {a.id: a for a in every(it, cursor)[0]}
    assert [a.kind for a in again.values()] == [Doing.REPLY, Doing.MAIL]
    assert told_[0].id in again


# --- the timeline -----------------------------------------------------------------------------------------------------


def test_a_note_is_html_and_says_when(api: FakePipedrive, it: Pipedrive) -> None:
    """What stands in a text is text; the day is that of the act."""
    who = api.add("a@one.example")
    note = Note("k", who, datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), "Filled in <Form> & more\nat home")
    assert isinstance(it.note([note])[0], Done)
    (row,) = api.objects.rows["notes"].values()
    assert row["content"].startswith("Filled in &lt;Form&gt; &amp; more<br>at home (Tandem ")
    assert (row["add_time"], row["person_id"]) == ("2026-02-03 04:05:06", int(who))


@pytest.mark.parametrize(("removed", "wanted"), [(True, Gone), (False, Failed)])
def test_a_404_for_a_note_is_looked_into(api: FakePipedrive, it: Pipedrive, removed: bool, wanted: type) -> None:
    """A person that a list still shows is not gone."""
    who = api.add("a@one.example")
    if removed:
        api.people.remove(who, "user")
    api.trouble = lambda r: refused(404) if r.method == "POST" else None
    (receipt,) = it.note([Note("k", who, NOW, "Clicked")])
    assert isinstance(receipt, wanted)
    if isinstance(receipt, Failed):
        assert isinstance(receipt.problem, TryLater)


def test_a_cursor_of_somebody_else_is_refused(it: Pipedrive) -> None:
    """So that the rounds begin anew."""
    for cursor in ("{}", "[9,{}]", '[0,{"activities":{"x":1}}]', '[1,{"notes":{"since":"x","at":"x"}}]', "junk"):
        with pytest.raises(Refused, match="cursor"):
            it.acts(cursor)
