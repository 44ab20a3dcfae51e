"""The sweep: doubles among what is stored are proposed, once, and nobody is linked; cut off, it goes on."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotPossible
from app.match import keys
from app.match.normalise import evidence
from app.match.weights import shipped
from app.records import blocks, proposals
from app.records.proposals import Decision
from app.repair import learning, looking, sweep
from app.sync import identity
from app.sync.connection import Connections
from tests.apihelp import add_contacts, rows_of

NOBODY = Connections({})
ANN = {
    "email": "ann@acme-turbines.com",
    "given_name": "Ann",
    "family_name": "Lindqvist",
    "phone": "+46701234567",
    "street": "Storgatan 12",
    "city": "Lund",
    "birthday": "1981-04-02",
}
AGAIN = {**ANN, "email": "a.l@private.example", "family_name": "Lindqvits"}
TWIN = {**ANN, "email": "eva@private.example", "given_name": "Eva"}
SON = {"given_name": "Ann", "family_name": "Lindqvist", "street": "Storgatan 12", "birthday": "2009-01-30"}


def stranger(n: int) -> dict[str, Any]:
    """Somebody who has nothing in common with anybody."""
    word = "".join(chr(97 + (n * 7 + k * 5) % 26) for k in range(7))
    return {"given_name": word, "family_name": word[::-1], "email": f"{word}@{word}.example"}


def stored(database: Database, *people: dict[str, Any]) -> list[int]:
    """People as they were stored while likeness was off: filed under no key."""
    return add_contacts(database, *({"values": values} for values in people))


def pairs(database: Database) -> list[tuple[int, int]]:
    return sorted((p["older"], p["newer"]) for p in rows_of(database, t.proposal))


@pytest.mark.parametrize(
    ("other", "asked"),
    [(AGAIN, True), (TWIN, False), (SON, True), (stranger(1), False)],
    ids=["the same person", "a twin", "a namesake in one house: a person has to look", "a stranger"],
)
def test_doubles_are_proposed(database: Database, other: dict[str, Any], asked: bool) -> None:
    """With score and reasons, by the sweep; nobody is linked or changed by it."""
    numbers = stored(database, stranger(2), ANN, stranger(3), other)
    before = rows_of(database, t.contact)
    state = sweep.sweep(database, NOBODY)
    assert (state.done, state.total, state.proposed, state.complete) == (4, 4, int(asked), True)
    assert pairs(database) == ([(numbers[1], numbers[3])] if asked else [])
    assert [(p["source"], p["status"], bool(p["reasons"])) for p in rows_of(database, t.proposal)] == [
        ("sweep", "open", True)
    ] * asked
    assert rows_of(database, t.contact) == before
    assert rows_of(database, t.merge) == []


@pytest.mark.parametrize("decision", list(Decision))
def test_what_was_asked_before_is_not_asked_again(database: Database, decision: Decision) -> None:
    """Whatever the answer was, in whatever order the two stand."""
    first, second = stored(database, ANN, AGAIN)
    with database.write() as db:
        proposals.settle(db, second, first, decision, "Kim")
    before = rows_of(database, t.proposal)
    assert sweep.sweep(database, NOBODY).proposed == 0
    assert rows_of(database, t.proposal) == before


def test_a_merged_contact_is_left_out(database: Database) -> None:
    """Another one stands for it."""
    first, second = stored(database, ANN, AGAIN)
    with database.write() as db:
        db.execute(t.contact.update().where(t.contact.c.id == second).values(merged_into=first))
    state = sweep.sweep(database, NOBODY)
    assert (state.done, state.proposed) == (1, 0)


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("after", [1, 2, 3])
def test_cut_off_it_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """After any batch: each contact is looked at once, and what comes out is what one sweep would have found."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    stored(database, ANN, stranger(1), stranger(2), AGAIN, stranger(3), {**AGAIN, "email": "x@third.example"})

    def told(state: sweep.State) -> None:
        if state.here >= 2 * after:
            raise Killed

    with pytest.raises(Killed):
        sweep.sweep(database, NOBODY, told=told)
    (run,) = rows_of(database, t.run)
    assert (run["kind"], run["status"], run["done"]) == ("sweep", "running", 2 * after)
    state = sweep.sweep(database, NOBODY)
    assert (state.run, state.done, state.here, state.complete) == (run["id"], 6, 6 - 2 * after, True)
    assert pairs(database) == [(1, 4), (1, 6), (4, 6)]
    (run,) = rows_of(database, t.run)
    assert (run["status"], run["done"], run["total"], run["ended_at"] is not None) == ("done", 6, 6, True)


