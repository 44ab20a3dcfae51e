"""What sales may do next with a lead: by rules and figures that it shows, with consent and what is due first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from app.agreement import acting, advising, leads, scores
from app.agreement.advising import Advice, advise
from app.agreement.counting import AIMS, day
from app.agreement.leads import Known
from app.agreement.load import MappingError
from app.agreement.words import Team, Word
from app.cli import app
from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.errors import NotFound, NotPossible
from app.records import leads as rows
from app.records import scores as counters
from app.sync.connection import Connections
from bench.agreement_data import BEGIN
from tests import migrated
from tests.agreed import changed, shipped
from tests.apihelp import Api
from tests.scoring import Store, invented

NOBODY = Connections({})
EVERYBODY = {"given_name": "Ann", "email": "ann@example.org", "phone": "+4930901820", "job_title": "Director"}


def handed(database: Database, *, contact: int = 1, **fields: Any) -> None:
    """A lead that marketing handed over just now."""
    facts = {n: {"v": v, "s": "mkt", "t": BEGIN, "r": "first", "e": None} for n, v in fields.items()}
    with database.write() as db:
        now = clock_of(db)
        db.execute(insert(t.contact).values(id=contact, version=1, facts=facts, created_at=BEGIN, updated_at=BEGIN))
        line = {"word": "stage", "value": "mql", "team": "marketing", "source": "operator", "by": "Lou", "at": now}
        rows.say(db, [{**line, "contact_id": contact}], now)
        leads.refold(db, NOBODY, Known().versions(db), [contact], now)


def record(database: Database, *cells: tuple[str, str, str, int]) -> None:
    """Figures of the scorecard: dimension, value, indicator, n, of yesterday."""
    with database.write() as db:
        now = clock_of(db)
        counters.add(db, Counter({(d, v, i, day(now) - 1): n for d, v, i, n in cells}))


def objects(database: Database, channel: str, address: str) -> None:
    """The person withdraws."""
    with database.write() as db:
        now = clock_of(db)
        line = {"address": address, "channel": channel, "purpose": "", "status": "withdrawn", "reason": "unsubscribe"}
        more = {"source": "operator", "at": now - 1000, "received_at": now, "digest": "1"}
        db.execute(insert(t.consent).values(**line, **more))


@pytest.fixture
def signed(database: Database) -> Database:
    """The shipped agreement is in force."""
    with database.write() as db:
        for team in Team:
            acting.sign(db, shipped(), {}, team, "Kim", since=BEGIN)
    return database


def advice(database: Database, contact: int = 1) -> Advice:
    with database.read() as db:
        return advise(db, NOBODY, Known(), contact)


def names(of: Advice) -> list[str]:
    return [s.action.name for s in of.steps]


def test_what_is_due_comes_first_and_says_so(signed: Database) -> None:
    """With no figures: what a clock waits for, then the order of the agreement."""
    handed(signed, **EVERYBODY)
    found = advice(signed)
    assert [r.clock for r in found.due] == ["first_touch", "attempts", "decision"]
    assert names(found) == ["call", "mail", "meeting", "webinar"]
    first, *_, last = found.steps
    assert first.fulfils == ("first_touch", "attempts")
    assert first.why.startswith("first_touch is due 20")
    assert first.why.endswith("call was done with no lead that is decided, so nothing is known of what follows")
    assert last.fulfils == ()
    assert (found.aim, found.left_out) == ("sql", ())


def test_figures_of_similar_leads_decide_among_the_rest(signed: Database) -> None:
    """The first group with enough decided: persona, source, all; each with its interval and those without it."""
    handed(signed, **EVERYBODY)
    record(
        signed,
        ("did+persona", "mail decides", "mql", 40),
        ("did+persona", "mail decides", "mql>sql", 24),
        ("persona", "decides", "mql", 100),
        ("persona", "decides", "mql>sql", 30),
        ("did+persona", "call decides", "mql", 29),
        ("did+persona", "call decides", "mql>sql", 29),
        ("did", "call", "mql", 90),
        ("did", "call", "mql>sql", 18),
        ("did", "call", "mql>sql?", 10),
        ("", "", "mql", 300),
        ("", "", "mql>sql", 60),
        ("", "", "mql>sql?", 20),
    )
    found = advice(signed)
    assert names(found) == ["mail", "call", "meeting", "webinar"]
    mail, call = found.steps[:2]
    assert mail.why.endswith("persona decides: with mail, 24 of 40 came to sql (45% to 74%); without, 6 of 60")
    assert call.why.endswith("all leads: with call, 18 of 80 came to sql (15% to 33%); without, 42 of 200")
    assert not mail.followed.done.small


def test_few_say_so_and_decide_nothing(signed: Database) -> None:
    """Three of three is no reason to go first."""
    handed(signed, **EVERYBODY)
    whole = (("", "", "mql", 9), ("", "", "mql>sql", 3))
    record(signed, ("did", "meeting", "mql", 3), ("did", "meeting", "mql>sql", 3), *whole)
    found = advice(signed)
    assert names(found)[0] == "call"
    meeting = next(s for s in found.steps if s.action.name == "meeting")
    assert meeting.why.endswith("(44% to 100%); without, 0 of 6; too few to say much")


def test_consent_goes_before_everything(signed: Database) -> None:
    """Nobody is reached by a channel to which they withdrew consent; what is left out says why."""
    handed(signed, **EVERYBODY)
    objects(signed, "email", "ann@example.org")
    record(signed, ("did", "mail", "mql", 90), ("did", "mail", "mql>sql", 90), ("", "", "mql", 90))
    found = advice(signed)
    assert names(found) == ["call", "meeting"]
    assert {one.action.name: one.why for one in found.left_out} == {
        "mail": "consent to email: withdrawn",
        "webinar": "consent to email: withdrawn",
    }


def test_an_adviser_that_ignores_consent_is_found(signed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard."""
    monkeypatch.setattr(advising, "_against", lambda *_: None)
    with pytest.raises(AssertionError):
        test_consent_goes_before_everything(signed)


