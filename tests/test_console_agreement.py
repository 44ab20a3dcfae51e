"""The pages of the agreement: what they show is what the functions answer, and their forms do what commands do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from app.agreement.attribution import ABOUT
from app.agreement.leads import Known
from app.console import board
from app.console import leads as lead_pages
from app.console import programmes as programme_pages
from app.console.agreeing import business, hours
from app.console.scorecard import COMPARED, DIMENSIONS, PERIODS, Span, periods
from app.console.words import number, share
from app.ops import _scorecards_shown as shown
from app.ops import advice, briefs, drafts, leads, programmes, sla
from app.ops._scorecards_shown import RateShown, ScorecardShown
from tests import migrated
from tests.agreed import SHIPPED
from tests.agreedpages import DAYS, Pages, figures, leading, table
from tests.apihelp import add_contacts
from tests.scoring import NOBODY, Store

SINCE, UNTIL = date(2025, 1, 1), date(2026, 10, 31)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pages, Store]]:
    """Invented leads of two years, for tests that only look."""
    with leading(tmp_path_factory.mktemp("leads")) as made:
        yield made


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pages, Store]]:
    """A few leads, and two people of whom only the address is known, for tests that change something."""
    with leading(tmp_path_factory.mktemp("acted"), 12) as made:
        add_contacts(made[1].database, *({"id": i, "values": {"email": f"p{i}@example.org"}} for i in (101, 102)))
        yield made


def rate(cell: str, one: RateShown) -> None:
    """A cell shows a rate with its counts and its interval, and says where the number is small."""
    if not one.of:
        assert cell == "nobody yet"
        return
    assert cell.startswith(f"{share(one.rate)} {number(one.hits)} of {number(one.of)}"), cell
    assert one.low is None or f"{share(one.low)} to {share(one.high)}" in cell
    assert ("few: mostly chance" in cell) is one.small


def same(page: str, card: ScorecardShown) -> None:
    """A page shows this scorecard."""
    for heading, team in ((f"Indicators of {team}", team) for team in ("marketing", "sales")):
        region = page.partition(f'aria-label="{heading}"')[2].partition("</table>")[0]
        rows = table(f"<table>{region.partition('<table>')[2]}</table>", "Indicator", "Now")
        assert [row[:3] for row in rows] == [
            [n.means, number(n.n), number(n.before)] for n in card.numbers if n.team == team
        ]
    rows = table(page, "Rate")
    assert len(rows) == len(card.rates)
    for row, one in zip(rows, card.rates, strict=True):
        assert one.means in row[0]
        rate(row[1], one)
        assert row[3] == number(one.undecided)
    kept = [row for row in table(page, "Sales owed") if row != ["No clock was due."]]
    assert [row[0] for row in kept] == [one.name.replace("_", " ") for one in card.owed_by_sales]
    for row, one in zip(kept, card.owed_by_sales, strict=True):
        rate(row[1], one)
    assert [row[:2] for row in table(page, "Marketing owed")] == [
        [one.promise, one.period] for one in card.owed_by_marketing
    ]
    money = [[number(v) for v in (m.opened, m.won, m.lost, m.sourced, m.influenced)] for m in card.money]
    assert [row[1:6] for row in table(page, "Currency")] == money
    assert [row[2:4] for row in table(page, "Target")] == [[number(a.so_far), number(a.at_least)] for a in card.targets]


# --- the scorecard ----------------------------------------------------------------------------------------------------


def test_the_scorecard_shows_what_the_function_answers(world: tuple[Pages, Store]) -> None:
    """Every indicator, rate, sum and target; all leads, and those of one value of a dimension."""
    pages, store = world
    with store.database.read() as db:
        span = shown.span_of(db, SINCE, UNTIL)
        card = shown.card_shown(db, NOBODY, Known(), span, "week")
        ads = shown.card_shown(db, NOBODY, Known(), span, "week", "channel", "ads")
    page = pages.get(f"scorecard?{DAYS}")
    same(page, card)
    assert card.goal is not None
    assert f'<strong class="big">{number(card.goal.so_far)}</strong> of {number(card.goal.target)}' in page
    assert figures(page)["Handed over"] == number(card.speed.handed)
    assert figures(page)["Half of them within"] == hours(card.speed.median)
    same(pages.get(f"scorecard?{DAYS}&value=ads"), ads)


@pytest.mark.parametrize("change", ["a number", "a rate"])
def test_a_page_that_shows_another_figure_is_found_out(world: tuple[Pages, Store], change: str) -> None:
    """The comparison bites: one more, or another share, and it says so."""
    pages, store = world
    with store.database.read() as db:
        card = shown.card_shown(db, NOBODY, Known(), shown.span_of(db, SINCE, UNTIL), "week")
    if change == "a number":
        other = card.numbers[-1].model_copy(update={"n": card.numbers[-1].n + 1})
        card = card.model_copy(update={"numbers": [*card.numbers[:-1], other]})
    else:
        wrong = card.rates[0].model_copy(update={"hits": card.rates[0].hits + 1})
        card = card.model_copy(update={"rates": [wrong, *card.rates[1:]]})
    with pytest.raises(AssertionError):
        same(pages.get(f"scorecard?{DAYS}"), card)


@pytest.mark.parametrize("by", DIMENSIONS)
def test_what_moves_it_by_each_dimension(world: tuple[Pages, Store], by: Any) -> None:
    """Counts and rates of each value, the small ones marked."""
    pages, store = world
    with store.database.read() as db:
        found = shown.moves_shown(db, by, shown.span_of(db, SINCE, UNTIL))
    assert found.items
    page = pages.get(f"scorecard?{DAYS}&by={by}&all=true")
    rows = table(page, "Done" if by == "did" else by.capitalize(), "Leads")
    assert [row[:5] for row in rows] == [
        [one.value, *(number(one.numbers[n]) for n in ("lead", "mql", "sql", "won"))] for one in found.items
    ]
    for row, one in zip(rows, found.items, strict=True):
        by_name = {r.name: r for r in one.rates}
        for cell, name in zip(row[5:], COMPARED, strict=False):
            rate(cell, by_name[name])


@pytest.mark.parametrize("model", ABOUT)
def test_the_model_of_credit_is_switched(world: tuple[Pages, Store], model: Any) -> None:
    """Each says what it does, and credits what the function says."""
    pages, store = world
    with store.database.read() as db:
        found = shown.credit_shown(db, model, "campaign", shown.span_of(db, SINCE, UNTIL))
    page = pages.get(f"scorecard?{DAYS}&model={model}&among=campaign&by=persona")
    assert ABOUT[model] in page
    assert [row[:2] for row in table(page, "Campaign", "Deals")] == [[c.value, f"{c.deals:.2f}"] for c in found.items]


def test_every_figure_says_what_it_means(world: tuple[Pages, Store]) -> None:
    """All definitions stand on the page."""
    page = world[0].get(f"scorecard?{DAYS}")
    text = page.replace("&gt;", ">").replace("&#39;", "'")
    missing = [one.name for one in shown.definitions().items if one.means not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("days", "per", "expected"),
    [((0, 1), "day", 1), ((0, 14), "week", 3), ((0, 365), "month", 12), ((0, 365), "quarter", 4), ((0, 400), "day", 0)],
)
def test_periods_of_a_trend(days: tuple[int, int], per: Any, expected: int) -> None:
    """Those that the span touches; none where they are too many for a picture."""
    assert len(periods(Span(*days), per)) == expected
    assert len(periods(Span(0, PERIODS), "day")) == PERIODS


# --- the chain --------------------------------------------------------------------------------------------------------


def test_the_chain_is_a_picture_and_a_table_of_the_same(world: tuple[Pages, Store]) -> None:
    """Volume, loss and waiting of each step; the picture says the same in words."""
    pages, store = world
    with store.database.read() as db:
        found = shown.flow_shown(db, shown.span_of(db, SINCE, UNTIL), "channel")
    page = pages.get(f"supply-chain?{DAYS}&segment=channel")
    rows = table(page, "Step")
    assert [row[1:7] for row in rows] == [
        [s.team, *map(number, (s.came, s.passed, s.around, s.lost, s.waiting))] for s in found.steps
    ]
    assert [row[8:] for row in rows] == [
        [hours(s.median_wait), hours(s.median_passed), hours(s.oldest)] for s in found.steps
    ]
    described = page.partition('<desc id="chain-d">')[2].partition("</desc>")[0]
    assert all(f"{s.came} came, {s.passed} went on" in described for s in found.steps)
    assert page.count('<g class="step') == len(found.steps)
    segments = {row[0]: row[1:] for row in table(page, "Channel", "Lead")}
    assert {v: [number(of.get(n, 0)) for n in ("lead", "won")] for v, of in found.segments.items()} == {
        v: [cells[0], cells[-1]] for v, cells in segments.items()
    }
    assert {(row[0], row[2]) for row in table(page, "Reason", "How")} == {
        (b.why if b.why is not None else "no reason", number(b.n)) for b in found.back
    }


# --- the board and leads ----------------------------------------------------------------------------------------------


def walked(pages: Pages, path: str, head: str) -> list[str]:
    """The first cell of each row of all pages of a list."""
    found: list[str] = []
    for _ in range(50):
        page = pages.get(path)
        if f'<th scope="col">{head}</th>' in page:
            found += [row[0] for row in table(page, head)]
        following = re.search(r'href="/console/([^"]+)" rel="next"', page)
        if following is None:
            return found
        path = following[1].replace("&amp;", "&")
    raise AssertionError("it does not end")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many rows a page of a list has, so that a few leads fill several."""
    for module in (board, lead_pages, programme_pages):
        monkeypatch.setattr(module, "PAGE", 3)
    return 3


