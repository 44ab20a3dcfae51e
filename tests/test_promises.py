"""The sections ``calendars`` and ``sla``: what they say, what is refused where, and the page that explains them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from app.agreement import promises
from app.agreement._promises_texts import duration, span_of
from app.agreement.attempts import Meaning, meaning
from app.agreement.clocks import Happening, Reading, State, What, read
from app.agreement.hours import HOUR, MINUTE, Holidays, OwnDay, Window
from app.agreement.promises import MappingError, Promises
from app.agreement.terms import Clock, Escalation, Need, Quota, Span
from tests.wallclock import at, shown

PAGE = (Path(__file__).parents[1] / "docs/sla.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    assert len(found) == 1
    return str(found[0])


SAMPLE = block("yaml")
STAGES = ("mql", "sal", "sql")


def loaded() -> Promises:
    return promises.loads(SAMPLE, "agreement.yaml", STAGES)


def test_the_page_says_what_is_read() -> None:
    """Each part of the sample as a value, with the same names."""
    found = loaded()
    berlin = found.calendars["berlin"]
    assert berlin.week[0] == (Window(540, 750), Window(810, 1050))
    assert (berlin.week[4], berlin.week[5:]) == ((Window(540, 900),), ((), ()))
    assert (berlin.zone, berlin.holidays) == ("Europe/Berlin", Holidays("DE", "BE"))
    assert berlin.days == (OwnDay(12, 24, None, (Window(540, 720),)), OwnDay(12, 31), OwnDay(5, 15, 2026))
    assert [found.sla.calendar_of(team) for team in (None, "emea", "north america")] == ["berlin", "berlin", "denver"]
    assert found.sla.clocks["first_touch"] == Clock(
        name="first_touch",
        begins="mql",
        ends="first_touch",
        within=Span(4 * HOUR),
        at_risk=75,
        remind=(HOUR,),
        escalate=(Escalation("manager of the owner"), Escalation("head of sales", 8 * HOUR, reassign=True)),
        pause_for=("asked to wait", "owner is ill"),
    )
    assert found.sla.clocks["attempts"].need == Need(5, 2)
    assert found.sla.clocks["decision"].within == Span(working_days=15)
    assert found.sla.marketing == {
        "leads": Quota("leads", "mql", "month", 120),
        "quality": Quota("quality", "mql", "quarter", 60, "sal"),
    }
    assert set(found.terms.clocks) == {"first_touch", "attempts", "decision"}


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (promises.ClockSpec, Clock),
        (promises.EscalationSpec, Escalation),
        (promises.QuotaSpec, Quota),
        (promises.CalendarSpec, type(loaded().calendars["berlin"])),
        (promises.SlaSpec, type(loaded().sla)),
    ],
)
def test_values_have_the_names_of_the_file(spec: Any, value: Any) -> None:
    """What stands in the file is found under the same name in the code."""
    assert set(spec.model_fields) == {f.name for f in fields(value) if f.init} - {"name"}


@pytest.mark.parametrize(
    ("text", "by", "line", "message"),
    [
        ("zone: Europe/Berlin", "zone: Europe/Berlyn", 3, "calendars.berlin.zone: no time zone 'Europe/Berlyn'"),
        ("zone: Europe/Berlin", "", 2, "calendars.berlin.zone: is missing; valid: IANA name"),
        ("mon-thu:", "mon-tho:", 4, "'mon-tho' is no weekday; valid: mon, tue"),
        ("mon-thu:", "thu-mon:", 4, "runs backwards"),
        ("mon-thu:", "mon-fri:", 4, "fri stands in 'mon-fri' already"),
        ('"09:00-15:00"', '"22:00-06:00"', 4, "write one that crosses midnight as two"),
        ('"09:00-15:00"', '"9-15"', 4, "'9-15' is no window of the day; valid: 09:00-17:00, closed"),
        ('"09:00-15:00"', '"09:00-15:00, 14:00-16:00"', 4, "09:00-15:00 and 14:00-16:00 overlap"),
        ("holidays: DE-BE", "holidays: DE-XX", 5, "no subdivision 'XX' of DE; there are BB, BE"),
        ("holidays: DE-BE", "holidays: XX", 5, "no holidays are known for country 'XX'"),
        ("12-31: closed", "02-30: closed", 8, "'02-30' is not in the calendar"),
        ("12-31: closed", "christmas: closed", 8, "'christmas' is no day; valid: 2026-12-24"),
        ('week: {mon-fri: "08:00-17:00"}', "week: {mon-fri: closed}", 12, "nothing would ever be due"),
        ("calendar: berlin", "calendar: berln", 16, "'berln', did you mean 'berlin'?; valid: berlin, denver"),
        ("{north america: denver}", "{north america: paris}", 17, "sla.teams.north america: no calendar 'paris'"),
        ("begins: mql\n", "begins: mqll\n", 21, "no stage 'mqll', did you mean 'mql'?"),
        ("ends: disposition", "ends: dispositon", 38, "did you mean 'disposition'?; valid: first_touch, contact"),
        ("within: 4 hours", "within: 2 days", 23, "'2 days' is neither hours nor working days; valid: 10 working days"),
        ("within: 4 hours", "within: 0 hours", 23, "a minute at least"),
        ("within: 4 hours", "within: 4", 23, "has to be a text"),
        ("within: 4 hours", "within: 30 minutes", 25, "not before the clock has started: it is due within 30 minutes"),
        ("within: 10 working days", "within: 10 working days\n      hours: always", 35, "knows no working days"),
        ("at_risk: 75%", "at_risk: 100%", 24, "1% to 99%, or false for none"),
        ("at_risk: 75%", "at_risk: soon", 24, "'soon' is no share; valid: 60%"),
        ("remind: [1 hour]", "remind: [1 day]", 25, "a day has no fixed length here"),
        ("after: 8 hours", "after: 8 ours", 28, "'8 ours' is no length of business time"),
        ("to: head of sales, after: 8 hours", "to: manager of the owner", 28, "hears of it then already"),
        ("on_reassign: continue", "on_reassign: restrat", 30, "did you mean 'restart'?; valid: continue, restart"),
        ("on_reassign: continue", "on_reasign: continue", 30, "unknown key, did you mean 'on_reassign'?"),
        ("need: {attempts: 5, channels: 2}", "when: x", 33, "needs to know how many: `need`"),
        ("need: {attempts: 5, channels: 2}", "need: {attempts: 1, channels: 2}", 34, "more channels than attempts"),
        ("ends: disposition", "ends: disposition\n      need: {attempts: 3}", 39, "only a clock that ends by attempts"),
        ("at_least: 120", "at_least: 60%", 42, "has to be a number of leads; a share needs `accepted`, too"),
        ("at_least: 60%", "at_least: 60", 43, "'60' is no share; valid: 60%"),
        ("at_least: 60%", "at_least: 130%", 43, "a share from 1% to 100%"),
        ("accepted: sal,", "accepted: sla,", 43, "no stage 'sla'"),
        ("per: month", "per: year", 42, "'year' is not valid; valid: week, month, quarter"),
        ("first_touch:\n", "First Touch:\n", 20, "a name has small letters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, by: str, line: int, message: str) -> None:
    """File, line, place, what is wrong and what would be valid there."""
    assert text in SAMPLE
    with pytest.raises(MappingError) as caught:
        promises.loads(SAMPLE.replace(text, by, 1), "agreement.yaml", STAGES)
    told = str(caught.value)
    assert message in told
    assert f"agreement.yaml:{line}: " in told


def test_all_problems_at_once() -> None:
    """Nobody mends one to find the next."""
    broken = SAMPLE.replace("DE-BE", "DE-XX").replace("4 hours", "4 ours").replace("per: month", "per: month, of: 3")
    with pytest.raises(MappingError) as first:
        promises.loads(broken, "a.yaml")
    assert [p.path for p in first.value.problems] == ["sla.marketing.leads.of"]  # the grammar before the meaning
    with pytest.raises(MappingError) as then:
        promises.loads(broken.replace(", of: 3", ""), "a.yaml")
    assert [p.path for p in then.value.problems] == ["calendars.berlin.holidays", "sla.clocks.first_touch.within"]


def test_other_sections_are_left_alone() -> None:
    """The agreement has more than these two."""
    assert promises.loads(f"terms: {{lead: somebody}}\n{SAMPLE}", "a.yaml") == loaded()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("4 hours", 240), ("1 hour", 60), ("90 minutes", 90), ("1h30m", 90), ("1 hour, 30 min", 90), ("2H", 120)],
)
def test_lengths(text: str, minutes: int) -> None:
    """As people write them."""
    assert duration(text) == minutes * MINUTE


@pytest.mark.parametrize("text", ["", "4", "hours", "4 hours or so", "-4 hours", "1.5 hours", "4 weeks", "4 hms"])
def test_lengths_that_are_none(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="no length of business time"):
        span_of(text)


# --- the page is run --------------------------------------------------------------------------------------------------


def rows(head: str) -> list[list[str]]:
    """The rows of the table that begins with these columns."""
    after = PAGE.split(f"| {head} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    assert after
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in after]


@pytest.mark.parametrize(("calendar", "start", "length", "due"), rows("calendar | from | and | is"))
def test_due_moments_of_the_page(calendar: str, start: str, length: str, due: str) -> None:
    """The worked examples come out as the page says."""
    found = loaded().calendars[calendar]
    span, moment = span_of(length), at(start, found.zone)
    assert shown(found.add(moment, span.of(found, moment)), found.zone) == due


def test_the_story_of_the_page() -> None:
    """The clock of the page stands at each line as the page says."""
    known = loaded()
    happenings: list[Happening] = []
    seen = 0
    for line in block("text").splitlines():
        day, time, what, *more = line.split(" ", 3)
        now = at(f"{day} {time}", "Europe/Berlin")
        if what == "=":
            before = [a.at for a in told.alerts] if (told := _read(known, happenings, now - 1)) is not None else []
            found = _read(known, happenings, now)
            assert found is not None
            new = [a.to for a in found.alerts if a.at not in before and a.to is not None]
            assert more[0] == _in_words(found, new)
            seen += 1
        else:
            said = dict(m.split("=") for m in more[0].split(", ")) if more else {}
            version = {"version": "v1"} if what == "started" else {}
            happenings.append(Happening(now, What(what), line, **version, **said))
    assert seen == 6


def _read(known: Promises, happenings: list[Happening], now: int) -> Reading | None:
    rounds = read("first_touch", happenings, {"v1": known.terms}, now, team=known.sla.calendar_of(None))
    return rounds[-1] if rounds else None


def _in_words(found: Reading, heard: list[str]) -> str:
    left = abs(found.remaining) // MINUTE
    parts = [str(found.state), f"{left // 60} h {left % 60:02} {'left' if found.remaining >= 0 else 'over'}"]
    if found.due_at is not None:
        parts.append(f"due {shown(found.due_at, 'Europe/Berlin')}")
    return ", ".join([*parts, *(f"{to} hears of it" for to in heard)])


def test_the_states_of_the_page() -> None:
    """Every state is explained."""
    named = {word for cells in rows("state | meaning") for word in re.findall(r"`(\w+)`", cells[0])}
    assert named == {str(state) for state in State}


OUTCOMES = {
    "call: connected": [("call", "connected")],
    "call: no answer, busy, left a message, wrong number, or nothing said": [
        ("call", o) for o in ("no_answer", "busy", "left_message", "wrong_number", None)
    ],
    "call: held (took place, no more is said)": [("call", "held")],
    "call: the lead called, and we answered": [("call", "received")],
    "mail, message: sent, or nothing said": [(k, o) for k in ("mail", "message") for o in ("sent", None)],
    "mail, message, reply: from the lead": [("mail", "received"), ("message", "received"), ("reply", None)],
    "meeting: held": [("meeting", "held")],
    "meeting: no show, or nothing said": [("meeting", "no_show"), ("meeting", None)],
    "any: planned, cancelled, failed": [
        (k, o) for k in ("call", "mail", "message", "meeting") for o in ("planned", "cancelled", "failed")
    ],
    "note, task, a campaign's mail, opens, clicks, bounces": [
        (k, None) for k in ("note", "task", "send", "open", "click", "bounce")
    ],
}
MEANS = {
    ("yes", "yes"): Meaning.SPOKEN,
    ("yes", "no"): Meaning.ATTEMPT,
    ("no, but it is a first touch", "yes"): Meaning.CALLED_US,
    ("no", "once a person of ours has acted"): Meaning.WROTE_US,
    ("no", "no"): Meaning.NOTHING,
}


@pytest.mark.parametrize(("act", "attempt", "contact"), rows("act | attempt | contact"))
def test_attempts_of_the_page(act: str, attempt: str, contact: str) -> None:
    """What the page says of an act is what is made of it."""
    assert {meaning(kind, outcome) for kind, outcome in OUTCOMES[act]} == {MEANS[attempt, contact]}
