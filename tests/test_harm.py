"""Whatever happens, nobody is harmed: a stateful test of everything that may befall people's records at once.

Edits, objections, consents with and without evidence, deletions, restorations, merges, changed addresses, first syncs,
lost, doubled and late deliveries, failing calls and restarts, in any order, on three connections.  In the end nobody
who objected can be written to, nobody deleted was made again, all sides say the same, and there is peace.

Two judges stand apart from what is judged: ``Judge`` hears what the vendors have shown and looks at every order that
goes out, without asking the store.
"""

from __future__ import annotations

import dataclasses
import itertools
import pkgutil
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, currently_in_test_context, settings, target
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.core import tables as t
from app.core.words import OPERATOR, Channel, Entry, Mode, Reason, Status
from app.records import ledger, tombstones
from app.sync import consent
from app.sync.connection import Connections
from connectors.contract import Action, Order, Record, Side, Verb
from tests import migrated
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, START, Vendor, World

SIDES = {"hub": Side.CRM, "chimp": Side.MARKETING, "desk": Side.CRM}
NAMES = sorted(SIDES)
STOPS = frozenset({"no", "bounced"})
COLD = "desk"  # joins later, with records of its own
CALLS_TO_BEGIN, CALLS_PER_ACT = 30, 6  # no life takes more calls than these: two sides, and what failed again
# What a person has to look at: two records of one person at a vendor, addresses that cross.  Such people are left out
# of "all sides say the same", nobody else is.
LETTERS = {"merged", "second_record", "ambiguous", "conflict", "gone"}


class Judge:
    """Hears what vendors show and what is ordered, and knows by itself what must not happen."""

    def __init__(self, waits: Callable[[], bool]) -> None:
        """``waits``: whether there is something that was shown and is not decided yet."""
        self.waits = waits
        self.objections: dict[str, set[tuple[int, str]]] = defaultdict(set)  # address -> (when, word), as was shown
        self.last: dict[tuple[str, str], tuple[str, Any]] = {}  # (vendor, id) -> address and word as last shown
        self.lifts: dict[str, set[tuple[int, str]]] = defaultdict(set)  # address -> (when, by what)
        self.buried: set[str] = set()  # addresses of people whose deletion was told
        self.wrongs: list[str] = []

    def objects(self, mail: str) -> bool:
        """Whether an objection stands: a form lifts an older "no", an operator whatever is older."""
        return any(
            not any(then > at and (by == "operator" or word == "no") for then, by in self.lifts[mail])
            for at, word in self.objections[mail]
        )

    def shown(self, vendor: Vendor, records: Iterable[Record]) -> None:
        """What a vendor showed: objections, and consents that may lift them."""
        for record in records:
            mail, word = str(record.fields.get("mail")).lower(), record.fields.get("mailing")
            at = _second(record.modified)
            for former in record.former_ids:
                self.one_person(mail, self.last.pop((vendor.label, former), (mail, None))[0], at)
            before = self.last.get((vendor.label, record.id))
            self.last[(vendor.label, record.id)] = (mail, word)
            if before == (mail, word):
                continue  # nothing new is said
            if word in STOPS:
                self.objections[mail].add((at, str(word)))
            elif word == "yes" and vendor.label == "chimp" and record.fields.get("signed_up_at") is not None:
                self.lifts[mail].add((min(_second_of(record.fields["signed_up_at"]), at), "form"))

    def one_person(self, mail: str, other: str, at: int) -> None:
        """The vendor merged two people: what either objected to binds both."""
        if mail != other and (self.objects(mail) or self.objects(other)):
            for address in (mail, other):
                if not self.objects(address):
                    self.objections[address].add((at, "no"))

    def ordered(self, vendor: Vendor, order: Order) -> None:
        """What is about to be written."""
        holder = vendor.records.get(order.id) if order.id is not None else None
        mail = order.fields.get("mail", holder.fields.get("mail") if holder is not None else None)
        mail = str(mail).lower()
        if order.verb is Verb.CREATE and mail in self.buried:
            self.wrongs.append(f"{vendor.label}: somebody deleted is made again")
        if self.waits():
            return  # what was shown a moment ago is not decided yet; the end is judged too
        if order.fields.get("mailing") == "yes" and self.objects(mail):
            self.wrongs.append(f"{vendor.label}: somebody who objected is subscribed again")
        if order.verb is Verb.CREATE and self.objects(mail) and order.fields.get("mailing") not in STOPS:
            self.wrongs.append(f"{vendor.label}: somebody who objected is made mailable")