def test_the_board_lists_every_clock_once(world: tuple[Pages, Store], short: int) -> None:
    """Page by page, filtered by state; beside it the promises of marketing."""
    pages, store = world
    with store.database.read() as db:
        every, _ = sla.listed(db, limit=5_000)
        breached, _ = sla.listed(db, state=sla.State.BREACHED, limit=5_000)
        promises = sla.promises(db, Known())
    assert len(every) > 2 * short
    assert len(walked(pages, "sla", "Lead")) == len(every)
    assert len(walked(pages, "sla?state=breached", "Lead")) == len(breached)
    assert "No such clock" in pages.get("sla?owner=nobody%40example.org&state=&team=")
    rows = table(pages.get("sla"), "Promise", "Period")
    assert [(row[0], row[7]) for row in rows] == [(p.promise, number(p.leads)) for p in promises]


def test_leads_are_listed_by_stage(world: tuple[Pages, Store], short: int) -> None:
    """Each once, by name or address, as the function lists them."""
    pages, store = world
    with store.database.read() as db:
        found, _ = leads.listed(db, stage="prospect", limit=5_000)
    assert len(found) >= 2 * short
    assert walked(pages, "leads?stage=prospect", "Lead") == [f"p{lead.contact_id}@example.org" for lead in found]


def test_a_lead_tells_its_story(world: tuple[Pages, Store]) -> None:
    """Every step with its reason and the facts that made it true."""
    pages, store = world
    with store.database.read() as db:
        found, _ = leads.listed(db, stage="client", limit=1)
        lead = leads.one(db, found[0].contact_id)
    page = pages.get(f"leads/{lead.contact_id}")
    assert page.count("<time datetime=") == len(lead.steps)
    facts = {name for step in lead.steps for name in step.facts}
    assert facts
    assert all(f"<code>{name}</code>" in page for name in facts)
    assert [row[1] for row in table(page, "When", "Word")] == [str(w.word) for w in lead.said]


