"""Acme's connector, broken in the way it merges.  See ``tests.saboteurs``, whose list these enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors.contract import Done, Failed, Gone, Kind, Order, Receipt, Record, Refused, TryLater, Verb
from tests.acme import Acme
from tests.saboteurs import breaks


@breaks("the_merged_live_on_as_one", "every_merge_names_its_next_step")
class MergesNothing(Acme):
    def merge(self, order: Order) -> Receipt:
        return Done(order.key, str(order.id))


@breaks("the_merged_live_on_as_one")
class MergesTheOtherWay(Acme):
    def merge(self, order: Order) -> Receipt:
        return super().merge(replace(order, id=order.loser, loser=order.id))


@breaks("a_merged_id_is_answered_by_the_survivor")
class AnswersTheLoser(Acme):
    def merge(self, order: Order) -> Receipt:
        receipt = super().merge(order)
        return replace(receipt, id=str(order.loser)) if isinstance(receipt, Done) else receipt


@breaks("a_merged_id_is_answered_by_the_survivor")
class ForgetsFormerIds(Acme):
    def record(self, row: Mapping[str, Any]) -> Record:
        return replace(super().record(row), former_ids=())


@breaks("a_merged_id_is_answered_by_the_survivor")
class LosesMergedIds(Acme):
    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        return [r for r in super().read(kind, ids) if r.id in ids]


@breaks("a_merge_disturbs_no_other_order")
class MergesAlone(Acme):
    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        merges = [o for o in orders if o.verb is Verb.MERGE]
        later = TryLater("acme: a merge goes first")
        done = {r.key: r for r in super().write(merges if merges else orders)}
        return [done.get(o.key, Failed(o.key, later)) for o in orders]


@breaks("a_merge_disturbs_no_other_order")
class MergesOnce(Acme):
    """Takes all merges into one record for one merge."""

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        first: dict[str | None, str] = {}
        for order in orders:
            if order.verb is Verb.MERGE:
                first.setdefault(order.id, order.key)
        done = {r.key: r for r in super().write([o for o in orders if first.get(o.id, o.key) == o.key])}
        return [done.get(o.key, Done(o.key, str(o.id))) for o in orders]


@breaks("a_merge_of_nobody_is_gone")
class MergesNobody(Acme):
    def merge(self, order: Order) -> Receipt:
        receipt = super().merge(order)
        return Done(order.key, str(order.id)) if isinstance(receipt, Gone) else receipt


@breaks("a_merge_of_nobody_is_gone")
class RemovesTheLoser(Acme):
    def merge(self, order: Order) -> Receipt:
        receipt = super().merge(order)
        if isinstance(receipt, Gone):
            self._http.send("DELETE", f"/people/{order.loser}", take={404})
        return receipt


@breaks("a_merge_whose_answer_was_lost_may_have_landed")
class DeniesTheMerge(Acme):
    def merge(self, order: Order) -> Receipt:
        try:
            return super().merge(order)
        except TryLater as later:
            raise TryLater(str(later), after=later.after) from None


@breaks("a_merge_whose_answer_was_lost_may_have_landed")
class MergesBlindly(Acme):
    def merge(self, order: Order) -> Receipt:
        return super().merge(replace(order, again=False))


@breaks("a_second_try_merges_what_is_still_apart")
class TrustsTheFirstMerge(Acme):
    def merge(self, order: Order) -> Receipt:
        return Done(order.key, str(order.id)) if order.again else super().merge(order)


@breaks("every_merge_names_its_next_step")
class TrustsAnyMerge(Acme):
    def merge(self, order: Order) -> Receipt:
        self._http.send("POST", f"/people/{order.id}/merge", json={"loser": order.loser})
        return Done(order.key, str(order.id))


@breaks("every_merge_names_its_next_step")
class QuotesTheKey(Acme):
    def merge(self, order: Order) -> Receipt:
        try:
            return super().merge(order)
        except Refused as error:
            raise Refused(f"{error}: {self._settings['api_key']}") from None
