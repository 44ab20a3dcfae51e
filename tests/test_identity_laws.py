"""Laws of who is who, for any people in any order: hypothesis makes them up, somebody who knows the truth decides."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import tables as t
from app.core.db import Database
from app.core.words import Channel, Likeness
from app.records import ledger, proposals
from app.records.proposals import Decision
from app.repair import matches, sweep
from app.sync import consent, identity, uniting
from tests import migrated
from tests.test_consent_travels import CONSENT
from tests.test_identity import ANN, MAPPING, TWO
from tests.world import World

# Whom one may take for another: she, her housemate, her daughter of the same name, and a colleague.
PEOPLE: dict[str, dict[str, Any]] = {
    "ann": ANN,
    "bo": {**ANN, "first": "Bo", "tel": None, "born": "1979-01-30"},
    "junior": {**ANN, "last": "Lindqvist Jr", "born": "2004-09-12"},
    "eva": {"first": "Eva", "last": "Roth", "firm": ANN["firm"], "town": ANN["town"], "zip": ANN["zip"]},
}
SLIPS = {"last": "Lindqvits", "first": "Annie", "road": "Storgatan 21", "town": "Malmö"}


@dataclass(frozen=True, slots=True)
class Said:
    """One record: whose it is, where, what is left out or mistyped, and whether it objects."""

    who: str
    where: str
    without: frozenset[str]
    slip: str | None
    objects: bool

    def fields(self, number: int) -> dict[str, Any]:
        """Each with an address of its own: by address alone nobody is found."""
        known = {k: v for k, v in PEOPLE[self.who].items() if v is not None and k not in self.without}
        if self.slip is not None and self.slip in known and self.who == "ann":
            known[self.slip] = SLIPS[self.slip]
        objection = {"mailing": "no"} if self.objects else {}
        return {**known, "mail": f"{self.who}{number}@private{number}.example", **objection}


SAID = st.builds(
    Said,
    st.sampled_from(["ann", "ann", "ann", "bo", "junior", "eva"]),
    st.sampled_from(sorted(TWO)),
    st.frozensets(st.sampled_from(["tel", "born", "firm", "zip", "road"]), max_size=3),
    st.sampled_from([None, None, *SLIPS]),
    st.booleans(),
)
RECORDS = st.lists(SAID, min_size=2, max_size=5)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy."""
    path = tmp_path_factory.mktemp("laws") / "empty.db"
    migrated.put(path)
    return path


class Life:
    """A world in which records arrive one by one, and somebody who knows the people decides."""

    def __init__(self, database: Database, records: Sequence[Said]) -> None:
        self.w = World(database, TWO, mapping_text=MAPPING + CONSENT, likeness=Likeness.LINK)
        self.records = records
        self.remote: dict[int, tuple[str, str]] = {}
        self.told: set[tuple[int, int]] = set()

    def arrive(self, number: int) -> None:
        said = self.records[number]
        self.remote[number] = (said.where, self.w.vendors[said.where].put(None, said.fields(number)))
        self.w.deliver(said.where)
        self.w.fetch.step()

    def contact_of(self) -> dict[int, int]:
        """Record -> the contact that stands for it."""
        into = {c.id: c.merged_into for c in self.w.rows(t.contact)}
        owner = {(k.connection, k.remote_id): k.contact_id for k in self.w.rows(t.link)}

        def standing(contact: int) -> int:
            while (winner := into[contact]) is not None:
                contact = winner
            return contact

        return {number: standing(owner[key]) for number, key in self.remote.items()}

    def groups(self) -> set[frozenset[int]]:
        """Which records are one contact."""
        found: dict[int, set[int]] = defaultdict(set)
        for number, contact in self.contact_of().items():
            found[contact].add(number)
        return {frozenset(numbers) for numbers in found.values()}

    def decide(self) -> bool:
        """Answer one question by the truth; whether there was one."""
        waiting = [p for p in self.w.rows(t.proposal) if p.status == "open"]
        if not waiting:
            return False
        one = waiting[0]
        owners = self.contact_of()
        who = {contact: {self.records[n].who for n, c in owners.items() if c == contact} for contact in owners.values()}
        same = who[one.older] == who[one.newer]
        with self.w.database.write() as db:
            matches.decide(db, self.w.connections, one.id, Decision.SAME if same else Decision.DIFFERENT, "Kim")
        if not same:
            self.told.add((one.older, one.newer))
        return True

    def decide_all(self) -> None:
        """All questions, also those that a sweep has when contacts know more."""
        for _ in range(20):
            while self.decide():
                pass
            sweep.sweep(self.w.database, self.w.connections, processes=0)
            if not any(p.status == "open" for p in self.w.rows(t.proposal)):
                return
        raise AssertionError("there are always more questions")


@contextmanager
def life(empty: Path, folder: Path, records: Sequence[Said]) -> Iterator[Life]:
    path = folder / "life.db"
    for old in folder.glob("life.db*"):
        old.unlink()
    shutil.copy(empty, path)
    database = Database(f"sqlite:///{path}", pool=1)
    try:
        yield Life(database, records)
    finally:
        database.close()