def test_words_about_a_lead(acted: tuple[Pages, Store]) -> None:
    """Taken, refused with the reason, kept and flagged; what is missing is said."""
    pages, store = acted
    answer = pages.post("leads/101/stage", by="Lou", team="marketing", stage="mql")
    assert answer.headers["location"] == "/console/leads/101?said=stage"
    with store.database.read() as db:
        assert (leads.one(db, 101).stage, leads.one(db, 101).said[-1].by) == ("mql", "Lou")
    assert pages.post("leads/101/accept", by="Kim").headers["location"] == "/console/leads/101?said=accept"
    flagged = pages.post("leads/101/reject", by="Kim", reason="no_need").headers["location"]
    assert flagged == "/console/leads/101?said=flagged"
    page = pages.get("leads/101?said=flagged")
    assert "both teams see it" in page
    assert "too early" in page
    with store.database.read() as db:
        advised = advice.of_lead(db, NOBODY, Known(), 101)
    assert [row[0].split(" a clock")[0] for row in table(page, "Step")] == [step.means for step in advised.steps]
    assert "mql is not reached" in pages.post("leads/102/stage", 409, by="Kim", team="sales", stage="mql").text
    assert "by: Field required" in pages.post("leads/101/accept", 422, by=" ").text
    assert pages.post("leads/999/accept", 404, by="Kim").headers["content-type"].startswith("text/html")


