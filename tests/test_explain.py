"""Why each value is here: the right event, record, rule and source for every field, and every kind of refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from app.commands.explain import lines
from app.core import tables as t
from app.core.db import Database
from app.core.words import Brake, Limit, Mode, Writes
from app.ops import provenance
from app.ops.provenance import FieldWhy, Why
from app.records import state
from app.repair import prune
from app.repair.prune import Retention
from app.sync import chain
from app.sync.connection import Connections
from connectors.contract import Action, Side
from tests.apihelp import Api
from tests.world import MAPPING, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee", "town": "Bonn", "job": "Pilot", "firm": "ACME"}
THEIRS = {
    "email": "mail",
    "given_name": "first",
    "family_name": "last",
    "city": "town",
    "job_title": "job",
    "company_name": "firm",
}
CONSENT = """consent:
  email:
    theirs: mailing
    read: {{"yes": granted, "no": withdrawn}}
    write: {{granted: "yes", withdrawn: "no"}}
"""


def world(database: Database, text: str = MAPPING) -> World:
    """Ann, known at both."""
    w = World(database, TWO, mapping_text=text)
    w.vendors["hub"].put(None, ANN)
    w.settle()
    return w


def explained(w: World, name: str | None = None) -> Why:
    with w.database.read() as db:
        return provenance.why(db, w.connections, 1, name)


def field(w: World, name: str) -> FieldWhy:
    (one,) = explained(w, name).fields
    return one


def side(w: World, name: str, connection: str) -> Any:
    return next(s for s in field(w, name).sides if s.connection == connection)


def check_every_field(w: World, source: str, target: str, record: str) -> None:
    """Each mapped field names the event that really brought it, the line that really says so, and both sides."""
    events = {row.id: row for row in w.rows(t.inbox)}
    newest = {row.field: row for row in sorted(w.rows(t.history), key=lambda row: row.id)}
    text = MAPPING.splitlines()
    shown = explained(w)
    assert {one.field for one in shown.fields} == set(THEIRS)
    for one in shown.fields:
        assert one.cause is not None
        assert one.rule is not None
        assert one.rule.line is not None
        assert (one.cause.source, one.cause.event) == (source, newest[one.field].event), one.field
        event = events[one.cause.event]
        assert (event.connection, event.ref_value, event.action) == (source, record, one.cause.action)
        assert (one.cause.record, one.cause.kept) == (record, True)
        assert (one.rule.connection, one.rule.file, one.rule.theirs) == (source, source, THEIRS[one.field])
        assert text[one.rule.line - 1].strip().startswith(f"{one.field}:")
        assert one.rule.read == (["lower_email"] if one.field == "email" else [])
        sides = {s.connection: s.state for s in one.sides}
        assert sides == {source: "said_it", target: "landed"}, one.field
        assert all(s.at is not None and s.holds == one.value for s in one.sides)


def test_every_field_is_explained_both_ways(database: Database) -> None:
    """There: all of it by the event of the CRM.  Back: what was edited there by the later event."""
    w = world(database)
    check_every_field(w, "hub", "chimp", "hub1")
    w.vendors["chimp"].put("chimp1", {f: f"{v}x" if f != "mail" else "ann@y.org" for f, v in ANN.items()})
    w.settle()
    check_every_field(w, "chimp", "hub", "chimp1")
    city = field(w, "city")
    assert (city.value, city.before, city.before_by, city.decision) == ("Bonnx", "Bonn", "hub", "changed")


def test_a_delivery_is_named(database: Database) -> None:
    """The request that brought the event, as long as the event is kept; afterwards what is left is still said."""
    w = world(database)
    with w.database.write() as db:
        db.execute(update(t.inbox).values(delivery=77, done_at=1))
    cause = field(w, "city").cause
    assert cause is not None
    assert (cause.delivery, cause.kept) == (77, True)
    assert "delivery 77" in cause.words
    prune.everything(w.database, Retention(events=30))
    later = field(w, "city").cause
    assert later is not None
    assert (later.event, later.source, later.record, later.kept) == (cause.event, "hub", "hub1", False)


def blank(w: World) -> None:
    w.vendors["chimp"].put("chimp1", {"first": None})
    w.settle()


def first_blank(w: World) -> None:
    with w.database.write() as db:  # a record that is seen for the first time
        db.execute(update(t.link).where(t.link.c.connection == "chimp").values(shadow={"email": "ann@x.org"}, rev=3))
    w.vendors["chimp"].put("chimp1", {"town": None})
    w.settle()


def both_edited(w: World, name: str, value: str, hub: str = "Hub") -> None:
    """Both sides edit before either is looked at; the CRM's edit is looked at first."""
    w.vendors["hub"].put("hub1", {name: hub})
    w.vendors["chimp"].put("chimp1", {name: value})
    for vendor in TWO:
        w.due()
        w.deliver(vendor)
        w.fetch.step()