def test_a_limit_stops_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call goes on behind; a call after the end begins a new sweep."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    stored(database, *(stranger(n) for n in range(5)))
    seen = [sweep.sweep(database, NOBODY, limit=3) for _ in range(3)]
    assert [(s.run, s.done, s.complete) for s in seen] == [(1, 3, False), (1, 5, True), (2, 3, False)]


def test_two_at_once_do_not_look_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds that the position moved stops, and says so."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    stored(database, *(stranger(n) for n in range(6)))
    calls = []

    def told(state: sweep.State) -> None:
        if not calls:
            calls.append(state)
            sweep.sweep(database, NOBODY, limit=2)

    with pytest.raises(NotPossible, match="another process is at this sweep"):
        sweep.sweep(database, NOBODY, told=told)
    assert [run["done"] for run in rows_of(database, t.run)] == [4]


def test_keys_are_filed_by_it(database: Database) -> None:
    """As the chain would; stale ones go with --reindex, which begins anew."""
    (number,) = stored(database, ANN)
    with database.write() as db:
        blocks.refile(db, {}, {number: [7], 99: [8]})
    sweep.sweep(database, NOBODY)
    assert {r["key"] for r in rows_of(database, t.block)} == {7, 8, *identity.filed(ANN)}
    sweep.sweep(database, NOBODY, reindex=True)
    assert {(r["key"], r["contact_id"]) for r in rows_of(database, t.block)} == {
        (key, number) for key in identity.filed(ANN)
    }


def test_no_chain_leads_to_a_stranger(database: Database) -> None:
    """Whoever could be the junior or the senior is proposed with one of them only, so that no answer joins the two."""
    jr = {**ANN, "family_name": "Lindqvist Jr", "email": "jr@private.example", "birthday": None}
    sr = {**ANN, "family_name": "Lindqvist Sr", "email": "sr@private.example", "birthday": None}
    who = {**jr, "family_name": "Lindqvist", "email": "who@private.example"}
    numbers = stored(database, jr, sr, who)
    sweep.sweep(database, NOBODY)
    assert len([pair for pair in pairs(database) if numbers[2] in pair]) == 1
    (between,) = [p for p in rows_of(database, t.proposal) if (p["older"], p["newer"]) == tuple(numbers[:2])]
    assert between["contradiction"] == "two generations of one name: junior and senior"


def test_what_a_crowd_has_leads_to_nobody_by_itself() -> None:
    """Of those who share nothing else chance would say who is looked at."""
    crowd = list(range(200, 200 - keys.BLOCK - 1, -1))
    assert identity.nearest({1: crowd}, [1]) == []
    assert identity.nearest({1: crowd, 2: [160, 5]}, [1, 2]) == [160, 5]
    assert set(identity.nearest({1: crowd, 2: crowd}, [1, 2])) < set(crowd)
    assert identity.nearest({1: crowd[:16]}, [1]) == []
    assert identity.nearest({1: crowd[:15]}, [1]) == crowd[: identity.CANDIDATES]


def test_what_this_process_has_not_seen_is_read(database: Database) -> None:
    """After a restart the older ones come from the store; long ones come back whole."""
    long = {**ANN, "street": "x" * 150 + " 12", "company_name": "y" * 190, "region": "z" * 190, "city": "w" * 190}
    (number,) = stored(database, long)
    with looking.Known() as known, database.read() as db:
        for _ in range(2):
            assert known.of(db, [number, 77]) == {number: evidence(long)}