def test_clocks_are_paused_resumed_and_given_on(acted: tuple[Pages, Store]) -> None:
    """As the commands do it: the clocks that may stand, the owner, the name of who did it."""
    pages, store = acted
    pages.post("leads/102/stage", by="Lou", team="marketing", stage="mql")
    page = pages.get("sla/102")
    assert all(f"<option>{reason}</option>" in page for reason in ("asked to wait", "owner is ill"))
    woken = pages.api.woken
    answer = pages.post("sla/102/pause", by="Kim", reason="asked to wait", clock="")
    assert (answer.headers["location"], pages.api.woken) == ("/console/sla/102?said=paused", woken + 1)
    assert {row[1] for row in table(pages.get("sla/102"), "Clock", "State")} == {"paused asked to wait"}
    assert "stands for" in pages.post("sla/102/pause", 409, by="Kim", reason="asked to wait").text
    assert "it does for" in pages.post("sla/102/pause", 409, by="Kim", reason="rain").text
    pages.post("sla/102/resume", by="Kim")
    assert not any("asked" in row[1] for row in table(pages.get("sla/102"), "Clock", "State"))
    pages.post("sla/102/reassign", by="Kim", owner="lou@example.org", reason="on leave")
    with store.database.read() as db:
        assert {c.owner for c in sla.listed(db, owner="lou@example.org", limit=50)[0]} == {"lou@example.org"}
    assert "no clock of this lead stands" in pages.post("sla/102/resume", 409, by="Kim").text


def test_programmes_and_their_members(world: tuple[Pages, Store], short: int) -> None:
    """How many have each and what it brought about, as the function says; members page by page."""
    pages, store = world
    with store.database.read() as db:
        found = programmes.listed(db, NOBODY, Known())
        members = {one.name: programmes.members(db, one.name, current=False, limit=5_000)[0] for one in found}
    assert found
    rows = table(pages.get("programmes"), "Programme")
    assert [(row[1], row[2], row[5]) for row in rows] == [
        (number(p.members), number(p.effect.without_it.now), p.effect.says) for p in found
    ]
    assert max(map(len, members.values())) > short
    for name, of in members.items():
        shown_ = walked(pages, f"programmes/{name}?ever=true", "Contact")
        assert [one.split()[0] for one in shown_] == [f"p{member.contact_id}@example.org" for member in of]
    assert "there is no programme" in pages.get("programmes/mine", 404)


# --- the agreement ----------------------------------------------------------------------------------------------------


def test_a_version_is_read_as_it_was_signed(world: tuple[Pages, Store]) -> None:
    """Glossary, stages with their conditions, reasons, clocks, who signed, the text."""
    pages, store = world
    with store.database.read() as db:
        whole = leads.whole(db, Known(), 1)
    page = pages.get("agreement/versions/1").replace("&gt;", ">").replace("&amp;", "&").replace("&#39;", "'")
    said = [*whole.glossary, *whole.glossary.values(), *(s.means for s in whole.stages), *whole.reasons.values()]
    said += [s.when for s in whole.stages if s.when is not None]
    assert [words for words in said if words not in page] == []
    assert page.count('class="badge good">signed') == 2
    assert 'id="sign-sales"' not in page
    stages = {row[0]: row[3] for row in table(pages.get("agreement"), "Stage", "Means")}
    assert stages == {s.name: number(s.leads) for s in whole.stages}


