"""ActiveCampaign beyond the suite: amounts, stages and ends of deals, walks by offset, what is an act, notes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from connectors import _activecampaign_walk as walks
from connectors.activecampaign import ActiveCampaign
from connectors.contract import Act, Doing, Done, Ending, Failed, Gone, Kind, Note, Record, Refused
from sandbox.activecampaign_crm import Crm
from tests.examples.activecampaign import NOW, FakeActiveCampaign, connect
from tests.walking import to_the_end

STAMP = NOW.isoformat()


@pytest.fixture
def api() -> FakeActiveCampaign:
    return FakeActiveCampaign()


@pytest.fixture
def crm(api: FakeActiveCampaign) -> Crm:
    return api.account.crm


@pytest.fixture
def it(api: FakeActiveCampaign) -> ActiveCampaign:
    return connect(api)


def add(api: FakeActiveCampaign, lists: dict[str, str] | None = None) -> str:
    """Somebody; their id."""
    return api.add(NOW, lists, email=f"p{len(api.people.contacts)}@one.example")


def walk(it: ActiveCampaign, kind: Kind, cursor: str | None = None) -> tuple[list[Record], str]:
    """A whole walk: who came, and where to go on."""
    pages, end = to_the_end(lambda at: it.changed(kind, at), cursor, 30)
    return [r for page in pages for r in page.records], end


def told(it: ActiveCampaign, cursor: str | None = None) -> tuple[list[Act], str]:
    """A whole walk over acts, and where to go on."""
    pages, end = to_the_end(it.acts, cursor, 30)
    return [a for page in pages for a in page.acts], end


# --- accounts and deals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (
            {"value": "1872151", "currency": "usd", "status": "0", "stage": "2"},
            {"value": "18721.51", "standing": "In Contact", "status": "open", "stage": "2"},
        ),
        ({"value": 0, "status": 1, "stage": "2"}, {"value": "0", "standing": "won", "status": "won"}),
        ({"value": "5", "status": "2", "stage": "2"}, {"value": "0.05", "standing": "lost"}),
        ({"value": "", "status": "0", "stage": "9"}, {"value": None, "standing": "9"}),
        ({"value": "100", "status": "0", "stage": "0", "owner": "0"}, {"standing": None, "owner": None, "stage": None}),
    ],
)
def test_a_deal_in_plain_words(it: ActiveCampaign, crm: Crm, row: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    """Hundredths as whole units; won and lost before the stage, whose title is told; 0 is no reference."""
    (found,) = it.read(Kind.DEAL, [crm.put("deals", title="Big", **row)])
    assert {name: found.fields[name] for name in wanted} == wanted


def test_a_deal_of_a_pipeline_that_may_not_be_seen_says_its_title_only(api: FakeActiveCampaign) -> None:
    """Nothing that is missing is taken for emptied, and nobody for gone."""
    hidden = {"deal": {"id": "7", "isDisabled": True, "title": "Demo Requested"}}
    api.trouble = lambda request: httpx.Response(200, json=hidden) if request.url.path.endswith("/deals/7") else None
    (found,) = connect(api).read(Kind.DEAL, ["7"])
    assert (dict(found.fields), dict(found.ties)) == ({"title": "Demo Requested"}, {})


@pytest.mark.parametrize("size", [1, 2, 3, 25])
def test_what_is_deleted_during_a_walk_hides_nobody(
    it: ActiveCampaign, crm: Crm, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The rest moves forward: the walk goes back by as many as the total shrank."""
    monkeypatch.setattr("connectors._activecampaign_around.SIZE", size)
    ids = [crm.put("accounts", name=f"A{n}") for n in range(7)]
    page = it.changed(Kind.COMPANY, None)
    del crm.rows["accounts"][ids[0]]
    rest = walk(it, Kind.COMPANY, page.cursor)[0] if page.more else []
    assert {r.id for r in [*page.records, *rest]} >= set(ids[1:])


