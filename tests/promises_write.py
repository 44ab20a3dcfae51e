"""What a connector that claims WRITE or ARCHIVE promises of ``write``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from connectors.contract import (
    Can,
    Done,
    Exists,
    Failed,
    Gone,
    Order,
    Problem,
    Receipt,
    Record,
    Refused,
    TryLater,
    Verb,
)
from tests.promise import SCRIPTS, STEPS, Promises, promise
from tests.stage import CONTACT, MARK, Stage, problems, unreachable

NEW = f"{MARK.lower()}.new@people.example"


class Write(Promises):
    """See the module."""

    # --- what is written ----------------------------------------------------------------------------------------------

    @promise(Can.WRITE)
    def test_a_create_makes_one_record(self) -> None:
        """A new person is Done, under an id that reads back with exactly what was said."""
        stage = self.stage()
        (receipt,) = self.write(stage, [self.create("k1", NEW)])
        assert isinstance(receipt, Done), receipt
        assert self.holding(stage, NEW) == 1
        if Can.READ in self.kind.can:
            assert self.told(self.get(stage, receipt.id)) == (NEW, f"{MARK} new", f"{MARK} other")

    @promise(Can.WRITE)
    def test_an_update_changes_what_it_names_and_nothing_else(self) -> None:
        """A field that is named is set; one that is absent is not even sent."""
        stage = self.stage()
        id_, seed = stage.vendor.ids[1], stage.people[1]
        (receipt,) = self.write(stage, [self.update("k1", stage, 1, text="Changed")])
        assert isinstance(receipt, Done), receipt
        assert receipt.id == id_
        sent = b"".join(request.content for request in stage.calls if self.example.writes(request))
        assert sent, "nothing was written"
        for form in (seed.other, orjson.dumps(seed.other).decode()[1:-1], seed.other.encode("unicode_escape").decode()):
            assert form.encode() not in sent, f"{self.example.other_field} was sent, although it is absent"
        if Can.READ in self.kind.can:
            assert self.told(self.get(stage, id_)) == (seed.email, "Changed", seed.other)

    @promise(Can.WRITE)
    def test_none_clears_and_falsy_values_arrive(self) -> None:
        """None empties the field and leaves the others; 0 and False are values like any other."""
        stage = self.stage()
        id_, seed, e = stage.vendor.ids[1], stage.people[1], self.example
        orders = [self.update("k1", stage, 1, text=None)]
        orders += [Order(f"f{n}", CONTACT, Verb.UPDATE, {k: v}, id=id_) for n, (k, v) in enumerate(e.falsy.items())]
        for order in orders:
            (receipt,) = self.write(stage, [order])
            assert isinstance(receipt, Done), receipt
        if Can.READ in self.kind.can:
            record = self.get(stage, id_)
            value = record.fields.get(e.text_field)
            assert any(value == c and type(value) is type(c) for c in e.cleared), "None did not clear the field"
            assert self.told(record)[2] == seed.other
            for name, wanted in e.falsy.items():
                assert record.fields.get(name) == wanted, f"{name} should hold {wanted!r}"

    @promise(Can.WRITE)
    def test_the_wire_is_as_the_vendor_describes(self) -> None:
        """The request of an update is the one on the vendor's page, where the Example says it."""
        if self.example.wire is None:
            pytest.skip("the Example says no wire")
        stage = self.stage()
        id_ = stage.vendor.ids[1]
        self.write(stage, [self.update("k1", stage, 1, text="Changed")])
        said = [(r.method, r.url.path, orjson.loads(r.content)) for r in stage.calls if self.example.writes(r)]
        assert said == [tuple(one) for one in self.example.wire(id_)]

    @promise(Can.WRITE)
    def test_the_same_order_is_the_same_request(self) -> None:
        """Twice the same order is twice the same request, idempotency key included."""
        calls = []
        for _ in range(2):
            stage = self.stage()
            self.write(stage, [self.create("k1", NEW), self.update("k2", stage, 1, text="Changed")])
            calls.append([(r.method, str(r.url), r.content, sorted(r.headers.items())) for r in stage.calls])
        assert calls[0] == calls[1], "the second try differs from the first"

    # --- one receipt per order ----------------------------------------------------------------------------------------

    @promise(Can.WRITE)
    def test_each_order_has_its_receipt(self) -> None:
        """Good, refused, gone and existing in one batch: each has its own receipt, in the order of the orders."""
        self.need(missing=self.example.missing, bad=self.example.bad)
        stage, e = self.stage(), self.example
        bad = {**self.fields(f"bad.{NEW}", f"{MARK} bad", f"{MARK} bad"), **e.bad}
        known = self.fields(f"gone.{NEW}", f"{MARK} gone", "")
        orders = [
            self.update("k1", stage, 0, text="Changed"),
            self.create("k2", NEW),
            Order("k3", CONTACT, Verb.CREATE, bad),
            self.update("k4", stage, 2, text="Changed"),
            Order("k5", CONTACT, Verb.UPDATE, {e.text_field: "Changed"}, id=e.missing, known=known),
            self.create("k6", stage.people[3].email),
            self.update("k7", stage, 4, text=None),
        ]
        receipts = self.write(stage, orders)
        kinds = [type(r.problem if isinstance(r, Failed) else r) for r in receipts]
        assert kinds == [Done, Done, Refused, Done, Gone, Exists, Done]
        assert self.holding(stage, NEW) == 1
        if Can.READ in self.kind.can:
            assert [self.told(self.get(stage, stage.vendor.ids[n]))[1] for n in (0, 2)] == ["Changed", "Changed"]

    @promise(Can.WRITE)
    def test_no_orders_are_no_receipts(self) -> None:
        """Nothing to write calls nobody."""
        stage = self.stage()
        assert list(stage.it.write([])) == []
        assert not stage.calls

    @promise(Can.WRITE)
    def test_an_update_of_nobody_is_gone(self) -> None:
        """An update never makes a record."""
        self.need(missing=self.example.missing)
        stage, e = self.stage(), self.example
        known = self.fields(NEW, f"{MARK} gone", f"{MARK} gone")
        (receipt,) = self.write(
            stage, [Order("k1", CONTACT, Verb.UPDATE, {e.text_field: "Changed"}, id=e.missing, known=known)]
        )
        assert isinstance(receipt, Gone), receipt
        assert self.holding(stage, NEW) == 0

    # --- creates ------------------------------------------------------------------------------------------------------

    @promise(Can.WRITE)
    def test_a_create_never_overwrites(self) -> None:
        """A record that is there is Exists, with a ref to it, and as it was, however the address is spelled."""
        for spelled in (str.lower, str.upper):
            stage = self.stage()
            id_, seed = stage.vendor.ids[3], stage.people[3]
            for again in (False, True):
                (receipt,) = self.write(stage, [self.create("k1", spelled(seed.email), again=again)])
                assert isinstance(receipt, Exists), receipt
                assert receipt.ref.value.lower() == (id_ if receipt.ref.key == "id" else seed.email).lower()
                assert self.holding(stage, seed.email) == 1
                if Can.READ in self.kind.can:
                    assert self.told(self.get(stage, id_)) == (seed.email, seed.text, seed.other), "it was overwritten"

    @promise(Can.WRITE)
    def test_a_create_whose_answer_was_lost_may_have_landed(self) -> None:
        """A time-out after sending is TryLater(landed); the next try finds what is there and makes no second."""
        stage = self.stage()
        stage.script = stage.lost
        (receipt,) = self.write(stage, [self.create("k1", NEW)])
        assert isinstance(receipt, Failed), receipt
        assert isinstance(receipt.problem, TryLater)
        assert receipt.problem.landed, "it may have landed, but the receipt denies it"
        assert self.holding(stage, NEW) == 1
        stage.script = lambda _: None
        for _ in range(2):
            (receipt,) = self.write(stage, [self.create("k1", NEW, again=True)])
            assert isinstance(receipt, (Done, Exists)), receipt
            assert self.holding(stage, NEW) == 1, "the second try made a second record"

    @promise(Can.WRITE)
    def test_a_second_try_creates_what_is_not_there(self) -> None:
        """Where the first try did not land, the second does."""
        stage = self.stage()
        stage.script = unreachable
        (receipt,) = self.write(stage, [self.create("k1", NEW)])
        assert isinstance(receipt, Failed)
        assert isinstance(receipt.problem, TryLater)
        assert not receipt.problem.landed, "nothing was sent, so nothing has landed"
        stage.script = lambda _: None
        (receipt,) = self.write(stage, [self.create("k1", NEW, again=True)])
        assert isinstance(receipt, Done), receipt
        assert self.holding(stage, NEW) == 1

    # --- when the vendor does not play along --------------------------------------------------------------------------

    @promise(Can.WRITE)
    def test_every_order_names_its_next_step(self) -> None:
        """Whatever the vendor answers to everything, each order has a receipt with the next step."""
        self.need(error=self.example.error)
        for status, _ in STEPS:
            for problem in self.failures(lambda s, n=status: s.error(n)):
                self.step(problem, status)
        for script in SCRIPTS:
            for problem in self.failures(lambda _, s=script: s):
                assert isinstance(problem, TryLater), f"{script.__name__}: TryLater, not {type(problem).__name__}"

    @promise(Can.WRITE)
    def test_a_receipt_tells_no_secret_and_nobody(self) -> None:
        """Where the vendor repeats key, address and values in its error, the receipt does not."""
        self.need(error=self.example.error)
        for status in (400, 401, 403, 429, 500):
            stage = self.stage()
            seed = stage.people[0]
            said = f"Key {' '.join(stage.shown())} may not set {MARK} new for {NEW} ({seed.email})"
            stage.script = stage.error(status, said)
            receipts = self.write(stage, [self.create("k1", NEW), self.update("k2", stage, 0, text=f"{MARK} new")])
            assert len(problems(receipts)) == 2

    # --- archive ------------------------------------------------------------------------------------------------------

    @promise(Can.WRITE, Can.ARCHIVE)
    def test_an_archived_record_is_out_of_the_way(self) -> None:
        """Archive is Done for one that is there; nobody else is touched; for nobody it is Gone, or Done."""
        self.need(missing=self.example.missing)
        stage = self.stage()
        orders = [
            Order("k1", CONTACT, Verb.ARCHIVE, {}, id=stage.vendor.ids[1], known=self.known(stage, 1)),
            Order("k2", CONTACT, Verb.ARCHIVE, {}, id=self.example.missing),
        ]
        receipts = self.write(stage, orders)
        assert isinstance(receipts[0], Done), receipts[0]
        assert isinstance(receipts[1], (Gone, Done)), receipts[1]
        there = [email.lower() for email in stage.vendor.emails()]
        assert there == [seed.email for n, seed in enumerate(stage.people) if n != 1]
        if Can.READ in self.kind.can:
            assert all(record.archived for record in stage.it.read(CONTACT, [stage.vendor.ids[1]]))

    # --- erase --------------------------------------------------------------------------------------------------------

    @promise(Can.WRITE, Can.ERASE)
    def test_an_erased_record_is_gone_for_good(self) -> None:
        """Erase is Done for one that is there, and it cannot be read any more; for nobody it is Gone, or Done."""
        self.need(missing=self.example.missing)
        stage = self.stage()
        orders = [
            Order("k1", CONTACT, Verb.ERASE, {}, id=stage.vendor.ids[1]),
            Order("k2", CONTACT, Verb.ERASE, {}, id=self.example.missing),
        ]
        receipts = self.write(stage, orders)
        assert isinstance(receipts[0], Done), receipts[0]
        assert isinstance(receipts[1], (Gone, Done)), receipts[1]
        there = [email.lower() for email in stage.vendor.emails()]
        assert there == [seed.email for n, seed in enumerate(stage.people) if n != 1]
        if Can.READ in self.kind.can:
            assert stage.it.read(CONTACT, [stage.vendor.ids[1]]) == []

    # --- tools --------------------------------------------------------------------------------------------------------

    def create(self, key: str, email: str, *, again: bool = False) -> Order:
        """An order for a new person."""
        return Order(key, CONTACT, Verb.CREATE, self.fields(email, f"{MARK} new", f"{MARK} other"), again=again)

    def update(self, key: str, stage: Stage, n: int, *, text: object) -> Order:
        """An order that sets the text of the n-th person."""
        fields = {self.example.text_field: text}
        return Order(key, CONTACT, Verb.UPDATE, fields, id=stage.vendor.ids[n], known=self.known(stage, n))

    def known(self, stage: Stage, n: int) -> dict[str, Any]:
        """What is believed of the n-th person."""
        seed = stage.people[n]
        return self.fields(seed.email, seed.text, seed.other)

    def write(self, stage: Stage, orders: Sequence[Order]) -> Sequence[Receipt]:
        """Write; there is one receipt per order, in their order, and none of them tells what it must not."""
        receipts = stage.it.write(orders)
        assert [r.key for r in receipts] == [o.key for o in orders], "not one receipt per order, in their order"
        self.clean(*receipts, *problems(receipts), where="receipts")
        return receipts

    def failures(self, script: Any) -> list[Problem]:
        """The problems of a small batch of each verb while the vendor answers so; none was done."""
        stage = self.stage()
        stage.script = script(stage)
        found: list[Problem] = []
        for orders in (
            [self.create("k1", NEW), self.create("k2", f"2{NEW}")],
            [self.update("k3", stage, 0, text="Changed"), self.update("k4", stage, 1, text=None)],
        ):
            receipts = self.write(stage, orders)
            assert len(problems(receipts)) == len(orders), "a receipt of success without success"
            found += problems(receipts)
        return found

    def get(self, stage: Stage, id_: str) -> Record:
        """The record as it is now."""
        (record,) = stage.it.read(CONTACT, [id_])
        return record

    def holding(self, stage: Stage, email: str) -> int:
        """How many records have this address."""
        return [e.lower() for e in stage.vendor.emails()].count(email.lower())