def _second(moment: Any) -> int:
    return int((moment - START).total_seconds())


def _second_of(text: str) -> int:
    return int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])


class Watched(Vendor):
    """A vendor under the eyes of the judge."""

    judge: Judge

    def read(self, kind: Any, ids: Sequence[str]) -> Sequence[Record]:
        found = super().read(kind, ids)
        self.judge.shown(self, found)
        return found

    def find(self, kind: Any, key: str, values: Sequence[str]) -> Sequence[Record]:
        found = super().find(kind, key, values)
        self.judge.shown(self, found)
        return found

    def changed(self, kind: Any, cursor: str | None) -> Any:
        page = super().changed(kind, cursor)
        self.judge.shown(self, page.records)
        return page

    def _one(self, order: Order) -> Any:
        self.judge.ordered(self, order)
        return super()._one(order)


class Harm:
    """A world, what may befall it, and what must hold."""

    def __init__(self) -> None:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # every commit waits for the disk
        self._folder = tempfile.TemporaryDirectory(dir=memory)
        self.database = migrated.new(Path(self._folder.name) / "w.db")
        self.judge = Judge(lambda: any(e.status == "pending" for e in self.w.rows(t.inbox)))
        self.w = World(self.database, SIDES, mapping_text=MAPPING + CONSENT)
        for vendor in self.w.vendors.values():
            vendor.__class__ = Watched
            vendor.judge = self.judge  # type: ignore[attr-defined]
        self.w.grant("chimp")
        self.w.deletes(**dict.fromkeys(NAMES, ("archive", "archive")))
        self._mode(COLD, Mode.OBSERVE)
        self.removed: list[tuple[str, Record]] = []
        self.fresh = 0
        self.acts = 0

    def close(self) -> None:
        self.database.close()
        self._folder.cleanup()

    def _mode(self, name: str, mode: Mode) -> None:
        changed = dataclasses.replace(self.w.connections[name], mode=mode)
        self.w.connections = Connections({**self.w.connections, name: changed})
        self.w.start()

    def cold(self, name: str) -> bool:
        return self.w.connections[name].mode is Mode.OBSERVE

    def one_of(self, name: str, which: int) -> str | None:
        ids = sorted(self.w.vendors[name].records)
        return ids[which % len(ids)] if ids else None

    # --- what may happen ----------------------------------------------------------------------------------------------

    def act(self, what: str, name: str, which: int = 0, how: Any = None) -> None:
        """One act; one that makes no sense now does nothing."""
        self.acts += 1
        getattr(self, f"_{what}")(name, which, how)

    def _new(self, name: str, which: int, fields: dict[str, Any]) -> None:
        mail = f"p{which}@x.org"
        vendor = self.w.vendors[name]
        if vendor.holder(mail) is None:
            vendor.put(None, {"mail": mail, **fields})

    def _edit(self, name: str, which: int, fields: dict[str, Any]) -> None:
        record_id = self.one_of(name, which)
        if record_id is not None:
            self.w.vendors[name].put(record_id, fields)

    def _sign_up(self, name: str, which: int, _how: Any) -> None:
        """The person fills in a form; at chimp that is evidence, at the others it is just a field."""
        moment = next(self.w.clock)
        when = f"2026-01-01T{moment // 3600:02}:{moment // 60 % 60:02}:{moment % 60:02}+00:00"
        self._edit(name, which, {"mailing": "yes", "signed_up_from": "192.0.2.1", "signed_up_at": when})

    def _operator(self, name: str, which: int, _how: Any) -> None:
        """A named operator writes down a consent that was given by word of mouth."""
        record_id = self.one_of(name, which)
        if record_id is None or self.cold(name):
            return
        mail = str(self.w.vendors[name].records[record_id].fields["mail"]).lower()
        second = next(self.w.clock)
        at = int(START.timestamp() * 1000) + second * 1000
        entry = Entry(
            mail,
            Channel.EMAIL,
            "",
            Status.GRANTED,
            Reason.MANUAL,
            OPERATOR,
            at,
            evidence={"operator": "call"},
            actor="Kim",
        )
        with self.database.write() as db:
            ledger.append(db, [(entry, None)], at)
        self.judge.lifts[mail].add((second, "operator"))

    def _rename(self, name: str, which: int, _how: Any) -> None:
        """The person has another address now, which nobody had."""
        self.fresh += 1
        self._edit(name, which, {"mail": f"n{self.fresh}@x.org"})

    def _remove(self, name: str, which: int, _how: Any) -> None:
        record_id = self.one_of(name, which)
        if record_id is None or self.cold(name):
            return
        linked = any(k.connection == name and k.remote_id == record_id for k in self.w.rows(t.link))
        record = self.w.vendors[name].remove(record_id)
        self.removed.append((name, record))
        self.w.deliver(name)  # the vendor tells it, at once or late; that is what counts as its word
        if linked:
            self._told(record)

    def _told(self, record: Record) -> None:
        """From the moment the word is taken in, nobody of that address may be made."""
        self.w.due()
        for _ in range(20):
            self.w.due()
            if not self.w.fetch.step():
                break
        with self.database.read() as db:
            mail = str(record.fields["mail"]).lower()
            if tombstones.standing(db, {mail}, None):
                self.judge.buried.add(mail)

    def _restore(self, name: str, _which: int, _how: Any) -> None:
        if self.removed:
            where, record = self.removed.pop()
            if self.w.vendors[where].holder(record.fields["mail"]) is None:
                self.w.vendors[where].restore(record)
                self.judge.buried.clear()  # a person took it back: who is allowed again is not this judge's matter

    def _merge(self, name: str, which: int, other: int) -> None:
        first, second = self.one_of(name, which), self.one_of(name, other)
        if first is not None and second is not None and first != second and not self.cold(name):
            self.w.vendors[name].merge(first, second)

    def _deliver(self, name: str, which: int, _how: Any) -> None:
        """Webhooks: some are lost (never that of a deletion), some come twice, in any order."""
        vendor = self.w.vendors[name]
        events, vendor.events = vendor.events, []
        if self.cold(name):
            return
        dice = random.Random(which)
        events = [e for e in events if which == 0 or e.action is Action.DELETED or dice.random() < 0.8]
        events += [e for e in events if dice.random() < 0.3]
        dice.shuffle(events)
        self.w.deliver(name, events)

    def _fetch(self, *_: Any) -> None:
        self.w.due()
        self.w.fetch.step()

    def _push(self, *_: Any) -> None:
        self.w.due()
        self.w.push.step()

    def _restart(self, *_: Any) -> None:
        self.w.start()

    def _fail(self, name: str, _which: int, how: str) -> None:
        self.w.vendors[name].fail_next.append(how)

    def _first_sync(self, name: str, *_: Any) -> None:
        """The third connection goes live, or a connection is read again from the beginning."""
        if self.cold(name):
            self.w.vendors[name].events.clear()
            self._mode(name, Mode.LIVE)
        self.w.walk()

    # --- what must hold -----------------------------------------------------------------------------------------------

    def rest(self) -> int:
        """Let everything come to rest, then look; how many people were compared."""
        for vendor in self.w.vendors.values():
            vendor.fail_next.clear()
        self._first_sync(COLD)
        self.w.settle()
        self.w.walk()  # what was lost is found by the poll
        self.w.settle()
        assert self.w.settle() == 0, "writes after quiescence"
        calls = sum(len(v.calls) for v in self.w.vendors.values())
        assert calls <= CALLS_TO_BEGIN + CALLS_PER_ACT * self.acts, f"{calls} calls for {self.acts} acts"
        self.nobody_is_wronged()
        self.nobody_who_objected_can_be_written_to()
        self.nobody_is_there_twice()
        return self.all_sides_agree()

    def nobody_is_wronged(self) -> None:
        assert self.judge.wrongs == []

    def nobody_who_objected_can_be_written_to(self) -> None:
        for name, vendor in self.w.vendors.items():
            for record in vendor.records.values():
                mail = str(record.fields["mail"]).lower()
                if not self.judge.objects(mail) or self._stone(mail):
                    continue
                if record.id not in {k.remote_id for k in self.w.rows(t.link) if k.connection == name}:
                    continue  # nobody's: a letter asks somebody to say whose it is
                assert record.fields.get("mailing") in STOPS, f"{name} may write to somebody who objected"

    def _stone(self, mail: str) -> bool:
        with self.database.read() as db:
            return bool(tombstones.standing(db, {mail}, None))

    def nobody_is_there_twice(self) -> None:
        for name, vendor in self.w.vendors.items():
            twice = Counter(str(r.fields["mail"]).lower() for r in vendor.records.values())
            assert not twice or max(twice.values()) == 1, f"somebody was made twice at {name}"

    def all_sides_agree(self) -> int:
        """Everybody who is not deleted, merged or in somebody's hands is on every side, and the same there.

        How many were compared.
        """
        letters = self.w.rows(t.dead)
        assert {d.code for d in letters} <= LETTERS, f"unexpected letters: {sorted({d.code for d in letters})}"
        merged = {c.merged_into for c in self.w.rows(t.contact)}
        out = {d.contact_id for d in letters} | {k.contact_id for k in self.w.rows(t.link) if k.gone_at is not None}
        odd = {k.contact_id for k in self.w.rows(t.link) if k.warnings is not None}
        compared = 0
        for contact in self.w.rows(t.contact):
            if contact.merged_into is not None or contact.id in out | odd or (contact.id in merged and letters):
                continue
            links = {k.connection: k.remote_id for k in self.w.rows(t.link) if k.contact_id == contact.id}
            if self._stone(str(contact.facts["email"]["v"])):
                continue
            assert set(links) == set(NAMES), f"contact {contact.id} is at {sorted(links)} only"
            sides = [_plain(self.w.vendors[name].records[i].fields) for name, i in sorted(links.items())]
            assert sides[0] == sides[1] == sides[2]
            compared += 1
        return compared