def test_a_draft_is_compared_tried_and_signed(acted: tuple[Pages, Store]) -> None:
    """What the functions answer; in force with the second signature; never another file than the one that was read."""
    pages, store = acted
    assert "the same as version 1" in pages.get("agreement")
    text = SHIPPED.read_text(encoding="utf-8")
    pages.draft.write_text(text.replace("rest: 14d", "rest: 15d").replace(">= 50", ">= 40"), encoding="utf-8")
    draft = drafts.of_file(pages.draft, NOBODY)
    with store.database.read() as db:
        before = drafts.latest(db, Known())
    assert before is not None
    found = drafts.differences_shown(before.agreement, draft.agreement)
    page = pages.get("agreement/compare")
    assert [row[0] for row in table(page, "Where")] == [d.path for d in found]
    assert ["reasons.not_reached.rest", "14d", "15d"] in table(page, "Where")
    tried = drafts.simulated(store.database, NOBODY, draft, 100)
    page = pages.get("agreement/simulate?most=100")
    assert figures(page)["Looked at"] == number(tried.contacts)
    assert [(r[0], r[1], r[3]) for r in table(page, "Stage", "Now")] == [
        (s.stage, number(s.now), number(s.then)) for s in tried.stages
    ]
    digest = draft.agreement.digest
    first = pages.post("agreement/draft/sign", by="Kim", team="sales", digest=digest, since="")
    assert first.headers["location"] == "/console/agreement/versions/2?said=signed"
    assert "Version 2" in pages.get("agreement")
    assert "signed version 2" in pages.post("agreement/draft/sign", 409, by="Kim", team="sales", digest=digest).text
    second = pages.post("agreement/versions/2/sign", by="Lou", team="marketing")
    assert second.headers["location"] == "/console/agreement/versions/2?said=in_force"
    with store.database.read() as db:
        rows = {row["id"]: row for row in leads.leads.versions(db)}
    assert (rows[2]["sales_by"], rows[2]["marketing_by"], rows[2]["in_force"] is not None) == ("Kim", "Lou", True)
    pages.draft.write_text(text.replace("rest: 14d", "rest: 16d"), encoding="utf-8")
    late = pages.post("agreement/draft/sign", 409, by="Kim", team="sales", digest=digest)
    assert "another one than the page showed" in late.text
    day = pages.post("agreement/draft/sign", 422, by="Kim", team="sales", digest=digest, since="soon")
    assert "a day is written like 2026-01-31" in day.text


def test_a_draft_that_cannot_be_used_says_where(acted: tuple[Pages, Store]) -> None:
    """Each problem with its line; the versions are shown all the same."""
    pages, _ = acted
    text = SHIPPED.read_text(encoding="utf-8")
    pages.draft.write_text(text.replace("deals.open > 0", "deal.open > 0"), encoding="utf-8")
    page = pages.get("agreement")
    assert "did you mean &#39;deals.open&#39;?" in page
    assert "agreement.yaml:" in page
    assert "Version 1" in page
    assert "deals.open" in pages.get("agreement/simulate", 409)
    pages.draft.unlink()
    assert "tandem agreement init" in pages.get("agreement/draft", 409)


def test_before_anybody_has_signed(tmp_path: Path) -> None:
    """Every page of an empty store says what to do first."""
    database = migrated.new(tmp_path / "tandem.db")
    pages = Pages(database, SHIPPED)
    said = {
        "scorecard": "names no target",
        "supply-chain": "No lead came",
        "sla": "names no promise",
        "leads": "No such lead",
        "agreement": "nobody has signed it yet",
        "brief": "The first brief",
    }
    assert [path for path, words in said.items() if words not in pages.get(path)] == []
    assert "nothing to compare with" in pages.get("agreement/compare", 409)
    database.close()


# --- the brief --------------------------------------------------------------------------------------------------------


