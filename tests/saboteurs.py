"""Acme's connector, broken in one way each.  In: the honest one.  Out: saboteurs, each with the promise it breaks."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx

from connectors import _signing as signing
from connectors._http import Http
from connectors._oauth_facts import OAuth
from connectors.contract import (
    Can,
    Delivery,
    Done,
    Event,
    Exists,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Order,
    Page,
    Problem,
    Receipt,
    Received,
    Record,
    Ref,
    Refused,
    Schema,
    TryLater,
    Unreadable,
    Verb,
)
from tests.acme import ACME, HEADER, Acme, AcmeApi
from tests.conformance import Example

BITES: list[tuple[type[Acme], str, Example]] = []
"""(saboteur, the promise that must fail, the Example with which it must)."""


def breaks(*promises: str, example: Example = ACME) -> Callable[[type[Acme]], type[Acme]]:
    """Enter a saboteur with the promises that it breaks."""

    def enter(kind: type[Acme]) -> type[Acme]:
        BITES.extend((kind, f"test_{promise}", example) for promise in promises)
        return kind

    return enter


# --- about itself -----------------------------------------------------------------------------------------------------


@breaks("oauth_takes_the_place_of_its_key")
class AlwaysSendsItsKey(Acme):
    """Has OAuth, and wants a static key all the same."""

    oauth = OAuth("https://acme.example/token", "https://acme.example/authorize", instead_of="token")


@breaks("it_declares_itself")
class AnyHost(Acme):
    hosts: ClassVar[frozenset[str]] = frozenset({"*"})


@breaks("it_needs_its_required_settings")
class TakesNothing(Acme):
    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        self._settings, self._http, self._secrets = settings, http, ()


@breaks("its_repr_holds_no_secret")
class ChattyRepr(Acme):
    def __repr__(self) -> str:
        return f"<Acme {self._settings}>"


@breaks("check_says_who_we_are")
class ChattyCheck(Acme):
    def check(self) -> str:
        return f"{super().check()} with {self._settings['api_key']}"


@breaks("what_it_does_not_claim_is_unsupported")
class SilentNoOp(Acme):
    can: ClassVar[frozenset[Can]] = frozenset(Can) - {Can.FIND}

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        return []


@breaks("what_it_does_not_claim_is_unsupported")
class ArchivesUnasked(Acme):
    can: ClassVar[frozenset[Can]] = frozenset(Can) - {Can.ARCHIVE}


@breaks("what_it_does_not_claim_is_unsupported")
class ErasesUnasked(Acme):
    can: ClassVar[frozenset[Can]] = frozenset(Can) - {Can.ERASE}


@breaks("what_it_does_not_claim_is_unsupported")
class MergesUnasked(Acme):
    can: ClassVar[frozenset[Can]] = frozenset(Can) - {Can.MERGE}


@breaks("only_allowed_hosts_are_called")
class ForeignHost(Acme):
    def check(self) -> str:
        httpx.get("https://statistics.example/")
        return super().check()


# --- deliveries -------------------------------------------------------------------------------------------------------


@breaks("a_delivery_is_exactly_its_events")
class DropsAnEvent(Acme):
    def receive(self, delivery: Delivery) -> Received:
        received = super().receive(delivery)
        return replace(received, events=received.events[:1])


@breaks("a_delivery_is_exactly_its_events")
class CallsWhileReceiving(Acme):
    def event(self, row: Mapping[str, Any]) -> Event:
        self.check()
        return super().event(row)


@breaks("a_spoiled_proof_is_untrusted", "a_spoiled_body_is_untrusted", "another_secret_is_untrusted")
class SkipsVerify(Acme):
    def verify(self, delivery: Delivery) -> None:
        pass


@breaks("a_spoiled_proof_is_untrusted")
class UnpacksBlindly(Acme):
    def verify(self, delivery: Delivery) -> None:
        stamp, given = delivery.headers.get(HEADER, "").split(",")
        wanted = signing.hmac_sha256_hex(self._secrets[0], stamp.removeprefix("t="), ".", delivery.body)
        signing.require([given.removeprefix("v1=")], [wanted])


@breaks("a_spoiled_body_is_untrusted")
class VerifiesText(Acme):
    def verify(self, delivery: Delivery) -> None:
        delivery.body.decode()
        super().verify(delivery)


@breaks("an_empty_secret_trusts_nobody")
class EmptySecret(Acme):
    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        self._settings, self._http = settings, http

    def verify(self, delivery: Delivery) -> None:
        if self._settings["webhook_secret"].strip(" ,"):
            self._secrets = signing.secrets(self._settings["webhook_secret"])
            super().verify(delivery)


@breaks("a_stale_delivery_is_untrusted")
class NoTolerance(Acme):
    def fresh(self, delivery: Delivery, stamp: str) -> None:
        pass


@breaks("both_secrets_count_while_one_is_rotated")
class OneSecret(Acme):
    def verify(self, delivery: Delivery) -> None:
        self._secrets = self._secrets[:1]
        super().verify(delivery)


@breaks("signed_junk_is_unreadable")
class TrustsJunk(Acme):
    def receive(self, delivery: Delivery) -> Received:
        self.verify(delivery)
        return Received(tuple(self.event(row) for row in json.loads(delivery.body)["events"]))


@breaks("signed_junk_is_unreadable")
class IgnoresJunk(Acme):
    def receive(self, delivery: Delivery) -> Received:
        try:
            return super().receive(delivery)
        except Unreadable:
            return Received()


@breaks("an_unknown_type_is_ignored")
class RefusesTheUnknown(Acme):
    def receive(self, delivery: Delivery) -> Received:
        received = super().receive(delivery)
        return received if received.events else Received((), replace(received.answer, status=400))


@breaks("the_same_happening_has_the_same_key")
class CountsTries(Acme):
    def dedupe(self, row: Mapping[str, Any]) -> str:
        return f"{row['id']}-{row['try']}"


@breaks("different_happenings_have_different_keys")
class KeysByPerson(Acme):
    def dedupe(self, row: Mapping[str, Any]) -> str:
        return str(row["person"])


@breaks("events_have_aware_times_and_show_nobody", "read_gives_the_records_of_these_ids")
class NaiveTimes(Acme):
    def time(self, text: str) -> datetime:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


# --- reading ----------------------------------------------------------------------------------------------------------


@breaks("read_gives_the_records_of_these_ids", "read_leaves_out_what_does_not_exist")
class TrustsTheOrder(Acme):
    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        return [replace(r, id=i) for i, r in zip(ids, super().read(kind, ids), strict=False)]


@breaks("read_gives_the_records_of_these_ids")
class LogsPeople(Acme):
    def record(self, row: Mapping[str, Any]) -> Record:
        logging.getLogger("acme").debug("read %s", row["email"])
        return super().record(row)


@breaks("read_never_cuts_off_in_silence")
class CutsOff(Acme):
    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        return super().read(kind, ids[: self.limits.read_batch])


@breaks("read_names_the_next_step")
class IgnoresRetryAfter(Acme):
    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        try:
            return super().read(kind, ids)
        except TryLater:
            raise TryLater("acme: later") from None


@breaks("read_names_the_next_step")
class NeverGivesUp(Acme):
    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        try:
            return super().read(kind, ids)
        except NeedsHuman as error:
            raise TryLater(str(error)) from None


@breaks("find_by_address_ignores_case")
class MindsCase(Acme):
    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        return [r for r in super().find(kind, key, values) if r.fields["email"] in values]


@breaks("find_names_the_next_step")
class FindsNobodyInTrouble(Acme):
    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        try:
            return super().find(kind, key, values)
        except Problem:
            return []


@breaks("describe_gives_fields_with_types_and_options")
class NoOptions(Acme):
    def describe(self, kind: Kind) -> Schema:
        schema = super().describe(kind)
        return replace(schema, properties={n: replace(p, options=None) for n, p in schema.properties.items()})


@breaks("describe_names_the_next_step")
class DescribesInTrouble(Acme):
    def describe(self, kind: Kind) -> Schema:
        try:
            return super().describe(kind)
        except TryLater:
            return Schema(kind, {})


@breaks("an_error_tells_no_secret_and_nobody")
class LeaksTheKey(Acme):
    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        try:
            return super().read(kind, ids)
        except Refused as error:
            raise Refused(f"{error} (key {self._settings['api_key']})") from None


# --- changes ----------------------------------------------------------------------------------------------------------


@breaks("a_walk_covers_everybody_and_ends")
class NeverEnds(Acme):
    def changed(self, kind: Kind, cursor: str | None) -> Page:
        return replace(super().changed(kind, cursor), more=True)


@breaks("a_walk_covers_everybody_and_ends", "equal_times_lose_nobody")
class LosesEqualTimes(Acme):
    def changed(self, kind: Kind, cursor: str | None) -> Page:
        page = super().changed(kind, cursor)
        return replace(page, cursor=json.dumps([json.loads(page.cursor)[0], "~"]))


@breaks("a_walk_is_taken_up_from_any_cursor")
class RemembersItself(Acme):
    """Keeps its place in the instance; after a restart it believes to be at the end."""

    place: str | None = None

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        if cursor is not None and self.place is None:
            return Page((), cursor, more=False)
        page = super().changed(kind, None if cursor is None else self.place)
        self.place = page.cursor
        return page


@breaks("the_last_cursor_goes_on_with_what_changes_later")
class StartsOver(Acme):
    def changed(self, kind: Kind, cursor: str | None) -> Page:
        page = super().changed(kind, cursor)
        return page if page.more else replace(page, cursor='["", ""]')


@breaks("a_change_during_a_walk_loses_nobody")
class CountsOffsets(Acme):
    """Walks by offset: what changes moves to the end, and everything behind it one place forward."""

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        since, offset = ("", 0) if cursor is None else json.loads(cursor)
        rows: list[Any] = []
        answer: Any = {"more": True}
        place = {"since": since, "after": "~"}
        while answer["more"]:
            answer = self.ask(place)
            rows += answer["people"]
            place = {"since": rows[-1]["updated_at"], "after": rows[-1]["id"]} if rows else place
        page, more = rows[offset : offset + 20], offset + 20 < len(rows)
        after = [since, offset + 20] if more else [rows[-1]["updated_at"] if rows else since, 0]
        return Page(tuple(map(self.record, page)), json.dumps(after), more=more)


@breaks("changed_names_the_next_step")
class EndsInTrouble(Acme):
    def changed(self, kind: Kind, cursor: str | None) -> Page:
        try:
            return super().changed(kind, cursor)
        except TryLater:
            return Page((), cursor if cursor is not None else '["", ""]', more=False)


# --- writing ----------------------------------------------------------------------------------------------------------


@breaks(
    "a_create_makes_one_record", "an_update_changes_what_it_names_and_nothing_else", "every_order_names_its_next_step"
)
class AlwaysDone(Acme):
    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        return [Done(order.key, order.id if order.id is not None else "p1") for order in orders]


@breaks("an_update_changes_what_it_names_and_nothing_else")
class SendsAll(Acme):
    def one(self, order: Order) -> Receipt:
        return super().one(replace(order, fields={**order.known, **order.fields}))


@breaks("none_clears_and_falsy_values_arrive")
class DropsFalsy(Acme):
    def body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value}


@breaks("none_clears_and_falsy_values_arrive")
class ClearsWithWords(Acme):
    def body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: "None" if value is None else value for name, value in fields.items()}


@breaks("the_wire_is_as_the_vendor_describes")
class SaysMore(Acme):
    def body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {**fields, "source": "tandem"}


class Forgetful(AcmeApi):
    """An Acme that lets an address be used twice: there only the idempotency key prevents doubles."""

    def post(self, body: Mapping[str, Any], key: str) -> httpx.Response:
        if key not in self.done:
            self.done[key] = self.put(body)["id"]
        return httpx.Response(201, json=self.rows[self.done[key]])


@breaks("the_same_order_is_the_same_request")
@breaks("a_create_whose_answer_was_lost_may_have_landed", example=replace(ACME, vendor=Forgetful))
class AnyKey(Acme):
    def key(self, order: Order) -> str:
        return uuid.uuid4().hex


@breaks("each_order_has_its_receipt")
class OneShort(Acme):
    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        return [r for r in super().write(orders) if not isinstance(r, Gone)]


@breaks("each_order_has_its_receipt")
class StopsAtTheFirst(Acme):
    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        receipts = list(super().write(orders))
        bad = next((r for r in receipts if isinstance(r, Failed)), None)
        return receipts if bad is None else [Failed(o.key, bad.problem) for o in orders]


@breaks("no_orders_are_no_receipts")
class CallsForNothing(Acme):
    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        self.check()
        return super().write(orders)


@breaks("an_update_of_nobody_is_gone")
class UpdatesNobody(Acme):
    def one(self, order: Order) -> Receipt:
        receipt = super().one(order)
        if isinstance(receipt, Gone) and order.verb is Verb.UPDATE:
            return self.create(replace(order, fields={**order.known, **order.fields}))
        return receipt


@breaks("a_create_never_overwrites")
class Overwrites(Acme):
    def create(self, order: Order) -> Receipt:
        receipt = super().create(order)
        if isinstance(receipt, Exists):
            self._http.send("PATCH", f"/people/{receipt.ref.value}", json=self.body(order.fields))
        return receipt


@breaks("a_create_never_overwrites")
class PointsElsewhere(Acme):
    def create(self, order: Order) -> Receipt:
        receipt = super().create(order)
        return replace(receipt, ref=Ref("p00001")) if isinstance(receipt, Exists) else receipt


@breaks("a_create_whose_answer_was_lost_may_have_landed")
class DeniesLanding(Acme):
    def create(self, order: Order) -> Receipt:
        try:
            return super().create(order)
        except TryLater as later:
            raise TryLater(str(later), after=later.after) from None


@breaks("a_second_try_creates_what_is_not_there")
class TrustsTheFirstTry(Acme):
    def create(self, order: Order) -> Receipt:
        if order.again:
            return Exists(order.key, Ref(str(order.fields["email"]), "email"))
        return super().create(order)


@breaks("every_order_names_its_next_step")
class LetsErrorsOut(Acme):
    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        return [self.one(order) for order in orders]


@breaks("every_order_names_its_next_step")
class TrustsAnyPage(Acme):
    def one(self, order: Order) -> Receipt:
        if order.verb is not Verb.UPDATE:
            return super().one(order)
        self._http.send("PATCH", f"/people/{order.id}", json=self.body(order.fields))
        return Done(order.key, str(order.id))


@breaks("a_receipt_tells_no_secret_and_nobody")
class QuotesTheOrder(Acme):
    def one(self, order: Order) -> Receipt:
        try:
            return super().one(order)
        except Refused as error:
            raise Refused(f"{error}: {dict(order.fields)}") from None


@breaks("an_erased_record_is_gone_for_good")
class ErasesNothing(Acme):
    def one(self, order: Order) -> Receipt:
        return Done(order.key, str(order.id)) if order.verb is Verb.ERASE else super().one(order)


@breaks("an_archived_record_is_out_of_the_way")
class ArchivesNothing(Acme):
    def one(self, order: Order) -> Receipt:
        return Done(order.key, str(order.id)) if order.verb is Verb.ARCHIVE else super().one(order)
