"""``tandem match``: what is listed, shown, decided, explained, learnt, swept and measured, and how it ends."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.match.weights import from_json
from tests.apihelp import add, add_contacts, rows_of
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]

ANN = {"email": "ann@one.example", "given_name": "Ann", "family_name": "Lindqvist", "phone": "+46701258493"}
BORN = {"birthday": "1981-04-02"}
ANNA = {**{k: v for k, v in ANN.items() if k != "email"}, **BORN, "given_name": "Annie", "city": "Lund"}
CSV = """rec_id,cluster_id,source,first_name,last_name,email,dob
r1,c1,a,Ann,Lindqvist,ann@one.example,1981-04-02
r2,c1,b,Ann,Lindqvist,ann@one.example,1981-04-02
r3,c2,a,Bo,Ek,bo@two.example,
"""


def two(database: Database, **other: Any) -> tuple[int, int, int]:
    """Two contacts and the proposal that they are one."""
    older, newer = add_contacts(database, {"values": {**ANN, **BORN, "city": "Malmö"}}, {"values": ANNA})
    reasons = [
        {"field": "phone", "level": "exact", "weight": 9.0, "words": "phone: the same (9.0 for)"},
        {"field": "household", "level": "counted once", "weight": -2.0, "words": "household (2.0 against)"},
    ]
    row = {"older": older, "newer": newer, "score": 3.0, "reasons": reasons, "source": "record", "status": "open"}
    (number,) = add(database, t.proposal, {**row, "at": 1_000, **other})
    return older, newer, number


def test_the_queue_is_listed(shell: Shell, store: Database) -> None:
    """Who, how likely, the weightiest reason, what contradicts; those that wait unless asked for others."""
    assert shell("match", "list") == "nobody waits for a decision\n"
    older, newer, number = two(store, contradiction="two middle names")
    (one,) = shell.json("match", "list")
    assert (one["id"], one["older"], one["newer"], one["status"]) == (number, older, newer, "open")
    shown = shell("match", "list")
    for said in ("88.9%", "phone: the same (9.0 for)", "two middle names", "1970-01-01T00:00:01Z"):
        assert said in shown
    assert shell.json("match", "list", "--status", "same") == []
    assert shell.json("match", "list", "--contact", str(newer)) == [one]
    assert shell.json("match", "list", "--contact", "99") == []
    assert shell("match", "list", "--status", "same") == "none\n"


def test_two_are_shown_side_by_side(shell: Shell, store: Database) -> None:
    """Field by field with what it says; what is about no field stands below; and what to do next."""
    older, newer, number = two(store)
    found = shell.json("match", "show", str(number))
    assert {f["field"]: (f["older"], f["newer"]) for f in found["fields"]}["city"] == ("Malmö", "Lund")
    shown = shell("match", "show", str(number))
    for said in (
        f"proposal {number}, open: 88.9% that the two are one person",
        f"contact {older} (older)",
        f"contact {newer} (newer)",
        "phone: the same (9.0 for)",
        "and: household (2.0 against)",
        f"`tandem match decide {number} same --by NAME`",
    ):
        assert said in shown
    shell("match", "show", "99", code=2)
    assert "there is no proposal 99" in shell.told


def test_a_person_decides(shell: Shell, store: Database) -> None:
    """By name, with the values that hold; a second time is refused and says how to take it back."""
    older, _, number = two(store)
    words = ("match", "decide", str(number), "same", "--by", "Kim")
    said = shell(*words, "--choose", "city=newer", "--choose", "given_name=older")
    (merge,) = rows_of(store, t.merge)
    assert said == (
        f"proposal {number}: contact {older} stands for both; "
        f"undo: `tandem split {older} --merge {merge['id']} --by NAME`\n"
    )
    values = shell.json("contact", str(older))["values"]
    assert (values["city"], values["given_name"]) == ("Lund", "Ann")
    shell(*words, code=1)
    assert "was decided before: same, by Kim; split the two with `tandem split`" in shell.told


@pytest.mark.parametrize("decision", ["later", "different"])
def test_other_decisions_say_what_they_mean(shell: Shell, store: Database, decision: str) -> None:
    """Nobody is merged."""
    *_, number = two(store)
    answer = shell.json("match", "decide", str(number), decision, "--by", "Kim")
    assert answer == {"decision": decision, "contact": None, "merge": None}
    (row,) = rows_of(store, t.proposal)
    assert (row["status"], row["decided_by"]) == (decision, "Kim")
    assert rows_of(store, t.merge) == []


@pytest.mark.parametrize(
    "words",
    [
        "1 same",
        "1 maybe --by Kim",
        "1 same --by Kim --choose city",
        "1 same --by Kim --choose city=mine",
        "1 same --by Kim --choose shoe_size=newer",
        "1 different --by Kim --choose city=newer",
        "99 same --by Kim",
    ],
)
def test_a_decision_that_makes_no_sense(shell: Shell, store: Database, words: str) -> None:
    """Is a usage error, and decides nothing."""
    two(store)
    shell("match", "decide", *words.split(), code=2)
    assert [p["status"] for p in rows_of(store, t.proposal)] == ["open"]


def test_two_contacts_are_explained(shell: Shell, store: Database) -> None:
    """Score, band, reasons, the keys in common, and the proposal about them."""
    older, newer, number = two(store)
    shell("match", "sweep")
    found = shell.json("match", "explain", str(older), str(newer))
    assert (found["band"], found["proposal"], found["status"]) == ("link", number, "open")
    assert {"phone": "exact", "first": "nickname"}.items() <= {r["field"]: r["level"] for r in found["reasons"]}.items()
    assert {"what": "phone", "contacts": 2} in found["shared_keys"]
    assert f"proposal {number} is about the two: open" in shell("match", "explain", str(older), str(newer))
    (other,) = add_contacts(store, {"values": {"given_name": "Bo"}})
    assert "they never meet" in shell("match", "explain", str(older), str(other))
    shell("match", "explain", "1", "99", code=2)
    assert "there is no contact 99" in shell.told


def test_a_sweep_finds_doubles(shell: Shell, store: Database) -> None:
    """And says how many, and whether it is through."""
    add_contacts(store, {"values": {**ANN, **BORN}}, {"values": {"given_name": "Bo"}}, {"values": ANNA})
    first = shell.json("match", "sweep", "--limit", "2")
    assert (first["contacts"], first["proposed"], first["complete"]) == (2, 0, False)
    second = shell.json("match", "sweep")
    assert (second["run"], second["contacts"], second["proposed"], second["complete"]) == (first["run"], 3, 1, True)
    assert shell("match", "sweep", "--reindex") == "3 of 3 contacts, 0 new proposals; `tandem match list`\n"
    assert [(p["older"], p["newer"], p["source"]) for p in rows_of(store, t.proposal)] == [(1, 3, "sweep")]


def test_weights_are_learnt(shell: Shell, store: Database) -> None:
    """Into a file that can be read again; what changed is told; an empty store teaches nothing."""
    shell("match", "train", "--out", "w.json", code=2)
    assert not (shell.here / "w.json").exists()
    add_contacts(store, *({"values": {**ANN, "phone": f"+4670123{n:04}"}} for n in range(40)))
    found = shell.json("match", "train", "--out", "w.json")
    assert found["contacts"] == 40
    assert found["changes"]
    assert from_json((shell.here / "w.json").read_bytes()).prior == found["prior"][1]
    assert "w.json: from 40 contacts" in shell("match", "train", "--out", "w.json")


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_labelled_records_are_measured(shell: Shell, name: str) -> None:
    """Through the chain, into a store that is thrown away: no configuration is needed."""
    data = CSV.encode()
    (shell.here / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = json.loads(shell("match", "evaluate", name))
    assert list(found) == ["auto", "review", "f1_best", "seconds", "records"]
    assert found["auto"] == {"precision": 1.0, "recall": 1.0, "false_merges": 0}
    assert found["records"] == 3
    assert shell.json("match", "evaluate", name)["auto"] == found["auto"]
    assert sorted(p.name for p in shell.here.iterdir()) == [name]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("no.csv", b"first_name,cluster_id\nAnn,c1\n", "no.csv: a labelled file has the columns rec_id and cluster_id"),
        ("no.csv", b"rec_id,cluster_id\n", "no.csv: no rows"),
        ("no.csv", b"rec_id,cluster_id\n\xff,1\n", "no.csv: no readable"),
        ("no.csv.gz", b"rec_id", "no.csv.gz: no readable"),
        ("missing.csv", None, "missing.csv: No such file"),
    ],
)
def test_a_file_that_cannot_be_measured(shell: Shell, name: str, data: bytes | None, said: str) -> None:
    """Says why, in a line."""
    if data is not None:
        Path(shell.here / name).write_bytes(data)
    shell("match", "evaluate", name, code=2)
    assert said in shell.told


def test_weights_that_are_none(shell: Shell) -> None:
    """Are named as such."""
    (shell.here / "rows.csv").write_text(CSV, encoding="utf-8")
    (shell.here / "w.json").write_text("{}", encoding="utf-8")
    shell("match", "evaluate", "rows.csv", "--weights", "w.json", code=2)
    assert "w.json: no file of `tandem match train`" in shell.told