def test_weights_are_learnt_from_a_sample(database: Database) -> None:
    """Of no more contacts than asked for; merged ones teach nothing; what moved is told, the most first."""
    stored(database, *(stranger(n) for n in range(30)), *({**ANN, "email": f"a{n}@x.example"} for n in range(10)))
    with database.write() as db:
        db.execute(t.contact.update().where(t.contact.c.id == 1).values(merged_into=2))
    looked, _ = learning.trained(database, NOBODY, 12)
    assert looked == 12
    looked, after = learning.trained(database, NOBODY, 1_000)
    assert looked == 39
    moved = learning.changes(shipped(), after)
    sizes = [abs(one["after"] - one["before"]) for one in moved]
    assert moved
    assert sizes == sorted(sizes, reverse=True)
    assert learning.changes(shipped(), shipped()) == []


def test_an_empty_store_teaches_nothing(database: Database) -> None:
    """And a sweep over it is through at once."""
    with database.write() as db:
        db.execute(delete(t.contact))
    assert sweep.sweep(database, NOBODY).complete
    assert learning.trained(database, NOBODY, 10) == (0, shipped())
    with database.read() as db:
        assert db.execute(select(func.count()).select_from(t.proposal)).scalar_one() == 0


CROWD = [
    person
    for n in range(6)
    for person in (
        {**ANN, "family_name": f"Lind{'abcdef'[n] * 4}", "email": f"a{n}@x.example", "phone": f"+4670123456{n}"},
        stranger(n),
        {**ANN, "family_name": f"Lind{'abcdef'[n] * 4}", "email": f"b{n}@y.example", "birthday": None},
    )
]


def found_by(database: Database, processes: int, limit: int | None = None) -> list[tuple[Any, ...]]:
    sweep.sweep(database, NOBODY, processes=processes, limit=limit)
    columns = ("older", "newer", "score", "reasons", "contradiction")
    return sorted(tuple(str(p[name]) for name in columns) for p in rows_of(database, t.proposal))


@pytest.mark.parametrize("processes", [1, 3])
def test_several_processes_find_what_one_does(
    database: Database, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """The same proposals, with the same reasons; also in two goes, when what was seen before has to be read again."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    stored(database, *CROWD)
    alone = found_by(database, 0)
    assert len(alone) > 5
    for limits in ([None], [7, None]):
        with database.write() as db:
            for table in (t.proposal, t.block, t.run):
                db.execute(delete(table))
        for limit in limits:
            found = found_by(database, processes, limit)
        assert found == alone
    assert multiprocessing.active_children() == []


def test_a_process_that_ends_stops_the_sweep(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to do, leaves no process behind, and the same command goes on."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    stored(database, *CROWD)
    with monkeypatch.context() as patch:
        patch.setattr(looking, "look", lambda *_: os._exit(1))
        with pytest.raises(NotPossible, match="the same command goes on"):
            sweep.sweep(database, NOBODY, processes=2)
    assert multiprocessing.active_children() == []
    state = sweep.sweep(database, NOBODY, processes=2)
    assert (state.done, state.complete) == (len(CROWD), True)


def test_a_stop_leaves_no_process_behind(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends it."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    stored(database, *CROWD)

    def told(_: sweep.State) -> None:
        raise Killed

    with pytest.raises(Killed):
        sweep.sweep(database, NOBODY, processes=2, told=told)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("contacts", "processes"), [(1_999, 0), (1_000_000, None)])
def test_few_contacts_are_not_worth_a_process(contacts: int, processes: int | None) -> None:
    """Many are worth one for each core, up to a bound."""
    found = looking.processes_for(contacts, 100)
    assert found == processes if processes is not None else found <= looking.MOST


_words = st.text("ab1-é", max_size=6)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("given_name", "middle_name", "family_name", "city", "region", "company_name"), _words),
            "email": st.emails(),
            "email_alternates": st.lists(st.emails(), max_size=2),
            "phone": st.sampled_from(["+4930123456", "030 123456", "+15551234567 x9"]),
            "birthday": st.sampled_from(["1990-02-03", "02-03", "x"]),
            "street": st.sampled_from(["12 Elm Road", "Elm Road", "7"]),
            "website": st.sampled_from(["https://acme.co.uk/x", "info"]),
        },
    )
)
def test_what_is_put_aside_comes_back_as_it_was(values: dict[str, Any]) -> None:
    """Bytes and back."""
    assert looking.unpacked(looking.packed(evidence(values))) == evidence(values)