def lost(w: World) -> None:
    both_edited(w, "first", "Chimp")


def stale(w: World) -> None:
    with w.database.write() as db:
        db.execute(update(t.link).where(t.link.c.connection == "chimp").values(modified=2**50))
    w.vendors["chimp"].put("chimp1", {"town": "Ulm"})
    w.settle()


def others_address(w: World) -> None:
    w.vendors["hub"].put(None, {"mail": "ben@x.org", "first": "Ben"})
    w.settle()
    record = w.vendors["chimp"].records["chimp2"]
    del w.vendors["chimp"].records["chimp2"]
    w.vendors["chimp"].put("chimp1", {"mail": "ben@x.org"})
    for _ in range(3):
        w.due()
        w.deliver("chimp", [e for e in w.vendors["chimp"].events if e.ref.value == "chimp1"])
        w.fetch.step()
    w.vendors["chimp"].records["chimp2"] = record


def buried(w: World) -> None:
    w.deletes(hub=("archive", "ignore"))
    w.vendors["hub"].remove("hub1")
    w.settle()
    w.vendors["chimp"].records.pop("chimp1")
    w.vendors["chimp"].put(None, {**ANN, "town": "Ulm"})
    w.settle()


def unreadable(w: World) -> None:
    w.vendors["chimp"].put("chimp1", {"mail": "no address"})
    w.settle()


REFUSALS: dict[str, tuple[Callable[[World], None], str, str, str]] = {
    "a blank that may not clear": (blank, "given_name", "clearing not allowed", "clear: ignored"),
    "a blank of a new record": (first_blank, "city", "blank", "for the first time"),
    "a lost double edit": (lost, "given_name", "double edit: crm", "the CRM wins"),
    "an older record": (stale, "", "stale", "older than what is known"),
    "somebody else's address": (others_address, "email", "belongs_to_another", "another contact has this address"),
    "a tombstone": (buried, "", "tombstone", "a tombstone stands"),
    "what cannot be translated": (unreadable, "email", "", "the mapping could not use"),
}


@pytest.mark.parametrize("kind", sorted(REFUSALS))
def test_what_was_refused_is_said(database: Database, kind: str) -> None:
    """Which connection, which event, why, and in words."""
    act, name, code, words = REFUSALS[kind]
    w = world(database)
    act(w)
    refused = explained(w).records if name == "" else field(w, name).refused
    one = next(r for r in refused if r.connection == "chimp")
    if code:
        assert one.code == code
        events = {row.id: row for row in w.rows(t.inbox)}
        assert one.event is not None
        assert events[one.event].connection == "chimp"
    assert words in one.words
    assert any(words in line for line in lines(explained(w)))


def waits(w: World) -> None:
    w.vendors["hub"].put("hub1", {"town": "Ulm"})
    w.deliver("hub")
    w.due()
    w.fetch.step()


def dead_letter(w: World) -> None:
    w.vendors["hub"].put("hub1", {"last": "REFUSE"})
    w.settle()


def braked(w: World) -> None:
    w.brake(chimp=Brake(60_000, {Writes.OVERWRITES: Limit(0, 0.0)}))
    w.vendors["hub"].put("hub1", {"town": "Ulm"})
    w.settle()


def paused(w: World) -> None:
    with w.database.write() as db:
        state.pause(db, "chimp", "moving house", "Kim")
    waits(w)


def observed(w: World) -> None:
    chimp = dataclasses.replace(w.connections["chimp"], mode=Mode.OBSERVE)
    w.connections = Connections({**w.connections, "chimp": chimp})
    w.start()
    waits(w)


def failing(w: World) -> None:
    w.vendors["chimp"].fail_next = ["before"]
    waits(w)
    w.push.step()


def asked(w: World) -> None:
    both_edited(w, "town", "Köln")