def test_what_is_not_possible_is_left_out(signed: Database) -> None:
    """Without a number nobody calls."""
    handed(signed, email="ann@example.org")
    found = advice(signed)
    (call,) = found.left_out
    assert call.why == "its condition is not true: has(contact.phone) || has(contact.mobile_phone)"
    assert names(found)[0] == "mail"


def test_only_leads_with_sales_have_a_next_step(signed: Database) -> None:
    """Who is no lead, and whom marketing looks after."""
    handed(signed, **EVERYBODY)
    with signed.write() as db:
        acting.say(db, NOBODY, Known(), 1, Word.REJECT, Team.SALES, "Kim", reason="no_fit")
    with pytest.raises(NotPossible, match="not with sales"):
        advice(signed)
    with pytest.raises(NotFound):
        advice(signed, 9)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("did: call,", "did: cal,", "did you mean 'call'?"),
        ("{means: Offer an appointment, did: meeting}", "{means: x, did: meeting, consent: granted}", "`channel`"),
        ("channel: phone", "channel: pigeon", "email"),
        ("engagement.event.count == 0", "engagement.evnt.count == 0", "engagement.ev"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, problem: str) -> None:
    """In the file, before anybody signs."""
    with pytest.raises(MappingError) as wrong:
        changed((old, new))
    (one,) = wrong.value.problems
    assert (problem in str(one), "steps" in str(one), one.line > 100) == (True, True, True)


@pytest.mark.heavy
def test_the_figures_are_those_of_the_leads(database: Database) -> None:
    """What is kept of similar leads is what counting everything from the beginning gives, and adds up to all."""
    store = Store(database)
    store.enter(invented(60))
    assert scores.check(database, store.versions) == []
    of = store.counters()
    for begin in AIMS:
        for kind in ("call", "mail"):
            whole = sum(n for (d, v, i, _), n in of.items() if (d, v, i) == ("did", kind, begin))
            for dimension in ("did+persona", "did+channel"):
                parts = [n for (d, v, i, _), n in of.items() if d == dimension and v.split()[0] == kind and i == begin]
                assert sum(parts) == whole > 0


def test_the_next_step_over_http_and_on_the_command_line(
    signed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same from one function."""
    handed(signed, **EVERYBODY)
    api = Api(signed)
    found = api.get("/leads/1/next")
    assert [s["name"] for s in found["steps"]] == ["call", "mail", "meeting", "webinar"]
    assert [o["clock"] for o in found["owner_owes"]] == ["first_touch", "attempts", "decision"]
    assert found["steps"][0]["followed"]["done"] == {"hits": 0, "decided": 0, "low": None, "high": None, "few": True}
    assert api("GET", "/leads/9/next").status_code == 404
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'cli.db'}"
    monkeypatch.setenv("TANDEM_DATABASE", url)
    (tmp_path / "tandem.yml").write_text("{}\n")
    here = migrated.new(tmp_path / "cli.db")
    with here.write() as db:
        for team in Team:
            acting.sign(db, shipped(), {}, team, "Kim", since=BEGIN)
    handed(here, **EVERYBODY)
    here.close()
    shown = CliRunner().invoke(app, ["lead", "next", "1"])
    assert (shown.exit_code, "first_touch" in shown.output) == (0, True), shown.output
    data = orjson.loads(CliRunner().invoke(app, ["lead", "next", "1", "--json"]).stdout)
    assert data["aim"] == "sql"