def test_a_walk_that_does_not_go_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: who moved forward over the border of a page is missing."""
    honest = walks.onward

    def blind(state: walks.Round, count: int, size: int, **said: Any) -> tuple[walks.Round, bool]:
        return honest(walks.Round(state.since, state.began, state.offset), count, size, **said)

    monkeypatch.setattr(walks, "onward", blind)
    api = FakeActiveCampaign()
    with pytest.raises(AssertionError):
        test_what_is_deleted_during_a_walk_hides_nobody(connect(api), api.account.crm, monkeypatch, 2)


@pytest.mark.parametrize(("kind", "name"), [(Kind.COMPANY, "accounts"), (Kind.DEAL, "deals")])
def test_a_poll_asks_only_about_what_changed(
    api: FakeActiveCampaign, it: ActiveCampaign, crm: Crm, kind: Kind, name: str
) -> None:
    """Who belongs to the others is not asked for; a quiet poll is one call for a hundred."""
    who = add(api)
    fields = {"name": "One"} if kind is Kind.COMPANY else {"title": "One", "contact": who, "value": "1", "status": "1"}
    ids = [crm.put(name, **fields) for _ in range(3)]
    seen, cursor = walk(it, kind)
    assert [r.id for r in seen] == ids
    api.now = NOW + timedelta(days=1)
    api.touch(who, api.now)  # moves the clock of the answers
    _, cursor = walk(it, kind, cursor)
    api.calls.clear()
    assert walk(it, kind, cursor)[0] == []
    assert [path for _, path, _ in api.calls] == [f"/{name}"]
    crm.put(name, ids[1])
    assert [r.id for r in walk(it, kind, cursor)[0]] == [ids[1]]


def test_links_of_others_are_not_believed(api: FakeActiveCampaign, crm: Crm) -> None:
    """A server that ignores the filter gives nobody to another account or deal."""
    one, other = (crm.put("accounts", name=name) for name in ("One", "Two"))
    crm.put("accountContacts", account=other, contact="5")
    deal = crm.put("deals", title="D", contact="1", account=one, value="1", status="0", stage="1")
    crm.put("contactDeals", deal="99", contact="6")

    def deaf(request: httpx.Request) -> httpx.Response:
        kept = [(k, v) for k, v in request.url.params.multi_items() if not k.startswith("filters")]
        return api(httpx.Request(request.method, request.url.copy_with(params=kept), headers=request.headers))

    it = connect(deaf)
    assert it.read(Kind.COMPANY, [one])[0].ties == {Kind.CONTACT: ()}
    assert [t.id for t in it.read(Kind.DEAL, [deal])[0].ties[Kind.CONTACT]] == ["1"]


@pytest.mark.parametrize("cursor", ["{", "[]", '{"offset":-1}', '{"since":"x"}', '{"offset":"x"}'])
def test_a_strange_cursor_is_refused(it: ActiveCampaign, cursor: str) -> None:
    """With a word on what to do."""
    with pytest.raises(Refused, match="start again"):
        it.changed(Kind.DEAL, cursor)
    with pytest.raises(Refused, match="start again"):
        it.acts(cursor)


# --- acts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "status", "kind", "outcome"),
    [
        ("Call", 0, Doing.CALL, Ending.PLANNED),
        ("Phone call", 1, Doing.CALL, Ending.HELD),
        ("Product demo", 1, Doing.MEETING, Ending.HELD),
        ("Email", 1, Doing.MAIL, Ending.SENT),
        ("To-do", 0, Doing.TASK, Ending.OPEN),
        ("Send a gift", 1, Doing.TASK, Ending.DONE),
    ],
)
def test_tasks_by_the_title_of_their_type(
    api: FakeActiveCampaign, it: ActiveCampaign, crm: Crm, title: str, status: int, kind: Doing, outcome: Ending
) -> None:
    """The types are the account's own; one that is not known is a task."""
    type_ = crm.put("dealTasktypes", title=title)
    said: dict[str, Any] = {
        "reltype": "Subscriber",
        "relid": add(api),
        "dealTasktype": type_,
        "status": status,
        "duedate": STAMP,
    }
    crm.put("dealTasks", **said)
    assert [(a.kind, a.outcome) for a in told(it)[0]] == [(kind, outcome)]


def test_a_task_that_is_done_comes_again(api: FakeActiveCampaign, it: ActiveCampaign, crm: Crm) -> None:
    """Under its id; a quiet poll asks each of the two lists once, besides the walk over those who were stopped."""
    said = {"reltype": "Subscriber", "relid": add(api), "dealTasktype": "1", "duedate": STAMP}
    task = crm.put("dealTasks", status=0, **said)
    (planned,), cursor = told(it)
    api.now = NOW + timedelta(hours=3)
    api.touch(said["relid"], api.now)
    cursor = told(it, cursor)[1]
    api.calls.clear()
    assert told(it, cursor)[0] == []
    assert [path for _, path, _ in api.calls] == ["/contacts", "/dealTasks"]
    crm.put("dealTasks", task, status=1)
    (held,), _ = told(it, cursor)
    assert (held.id, planned.outcome, held.outcome) == (planned.id, Ending.PLANNED, Ending.HELD)


def test_names_that_may_not_be_seen_are_left_out(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """The act is told all the same."""
    people = api.people
    who = people.find(add(api))
    people.put_on(who, "1", "2", campaign="1")
    no = httpx.Response(403, json={"message": "no"})
    api.trouble = lambda request: no if "/campaigns/" in request.url.path else None
    assert [(a.kind, a.campaign) for a in told(it)[0]] == [(Doing.UNSUBSCRIBE, None)]


def test_a_silent_opt_out_comes_with_the_sweep(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """A change of a list need not move the contact's time."""
    api.account.crm.put("campaigns", name="Spring")
    who, other = add(api, {"1": "1"}), add(api)
    api.touch(who, NOW - timedelta(days=3))
    _, cursor = told(it)
    api.now = NOW + timedelta(hours=1)
    api.people.put_on(api.people.find(who), "1", "2", campaign="1")
    api.now = NOW + timedelta(hours=8)
    api.touch(other, api.now)
    assert [(a.kind, a.campaign) for a in told(it, cursor)[0]] == [(Doing.UNSUBSCRIBE, "Spring")]


# --- notes ------------------------------------------------------------------------------------------------------------


def test_a_note_of_an_earlier_try_is_found_among_many(api: FakeActiveCampaign, it: ActiveCampaign, crm: Crm) -> None:
    """Whatever the order of the list; one to nobody is not sent."""
    who = add(api)
    (first,) = it.note([Note("n1", who, NOW, "about y")])
    for n in range(150):
        crm.put("notes", note=f"{n}", reltype="Subscriber", relid=who)
    assert it.note([Note("n1", who, NOW, "about y", again=True)]) == [first]
    assert isinstance(first, Done)
    api.calls.clear()
    for nobody in ("x", "999"):
        (receipt,) = it.note([Note("n2", nobody, NOW, "about y")])
        assert isinstance(receipt, Gone)
    assert {method for method, _, _ in api.calls} == {"GET"}


def test_a_refused_note_does_not_repeat_its_text(api: FakeActiveCampaign, it: ActiveCampaign) -> None:
    """Though the vendor does."""
    who = add(api)
    no = httpx.Response(422, json={"message": "about y is not good"})
    api.trouble = lambda request: no if request.method == "POST" else None
    (receipt,) = it.note([Note("n1", who, NOW, "about y")])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert "about y" not in str(receipt.problem)