FEW = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@FEW
@given(RECORDS, st.data())
def test_the_order_of_arrival_and_of_answers_does_not_matter(
    empty: Path, tmp_path: Path, records: list[Said], data: st.DataObject
) -> None:
    """Whoever decides when: the same records end together, and never those of two people."""
    seen = []
    for order in (range(len(records)), data.draw(st.permutations(range(len(records))))):
        with life(empty, tmp_path, records) as lived:
            for number in order:
                lived.arrive(number)
                if data.draw(st.booleans()):
                    lived.decide()
            lived.decide_all()
            seen.append(lived.groups())
    assert all(len({records[n].who for n in group}) == 1 for group in seen[0] | seen[1])
    assert seen[0] == seen[1]


@FEW
@given(RECORDS, st.data())
def test_what_was_told_apart_stays_apart(empty: Path, tmp_path: Path, records: list[Said], data: st.DataObject) -> None:
    """Even when both say the same of themselves from now on, and whoever else arrives or is merged."""
    with life(empty, tmp_path, records) as lived:
        for number in range(len(records)):
            lived.arrive(number)
        lived.decide_all()
        owners = lived.contact_of()
        for number in data.draw(st.lists(st.sampled_from(sorted(owners)), max_size=4)):
            where, remote = lived.remote[number]
            lived.w.vendors[where].put(remote, {k: v for k, v in ANN.items() if k != "mail"})
        lived.w.settle()
        sweep.sweep(lived.w.database, lived.w.connections, processes=0)
        assert overruled(lived) == []


def overruled(lived: Life) -> list[tuple[int, int]]:
    """Pairs that were told apart and are one contact now, or are asked about again."""
    status = {(p.older, p.newer): p.status for p in lived.w.rows(t.proposal)}
    into = {c.id: c.merged_into for c in lived.w.rows(t.contact)}

    def standing(contact: int) -> int:
        while (winner := into[contact]) is not None:
            contact = winner
        return contact

    return [(a, b) for a, b in lived.told if standing(a) == standing(b) or status[a, b] != "different"]


@FEW
@given(RECORDS, st.data())
def test_after_any_merge_the_strictest_consent_holds(
    empty: Path, tmp_path: Path, records: list[Said], data: st.DataObject
) -> None:
    """If any of a contact's records objected, nobody writes to any of its addresses, at any vendor."""
    with life(empty, tmp_path, records) as lived:
        for number in data.draw(st.permutations(range(len(records)))):
            lived.arrive(number)
            if data.draw(st.booleans()):
                lived.decide()
        lived.decide_all()
        lived.w.settle()
        assert still_written_to(lived) == []


def still_written_to(lived: Life) -> list[str]:
    """Addresses that may be written to although a record of their contact objects."""
    found = []
    for group in lived.groups():
        if not any(lived.records[n].objects for n in group):
            continue
        # Those that records have now: to an address that all of them have left nobody can write.
        there = [lived.w.vendors[where].records.get(remote) for where, remote in (lived.remote[n] for n in group)]
        mails = sorted({str(record.fields["mail"]) for record in there if record is not None})
        with lived.w.database.read() as db:
            lines = ledger.of_addresses(db, mails)
        for mail in mails:
            entries = [e for e in lines.get(mail, ()) if e.channel is Channel.EMAIL]
            if not consent.state(entries, lived.w.connections.may_grant).stops:
                found.append(mail)
    return found


# Each law broken on purpose, in one life that shows it.

ANN_TWICE = [
    Said("ann", "hub", frozenset(), None, objects=False),
    Said("ann", "chimp", frozenset({"tel", "born", "firm"}), None, objects=True),
]
MOTHER_AND_DAUGHTER = [
    Said("ann", "hub", frozenset({"born", "tel"}), None, objects=False),
    Said("junior", "chimp", frozenset({"born"}), None, objects=False),
]


def lived_through(lived: Life) -> Life:
    for number in range(len(lived.records)):
        lived.arrive(number)
    lived.decide_all()
    return lived


def test_whoever_guesses_is_found_out(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To link the likeliest instead of asking makes one contact of two people."""
    real = identity.decide

    def guessing(*args: Any) -> identity.Verdict:
        verdict = real(*args)
        if verdict.link is not None or not verdict.proposals:
            return verdict
        (contact, score), *rest = verdict.proposals
        return identity.Verdict(contact, tuple(rest), score)

    monkeypatch.setattr(identity, "decide", guessing)
    with life(empty, tmp_path, MOTHER_AND_DAUGHTER) as lived:
        assert lived_through(lived).groups() == {frozenset({0, 1})}


def test_whoever_forgets_an_answer_is_found_out(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that asks anew what was told apart."""
    real, p = proposals.propose, t.proposal.c

    def forgetting(db: Any, some: Any) -> int:
        asked = list(some)
        for one in asked:
            db.execute(t.proposal.update().where(p.older == one.older, p.newer == one.newer).values(status="open"))
        return real(db, asked)

    with life(empty, tmp_path, MOTHER_AND_DAUGHTER) as lived:
        assert overruled(lived_through(lived)) == []
        assert lived.told == {(1, 2)}
        monkeypatch.setattr(proposals, "different", lambda *_: set())
        monkeypatch.setattr(proposals, "propose", forgetting)
        sweep.sweep(lived.w.database, lived.w.connections, processes=0)
        assert overruled(lived) == [(1, 2)]


def test_a_merge_that_loosens_consent_is_found_out(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the other address may still be written to."""
    for wrong in ([], ["ann0@private0.example"]):
        with life(empty, tmp_path, ANN_TWICE) as lived:
            if wrong:
                monkeypatch.setattr(uniting, "_strictest", lambda *_: [])
            assert lived_through(lived).groups() == {frozenset({0, 1})}
            assert still_written_to(lived) == wrong