def _plain(fields: Any) -> dict[str, Any]:
    """A record with what only differs by the vendor's own spelling made equal."""
    plain = {n: fields.get(n) for n in ("mail", "first", "last", "town", "job", "firm")}
    plain["mail"] = str(plain["mail"]).lower()
    plain["firm"] = str(plain["firm"])[:12] if plain["firm"] is not None else None
    return {n: None if v == "" else v for n, v in plain.items()}


names = st.sampled_from(NAMES)
people = st.integers(0, 3)
words = st.sampled_from(["yes", "no", "asked", "never", "bounced", None, ""])
some = st.fixed_dictionaries(
    {},
    optional={
        "first": st.sampled_from(["Ann", "Ben"]),
        "last": st.sampled_from(["Lee", "Roth", None]),
        "town": st.sampled_from(["Bonn", "Köln", None, ""]),
        "job": st.sampled_from(["Pilot", "Cook", None]),
        "firm": st.sampled_from(["ACME", "ACME Company Worldwide"]),
        "mailing": words,
    },
)


class Life(RuleBasedStateMachine):
    """The rules by which hypothesis makes up lives."""

    def __init__(self) -> None:
        super().__init__()
        self.harm = Harm()
        self.plan: list[tuple[Any, ...]] = []

    def do(self, *act: Any) -> None:
        self.plan.append(act)
        self.harm.act(*act)

    @rule(name=names, which=people, fields=some)
    def new(self, name: str, which: int, fields: dict[str, Any]) -> None:
        self.do("new", name, which, fields)

    @rule(name=names, which=people, fields=some)
    def edit(self, name: str, which: int, fields: dict[str, Any]) -> None:
        self.do("edit", name, which, fields)

    @rule(name=names, which=people, word=words)
    def subscribe_or_object(self, name: str, which: int, word: str | None) -> None:
        self.do("edit", name, which, {"mailing": word})

    @rule(name=names, which=people, what=st.sampled_from(["sign_up", "operator", "rename"]))
    def person(self, name: str, which: int, what: str) -> None:
        self.do(what, name, which)

    @rule(name=names, which=people, what=st.sampled_from(["remove", "restore"]))
    def delete(self, name: str, which: int, what: str) -> None:
        self.do(what, name, which)

    @rule(name=names, which=people, other=people)
    def merge(self, name: str, which: int, other: int) -> None:
        self.do("merge", name, which, other)

    @rule(name=names, which=st.integers(0, 9))
    def deliver(self, name: str, which: int) -> None:
        self.do("deliver", name, which)

    @rule(what=st.sampled_from(["fetch", "push", "fetch", "push", "restart"]))
    def work(self, what: str) -> None:
        self.do(what, "hub")

    @rule(name=names, how=st.sampled_from(["before", "after"]))
    def fail(self, name: str, how: str) -> None:
        self.do("fail", name, 0, how)

    @rule(name=names)
    def first_sync(self, name: str) -> None:
        self.do("first_sync", name)

    @invariant()
    def nobody_is_wronged(self) -> None:
        self.harm.nobody_is_wronged()

    def teardown(self) -> None:
        try:
            print(self.plan)
            compared = self.harm.rest()
            if currently_in_test_context():
                target(float(compared), label="people compared")
        finally:
            self.harm.close()


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.timeout(600)
def test_nobody_is_harmed() -> None:
    """Two hundred lives."""
    run_state_machine_as_test(
        Life, settings=settings(max_examples=200, stateful_step_count=20, deadline=None, suppress_health_check=QUIET)
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nobody_is_harmed_at_length() -> None:
    """Two thousand, and longer ones."""
    run_state_machine_as_test(
        Life, settings=settings(max_examples=2000, stateful_step_count=40, deadline=None, suppress_health_check=QUIET)
    )


def play(plan: Iterable[tuple[Any, ...]]) -> Harm:
    """One life as written down."""
    harm = Harm()
    try:
        for act in plan:
            harm.act(*act)
        harm.rest()
    finally:
        harm.close()
    return harm


ANN = ("new", "hub", 0, {"first": "Ann", "last": "Lee", "town": "Bonn"})
PAIRED: list[tuple[Any, ...]] = [
    ANN,
    ("first_sync", "desk"),
    *[("fetch", "hub"), ("push", "hub"), ("push", "hub")] * 3,
]
LIVES: dict[str, list[tuple[Any, ...]]] = {
    "objects": [*PAIRED, ("edit", "hub", 0, {"mailing": "no"}), ("first_sync", "hub")],
    "objects, then a field says yes": [
        *PAIRED,
        ("edit", "hub", 0, {"mailing": "no"}),
        ("first_sync", "hub"),
        ("edit", "chimp", 0, {"mailing": "yes"}),
        ("first_sync", "hub"),
    ],
    "deleted, then an edit elsewhere": [
        ANN,
        ("first_sync", "hub"),
        ("fetch", "hub"),
        ("remove", "hub", 0),
        ("push", "hub"),
        ("push", "hub"),
    ],
    "merged, one of them objecting": [
        *PAIRED,
        ("new", "hub", 1, {"first": "Ann", "mailing": "no"}),
        *[("deliver", "hub", 0), ("fetch", "hub"), ("push", "hub"), ("push", "hub")] * 3,
        ("edit", "hub", 0, {"mailing": "never"}),
        ("merge", "hub", 0, 1),
    ],
    "an answer that was lost": [
        *PAIRED,
        ("edit", "hub", 0, {"town": "Ulm"}),
        ("deliver", "hub", 0),
        ("fetch", "hub"),
        ("fail", "chimp", 0, "before"),
        ("fail", "desk", 0, "before"),
        ("push", "hub"),
        ("push", "hub"),
    ],
    "a claim that loses": [*PAIRED, ("edit", "chimp", 0, {"first": None})],
    "known on both sides": [
        ANN,
        ("new", "chimp", 0, {"first": "Ann"}),
        ("deliver", "hub", 0),
        *[("fetch", "hub"), ("push", "hub"), ("push", "hub")],
    ],
    "an objection that a renamed record keeps": [
        ("new", "desk", 0, {}),
        ("new", "chimp", 0, {"mailing": "no"}),
        ("operator", "chimp", 0),
        ("new", "hub", 0, {}),
        ("first_sync", "hub"),
        ("new", "hub", 1, {}),
        ("merge", "hub", 1, 0),
    ],
    "merged into a record that was never read": [
        ("new", "hub", 0, {}),
        ("new", "desk", 1, {}),
        ("edit", "hub", 3, {"mailing": "no"}),
        ("first_sync", "hub"),
        ("rename", "hub", 0),
        ("new", "hub", 0, {}),
        ("new", "hub", 2, {}),
        ("new", "hub", 1, {}),
        ("first_sync", "desk"),
        ("merge", "hub", 3, 1),
    ],
    "an objection of the batch that moves the address": [
        ("new", "chimp", 0, {}),
        ("new", "chimp", 1, {"mailing": "no"}),
        ("first_sync", "chimp"),
        ("remove", "chimp", 1),
        ("new", "chimp", 1, {}),
        ("first_sync", "desk"),
        ("merge", "chimp", 2, 3),
    ],
    "an address that is another's, who objects": [
        ("new", "hub", 0, {}),
        ("new", "chimp", 2, {"mailing": "no"}),
        ("operator", "hub", 2),
        ("new", "desk", 1, {}),
        ("new", "chimp", 0, {}),
        ("first_sync", "chimp"),
        ("fetch", "chimp"),
        ("edit", "desk", 0, {"mailing": "bounced"}),
        ("fetch", "desk"),
        ("new", "chimp", 1, {}),
        ("merge", "chimp", 2, 1),
    ],
}


@pytest.mark.parametrize("life", sorted(LIVES))
def test_lives(life: str) -> None:
    """Those that the saboteurs below spoil, unspoiled."""
    play(LIVES[life])


def _lenient(real: Callable[..., Any]) -> Callable[..., Any]:
    """A ratchet that takes the newest line for true."""

    def newest(entries: Any, _may_grant: Any, purpose: str = "") -> Any:
        lines = [e for e in entries if e.purpose == purpose]
        last = max(lines, key=lambda e: e.at, default=None)
        return consent.UNKNOWN if last is None else consent.State(last.status, last)

    return newest


def _forgetting(found: Any) -> Any:
    known = {i: dataclasses.replace(k, buried=False, refused=False) for i, k in found.known.items()}
    return dataclasses.replace(found, known=known)


SABOTEURS: dict[str, tuple[str, str, Any]] = {
    "consent that the newest word decides": ("objects, then a field says yes", "app.sync.consent.state", _lenient),
    "objections that are told to nobody": ("objects", "app.sync.consenting.mark", lambda _: lambda *_: None),
    "a push that creates the deleted": (
        "deleted, then an edit elsewhere",
        "app.push.push.gather",
        lambda real: lambda *a: _forgetting(real(*a)),
    ),
    "a merge that keeps the laxer consent": (
        "merged, one of them objecting",
        "app.sync.uniting._strictest",
        lambda _: lambda *_: [],
    ),
    "losers that nobody repairs": ("a claim that loses", "app.sync.chain.differences", lambda _: lambda *_: {}),
    "a connector that creates without looking": (
        "known on both sides",
        "tests.world.Vendor.holder",
        lambda _: lambda *_: None,
    ),
    "any consent counts as proven": (
        "objects, then a field says yes",
        "app.sync.consent.lifts",
        lambda _: lambda *_: True,
    ),
}


@pytest.mark.parametrize("sabotage", sorted(SABOTEURS))
def test_harm_is_noticed(sabotage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteurs: each breaks one promise, and the life that it spoils fails."""
    life, where, how = SABOTEURS[sabotage]
    real = pkgutil.resolve_name(where)
    monkeypatch.setattr(where, how(real))
    with pytest.raises(AssertionError):
        play(LIVES[life])


@pytest.mark.parametrize("forgets", [False, True])
def test_a_vendor_that_keeps_every_value_otherwise(forgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write of a town is kept with another number behind it, which must not be taken for news for ever.

    Saboteur: a push that forgets what the vendor made of its values never comes to rest.
    """
    real, number = Vendor._one, itertools.count()

    def stamped(self: Vendor, order: Order) -> Any:
        town = order.fields.get("town")
        fields = {**order.fields, "town": f"{town.split()[0]} {next(number)}"} if town else order.fields
        return real(self, dataclasses.replace(order, fields=fields))

    monkeypatch.setattr(Vendor, "_one", stamped)
    if forgets:
        monkeypatch.setattr(
            "app.push.settling.held_now", lambda _connection, planned, _receipt: (dict(planned.sent), {})
        )
    harm = Harm()
    try:
        for act in LIVES["a claim that loses"]:
            harm.act(*act)
        if forgets:
            with pytest.raises(AssertionError, match="does not come to rest"):
                harm.w.settle()
        else:
            harm.w.settle()
            assert sum(len(v.calls) for v in harm.w.vendors.values()) <= CALLS_TO_BEGIN
    finally:
        harm.close()