def test_the_brief_is_made_kept_and_shown_again(acted: tuple[Pages, Store]) -> None:
    """The same sections as the function makes; what was kept stays as it was handed out."""
    pages, store = acted
    page = pages.get("brief?since=2025-03-01&until=2026-03-01")
    with store.database.read() as db:
        body = briefs.made(db, Known(), datetime(2025, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))[2]
    assert [t for s in body["sections"] if (t := s["title"].replace("'", "&#39;")) not in page] == []
    moved = next(s for s in body["sections"] if s["name"] == "moved")
    assert [row[:2] for row in table(page, *moved["columns"])] == [[str(c) for c in row[:2]] for row in moved["rows"]]
    answer = pages.post("brief", by="Kim", since="2025-03-01", until="2026-03-01")
    assert answer.headers["location"] == "/console/brief/1?said=kept"
    assert table(pages.get("brief/1"), *moved["columns"]) == table(page, *moved["columns"])
    assert "kept by Kim" in pages.get("brief")
    assert "ends after it starts" in pages.get("brief?since=2026-03-01&until=2025-03-01", 422)
    assert "by: Field required" in pages.post("brief", 422, by="").text


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("scorecard?since=yesterday", 422, "a day is written like 2026-01-31"),
        ("scorecard?since=9999-12-31", 422, "a day from 1970-01-01 to 2999-12-31"),
        ("scorecard?since=2026-02-01&until=2026-01-01", 422, "is after"),
        ("scorecard?by=weather", 422, "query.by"),
        ("scorecard?model=gut", 422, "query.model"),
        ("scorecard?chanel=ads", 422, "query.chanel"),
        ("scorecard?chanel=ads&chanel=web", 422, "query.chanel"),
        ("scorecard?value=%00", 422, "query.value"),
        ("supply-chain?segment=weather", 422, "query.segment"),
        ("sla?state=angry", 422, "query.state"),
        ("sla?after=xyz", 422, "not a cursor of this list"),
        ("sla/0", 422, "contact_id"),
        ("sla/999", 404, "is no lead"),
        ("leads/999", 404, "is no lead"),
        ("leads?status=asleep", 422, "query.status"),
        ("leads/99999999999999999999", 422, "contact_id"),
        ("agreement/versions/77", 404, "there is no version 77"),
        ("agreement/compare?before=77", 404, "there is no version 77"),
        ("agreement/compare?after=mine", 422, "query.after"),
        ("agreement/simulate?of=0", 422, "query.of"),
        ("agreement/simulate?most=9", 422, "query.most"),
        ("programmes/warm_up?ever=perhaps", 422, "query.ever"),
        ("brief/77", 404, "there is no brief 77"),
        ("brief?since=31.01.2026", 422, "a day is written like"),
    ],
)
def test_what_cannot_be_is_a_page_that_says_so(world: tuple[Pages, Store], path: str, status: int, words: str) -> None:
    """Never a defect, never a bare problem document."""
    page = world[0].get(path, status)
    assert words in page
    assert "<nav" in page


def test_blank_fields_of_a_form_ask_for_nothing(world: tuple[Pages, Store]) -> None:
    """A browser sends what nobody filled in."""
    pages, _ = world
    for path, blank in (("leads", "stage=&status=&owner="), ("sla", "state=&owner=&team="), ("brief", "since=&until=")):
        rows = [re.findall(r"<tr>.*?</tr>", pages.get(one), re.DOTALL) for one in (path, f"{path}?{blank}")]
        assert rows[0] == rows[1], path


@pytest.mark.parametrize(
    "path",
    [
        "scorecard",
        "supply-chain",
        "sla",
        "sla/1",
        "leads",
        "leads/1",
        "agreement",
        "agreement/versions/1",
        "programmes",
        "brief",
    ],
)
def test_pages_keep_to_the_policy(world: tuple[Pages, Store], path: str) -> None:
    """No style or script in the text, no chart without its title."""
    page = world[0].get(path)
    assert re.findall(r"<style|<script(?! src)| style=| on[a-z]+=", page) == []
    for picture in re.findall(r'<svg[^>]*role="img"[^>]*>\s*<(\w+)', page):
        assert picture == "title"


def test_who_may_look(tmp_path: Path) -> None:
    """Strangers are told to prove themselves, on each path."""
    with leading(tmp_path, 1) as (pages, _):
        for path in ("scorecard", "sla", "sla/1", "leads", "supply-chain", "agreement", "agreement/draft", "brief"):
            answer = pages.api("GET", f"/console/{path}", client=("203.0.113.7", 4_000))
            assert answer.status_code in {401, 403}, path
        answer = pages.api("POST", "/console/agreement/versions/1/sign", client=("203.0.113.7", 4_000))
        assert answer.status_code in {401, 403}


@pytest.mark.parametrize(
    ("minutes", "words"), [(0, "0 min"), (59.6, "1 h 0 min"), (320, "5 h 20 min"), (-65, "1 h 5 min over")]
)
def test_business_time_in_words(minutes: float, words: str) -> None:
    """Hours and minutes; never days, which have no fixed length there."""
    assert business(minutes) == words
    assert [hours(h) for h in (None, 0.5, 3, 72)] == ["–", "30 min", "3.0 h", "3.0 d"]
