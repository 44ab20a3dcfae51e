"""True double edits: asked, decided by a person, remembered where they say so; both sides are repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.core.words import Fact, Outcome, Winner
from app.ops.provenance import why
from app.sync import merging, saying
from connectors.contract import Side
from tests.apihelp import Api, add, rows_of
from tests.test_cli import Shell, shell, store
from tests.test_explain import both_edited
from tests.test_people_commands import ann
from tests.world import MAPPING, World

__all__ = ["shell", "store"]

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ASKING = MAPPING.replace("winner: marketing", "winner: ask")


def asked(database: Database) -> World:
    """Ann's town was changed on both sides at once: "Hub" there, "Chimp" here."""
    w = World(database, TWO, mapping_text=ASKING)
    w.vendors["hub"].put(None, {"mail": "ann@x.org", "first": "Ann", "town": "Bonn"})
    w.settle()
    both_edited(w, "town", "Chimp")
    w.settle()
    return w


def towns(w: World) -> dict[str, Any]:
    return {name: w.people(name)["ann@x.org"]["town"] for name in TWO}


def test_both_values_wait_with_who_said_them(database: Database) -> None:
    """Nothing is lost and nothing is overwritten; the API names both, their time and their event."""
    w = asked(database)
    assert towns(w) == {"hub": "Hub", "chimp": "Chimp"}
    api = Api(database, w.connections)
    (one,) = api.get("/conflicts")["items"]
    assert (one["contact_id"], one["field"], one["ours"], one["theirs"]) == (1, "city", "Hub", "Chimp")
    shown = api.get(f"/conflicts/{one['id']}")
    events = {e.id: e.connection for e in w.rows(t.inbox)}
    assert (shown["ours_by"]["source"], events[shown["ours_by"]["event"]]) == ("hub", "hub")
    assert (shown["theirs_by"]["source"], events[shown["theirs_by"]["event"]]) == ("chimp", "chimp")
    assert shown["waiting"] == 1
    assert api.get("/conflicts", connection="hub")["items"] == []
    assert len(api.get("/conflicts", connection="chimp", contact=1)["items"]) == 1


DECISIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "ours": ({"choose": "ours"}, "Hub"),
    "theirs": ({"choose": "theirs"}, "Chimp"),
    "another value": ({"choose": "value", "value": " Köln "}, "Köln"),
    "no value": ({"choose": "value", "value": None}, None),
}


def check_decision(database: Database, decision: str) -> World:
    body, expected = DECISIONS[decision]
    w = asked(database)
    api = Api(database, w.connections)
    answer = api.post("/conflicts/1/decide", {"by": "Kim", **body}, 200)
    assert (answer["value"], answer["waiting"], api.woken) == (expected, 0, 1)
    w.settle()
    assert towns(w) == {"hub": expected, "chimp": expected}
    assert w.settle() == 0
    assert api.get("/conflicts")["items"] == []
    with database.read() as db:
        (city,) = why(db, w.connections, 1, "city").fields
    assert city.cause is not None
    assert (city.value, city.decision, city.cause.actor) == (expected, "decided", "Kim")
    return w


@pytest.mark.parametrize("decision", sorted(DECISIONS))
def test_a_decision_holds_on_both_sides(database: Database, decision: str) -> None:
    """Both vendors say it, the history says who decided, and there is peace; a later edit counts as ever."""
    w = check_decision(database, decision)
    w.vendors["chimp"].put("chimp1", {"town": "Ulm"})
    w.settle()
    assert towns(w) == {"hub": "Ulm", "chimp": "Ulm"}


def test_a_side_that_is_not_repaired_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a decision that is kept here and told to nobody."""
    monkeypatch.setattr(saying.work, "mark", lambda *_args, **_more: None)
    with pytest.raises(AssertionError):
        check_decision(database, "ours")


def check_always(database: Database, choice: str) -> tuple[World, Api]:
    w = asked(database)
    api = Api(database, w.connections)
    api.post("/conflicts/1/decide", {"by": "Kim", "choose": choice, "always": True}, 200)
    w.settle()
    both_edited(w, "town", "Again", "Hub again")
    w.settle()
    assert w.rows(t.conflict) == []
    assert set(towns(w).values()) == {"Hub again" if choice == "ours" else "Again"}
    return w, api


@pytest.mark.parametrize("choice", ["ours", "theirs"])
def test_always_is_remembered_until_it_is_taken_back(database: Database, choice: str) -> None:
    """Merging follows it, and says so; listed with who said it; once removed, it is asked again."""
    w, api = check_always(database, choice)
    (ruling,) = api.get("/rulings")["items"]
    assert {n: ruling[n] for n in ("connection", "field", "choice", "by")} == {
        "connection": "chimp",
        "field": "city",
        "choice": choice,
        "by": "Kim",
    }
    with database.read() as db:
        (city,) = why(db, w.connections, 1, "city").fields
    said = [r.words for r in city.refused] if choice == "ours" else [city.words]
    assert f"both had changed it; a person decided: always {choice}" in said
    ended = {"by": "Kim", "connection": "chimp", "field": "city"}
    assert api.post("/rulings/remove", ended, 200) == {"items": []}
    assert "nothing is remembered" in api.post("/rulings/remove", ended, 404)["detail"]
    both_edited(w, "town", "Third", "Hub third")
    assert len(w.rows(t.conflict)) == 1


def test_a_forgotten_ruling_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: merging that asks although a person has said "always"."""
    real = merging.judge

    def forgetful(*args: Any, rulings: Mapping[str, str], **more: Any) -> Any:
        return real(*args, **more)

    monkeypatch.setattr(merging, "judge", forgetful)
    with pytest.raises(AssertionError):
        check_always(database, "theirs")


