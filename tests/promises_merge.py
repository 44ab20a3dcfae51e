"""What a connector that claims MERGE promises of ``write``."""

from __future__ import annotations

from typing import Any

from connectors.contract import Can, Done, Failed, Gone, Order, Problem, TryLater, Verb
from tests.promise import SCRIPTS, STEPS, ids, promise
from tests.promises_write import NEW, Write
from tests.stage import CONTACT, Stage, problems, seeds, unreachable

WINNER, LOSER = 1, 3  # which of the people are merged


class Merge(Write):
    """See the module."""

    @promise(Can.WRITE, Can.MERGE)
    def test_the_merged_live_on_as_one(self) -> None:
        """A merge is Done under the id of one record, which has the winner's values; the other is there no more."""
        stage = self.stage()
        (receipt,) = self.write(stage, [self.merge("k1", stage)])
        assert isinstance(receipt, Done), receipt
        assert self.away(stage), "the loser is still a record of its own, or somebody else is gone"
        if Can.READ in self.kind.can:
            winner = stage.people[WINNER]
            survivor = self.get(stage, receipt.id)
            assert survivor.id == receipt.id
            assert self.told(survivor) == (winner.email, winner.text, winner.other)

    @promise(Can.WRITE, Can.MERGE, Can.READ)
    def test_a_merged_id_is_answered_by_the_survivor(self) -> None:
        """The loser's id leads to the survivor, which names it among its former ids; so does the winner's."""
        stage = self.stage()
        (receipt,) = self.write(stage, [self.merge("k1", stage)])
        assert isinstance(receipt, Done), receipt
        for n in (WINNER, LOSER):
            asked = stage.vendor.ids[n]
            for it in (stage.it, stage.connector()):
                found = it.read(CONTACT, [asked])
                assert ids(found) == [receipt.id], "an id does not lead where the receipt says"
                assert asked in {found[0].id, *found[0].former_ids}, "it does not say that this was its id"
        assert len(stage.it.read(CONTACT, list(stage.vendor.ids))) == len(stage.people) - 1

    @promise(Can.WRITE, Can.MERGE)
    def test_a_merge_disturbs_no_other_order(self) -> None:
        """Between others a merge has its own receipt, in its place, and the others are carried out; so is a second."""
        self.need(missing=self.example.missing)
        stage = self.stage(count=6)
        orders = [
            self.update("k1", stage, 0, text="Changed"),
            self.merge("k2", stage),
            self.create("k3", NEW),
            self.merge("k4", stage, loser=self.example.missing),
            self.update("k5", stage, 4, text="Changed"),
            self.merge("k6", stage, loser=stage.vendor.ids[5]),
        ]
        receipts = self.write(stage, orders)
        assert [type(r) for r in receipts] == [Done, Done, Done, Gone, Done, Done]
        there = sorted(email.lower() for email in stage.vendor.emails())
        assert there == sorted([NEW, *(stage.people[n].email for n in (0, WINNER, 2, 4))])
        if Can.READ in self.kind.can:
            assert [self.told(self.get(stage, stage.vendor.ids[n]))[1] for n in (0, 4)] == ["Changed", "Changed"]

    @promise(Can.WRITE, Can.MERGE)
    def test_a_merge_of_nobody_is_gone(self) -> None:
        """Where one of the two is not there, the order is Gone, and the other stays as it was."""
        self.need(missing=self.example.missing)
        for missing in (0, 1):
            stage = self.stage()
            both = [stage.vendor.ids[WINNER], stage.vendor.ids[LOSER]]
            both[missing] = self.example.missing
            (receipt,) = self.write(stage, [self.merge("k1", stage, winner=both[0], loser=both[1])])
            assert isinstance(receipt, Gone), receipt
            assert [email.lower() for email in stage.vendor.emails()] == [seed.email for seed in stage.people]

    @promise(Can.WRITE, Can.MERGE)
    def test_a_merge_whose_answer_was_lost_may_have_landed(self) -> None:
        """A time-out after sending is TryLater(landed); the next try finds it done, under the survivor's id."""
        stage = self.stage()
        stage.script = stage.lost
        (receipt,) = self.write(stage, [self.merge("k1", stage)])
        assert isinstance(receipt, Failed), receipt
        assert isinstance(receipt.problem, TryLater)
        assert receipt.problem.landed, "it may have landed, but the receipt denies it"
        assert self.away(stage)
        stage.script = lambda _: None
        for _ in range(2):
            (receipt,) = self.write(stage, [self.merge("k1", stage, again=True)])
            assert isinstance(receipt, Done), receipt
            assert self.away(stage)
            if Can.READ in self.kind.can:
                assert self.get(stage, receipt.id).id == receipt.id

    @promise(Can.WRITE, Can.MERGE)
    def test_a_second_try_merges_what_is_still_apart(self) -> None:
        """Where the first try did not land, the second does."""
        stage = self.stage()
        stage.script = unreachable
        (receipt,) = self.write(stage, [self.merge("k1", stage)])
        assert isinstance(receipt, Failed)
        assert isinstance(receipt.problem, TryLater)
        assert not receipt.problem.landed, "nothing was sent, so nothing has landed"
        stage.script = lambda _: None
        (receipt,) = self.write(stage, [self.merge("k1", stage, again=True)])
        assert isinstance(receipt, Done), receipt
        assert self.away(stage)

    @promise(Can.WRITE, Can.MERGE)
    def test_every_merge_names_its_next_step(self) -> None:
        """Whatever the vendor answers to everything, a merge has a receipt with the next step, and no secret in it."""
        self.need(error=self.example.error)

        for status, _ in STEPS:
            said = f"may not merge {seeds(LOSER + 1)[LOSER].email}"
            for problem in self.troubles(lambda s, n=status, t=said: s.error(n, f"{' '.join(s.shown())} {t}")):
                self.step(problem, status)
        for script in SCRIPTS:
            for problem in self.troubles(lambda _, s=script: s):
                assert isinstance(problem, TryLater), f"{script.__name__}: TryLater, not {type(problem).__name__}"

    # --- tools --------------------------------------------------------------------------------------------------------

    def merge(
        self, key: str, stage: Stage, *, winner: str | None = None, loser: str | None = None, again: bool = False
    ) -> Order:
        """An order to merge; by default the one of LOSER into that of WINNER."""
        into = winner if winner is not None else stage.vendor.ids[WINNER]
        what = loser if loser is not None else stage.vendor.ids[LOSER]
        return Order(key, CONTACT, Verb.MERGE, {}, id=into, again=again, loser=what)

    def troubles(self, script: Any) -> list[Problem]:
        """The problems of two merges while the vendor answers so; none was done."""
        stage = self.stage()
        stage.script = script(stage)
        receipts = self.write(stage, [self.merge("k1", stage), self.merge("k2", stage, loser=stage.vendor.ids[4])])
        assert len(problems(receipts)) == 2, "a receipt of success without success"
        return problems(receipts)

    def away(self, stage: Stage) -> bool:
        """Whether just the loser is no record of its own any more."""
        there = sorted(email.lower() for email in stage.vendor.emails())
        return there == sorted(seed.email for n, seed in enumerate(stage.people) if n != LOSER)