def gone(w: World) -> None:
    w.vendors["chimp"].remove("chimp1")
    w.settle()
    waits(w)


def cleared(w: World) -> None:
    w.vendors["hub"].put("hub1", {"town": None})
    w.settle()


STANDINGS: dict[str, tuple[Callable[[World], None], str, str, str]] = {
    "waits": (waits, "city", "waiting", ""),
    "refused by the vendor": (dead_letter, "family_name", "refused", "correct the value at its source"),
    "stopped by a brake": (braked, "city", "braked", "tandem brake show chimp overwrites"),
    "resting": (paused, "city", "paused", "tandem resume chimp"),
    "only observed": (observed, "city", "observed", "mode: live"),
    "to be tried again": (failing, "city", "waiting", ""),
    "its record is gone": (gone, "city", "gone", ""),
    "a clearing that landed": (cleared, "city", "landed", ""),
}


@pytest.mark.parametrize("kind", sorted(STANDINGS))
def test_how_it_stands_there_is_said(database: Database, kind: str) -> None:
    """Landed, waiting or refused; and what would help."""
    act, name, expected, step = STANDINGS[kind]
    w = world(database)
    act(w)
    one = side(w, name, "chimp")
    assert one.state == expected, one
    assert step in (one.next_step if one.next_step is not None else "")
    assert one.at is not None or expected == "observed"


def test_an_open_question_is_said(database: Database) -> None:
    """Where a person has to decide, both sides say so, and how."""
    w = world(database, MAPPING.replace("winner: marketing", "winner: ask"))
    asked(w)
    (number,) = [row.id for row in w.rows(t.conflict)]
    assert side(w, "city", "chimp").next_step == f"`tandem conflict show {number}`"


def test_the_ratchet_is_explained(database: Database) -> None:
    """The withdrawal that holds, and the later word that did not lift it, each with its event."""
    w = world(database, MAPPING + CONSENT)
    w.vendors["chimp"].put("chimp1", {"mailing": "no"})
    w.settle()
    w.vendors["hub"].put("hub1", {"mailing": "yes"})
    w.settle()
    (holds,) = explained(w).consent
    assert (holds.status, holds.source) == ("withdrawn", "chimp")
    events = {row.id: row for row in w.rows(t.inbox)}
    assert holds.event is not None
    assert events[holds.event].connection == "chimp"
    words = {(u.source, u.words.partition(":")[0]) for u in holds.uncounted}
    assert ("hub", "hub may not grant (may_grant in tandem.yml)") in words
    assert any("may not grant" in line for line in lines(explained(w)))


def test_the_api_and_the_words(database: Database) -> None:
    """One field, all fields, none that there is; the text names what matters."""
    w = world(database)
    api = Api(database, w.connections)
    assert [f["field"] for f in api.get("/contacts/1/explain")["fields"]] == sorted(THEIRS)
    (one,) = api.get("/contacts/1/explain", field="city")["fields"]
    assert (one["cause"]["source"], one["rule"]["theirs"]) == ("hub", "town")
    assert "no field 'town'" in api.get("/contacts/1/explain", 404, field="town")["detail"]
    assert "there is no contact 9" in api.get("/contacts/9/explain", 404)["detail"]
    text = "\n".join(lines(explained(w, "city")))
    for word in ("city: Bonn", "event 1: hub said", "record     hub1 at hub", "hub line 9: town", "written there"):
        assert word in text, text


def test_a_deleted_record_is_told(database: Database) -> None:
    """A deletion at the vendor is an event like any other."""
    w = world(database)
    w.vendors["hub"].remove("hub1")
    w.settle()
    assert side(w, "city", "hub").state == "gone"
    assert str(Action.DELETED) in {row.action for row in w.rows(t.inbox)}


@pytest.mark.parametrize("lie", ["the event", "the refusal"])
def test_a_wrong_answer_is_found(database: Database, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """Saboteurs: an explanation that names another event, and a chain that forgets what it refused."""
    if lie == "the event":
        w = world(database)
        with w.database.write() as db:
            db.execute(update(t.history).values(event=t.history.c.event + 100))
        with pytest.raises(AssertionError):
            check_every_field(w, "hub", "chimp", "hub1")
        return
    monkeypatch.setattr(chain.refusals, "keep", lambda *_: None)
    with pytest.raises((AssertionError, StopIteration)):
        test_what_was_refused_is_said(database, "a lost double edit")