@pytest.mark.parametrize(
    ("ruling", "outcome", "value"),
    [(None, Outcome.ASKED, "ours"), ("ours", Outcome.KEPT, "ours"), ("theirs", Outcome.TAKEN, "theirs")],
)
def test_a_ruling_decides_what_would_be_asked(ruling: str | None, outcome: Outcome, value: str) -> None:
    """And nothing else: the rule is the one of the field."""
    rulings = {"city": ruling} if ruling is not None else {}
    verdict = merging.judge(
        {"city": Fact("ours", "hub", 1, "first")},
        {"city": "before"},
        {"city": "theirs"},
        source="chimp",
        at=2,
        event=None,
        policy=lambda _: (Winner.ASK, True),
        side=lambda _: "",
        project=lambda _, v: v,
        rulings=rulings,
    )
    assert [d.outcome for d in verdict.decisions] == [outcome]
    assert verdict.facts["city"].value == value


@pytest.mark.parametrize(
    ("number", "body", "status", "said"),
    [
        (1, {"choose": "ours"}, 422, "Field required"),
        (1, {"by": "Kim", "choose": "mine"}, 422, "ours"),
        (1, {"by": "Kim", "choose": "value"}, 422, "a value goes with"),
        (1, {"by": "Kim", "choose": "ours", "value": "x"}, 422, "a value goes with"),
        (1, {"by": "Kim", "choose": "value", "value": "x", "always": True}, 422, "holds for one contact"),
        (1, {"by": "Kim", "choose": "value", "value": ["x"]}, 409, "this is no value for city"),
        (9, {"by": "Kim", "choose": "ours"}, 404, "there is no conflict 9"),
    ],
)
def test_what_cannot_be_decided_is_said(
    database: Database, number: int, body: dict[str, Any], status: int, said: str
) -> None:
    """What is missing, wrong or not there; and it still waits."""
    w = asked(database)
    api = Api(database, w.connections)
    answer = api("POST", f"/conflicts/{number}/decide", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert len(w.rows(t.conflict)) == 1


def test_the_commands_list_show_decide_and_forget(shell: Shell, store: Database) -> None:
    """Tables and JSON; a decision needs a name; rules are listed and taken back."""
    number = ann(store)
    row = {"contact_id": number, "field": "city", "connection": "mailchimp", "ours": "Bonn", "at": 1_000, "event": 7}
    first, second = add(store, t.conflict, {**row, "theirs": "Ulm"}, {**row, "field": "family_name", "theirs": "Roth"})
    assert [c["theirs"] for c in shell.json("conflict", "list")] == ["Roth", "Ulm"]
    text = shell("conflict", "show", str(first))
    for word in ("ours", "theirs", "Bonn", "Ulm", "mailchimp", "7"):
        assert word in text
    shell("conflict", "decide", str(first), "--choose", "theirs", code=2)
    shell("conflict", "decide", str(first), "--choose", "mine", "--by", "Kim", code=2)
    shell("conflict", "decide", str(first), "--choose", "value", "--by", "Kim", code=2)
    shell("conflict", "decide", "99", "--choose", "ours", "--by", "Kim", code=2)
    done = shell.json("conflict", "decide", str(first), "--choose", "theirs", "--always", "--by", "Kim")
    assert done == {"contact_id": number, "field": "city", "value": "Ulm", "waiting": 0}
    shell("conflict", "decide", str(second), "--choose", "value", "--value", "Weiss", "--by", "Kim")
    (contact,) = rows_of(store, t.contact)
    assert (contact["facts"]["city"]["v"], contact["facts"]["family_name"]["v"]) == ("Ulm", "Weiss")
    (rule,) = shell.json("conflict", "rules")
    assert (rule["connection"], rule["field"], rule["choice"], rule["by"]) == ("mailchimp", "city", "theirs", "Kim")
    shell("conflict", "rules", "--remove", "mailchimp.city", code=2)
    assert shell.json("conflict", "rules", "--remove", "mailchimp.city", "--by", "Kim") == []
    shell("conflict", "rules", "--remove", "mailchimp.city", "--by", "Kim", code=2)
    assert "nothing is remembered" in shell.told
