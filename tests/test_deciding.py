"""A named operator's word about consent: what it lifts, what it never lifts, and how it travels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotPossible
from app.core.words import Brake, Channel, Entry, Limit, Reason, Status, Writes
from app.push import ending
from app.records import contacts as people
from app.records import ledger
from app.repair import deciding, erasing
from app.repair.deciding import Word
from app.sync import consent
from connectors.contract import Side
from tests.apihelp import add_contacts, rows_of
from tests.test_consent_travels import ANN, CONSENT, mailing
from tests.test_consent_travels import world as travels
from tests.world import MAPPING, World

ADDRESS = "ann@x.org"
NEWS = """
  "email:news":
    theirs: news
    read: {{"no": withdrawn}}
    write: {{withdrawn: "no", granted: "yes"}}
"""
TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
GRANTED, WITHDRAWN = Status.GRANTED, Status.WITHDRAWN


def word(status: Status, *addresses: str, purpose: str = "", evidence: str | None = "signed form") -> Word:
    return Word(addresses if addresses else (ADDRESS,), Channel.EMAIL, purpose, status, "Kim", evidence)


def said(database: Database, *lines: tuple[str, str, str], at: int = 1_000) -> None:
    """Lines of the ledger: status, reason, purpose."""
    entries = [
        Entry(ADDRESS, Channel.EMAIL, purpose, Status(status), Reason(reason), "hub", at)
        for status, reason, purpose in lines
    ]
    with database.write() as db:
        ledger.append(db, [(e, None) for e in entries], at)


def decide(w: World, said: Word) -> dict[str, str]:
    held = w.database.transact(lambda db: deciding.decide(db, w.connections, said))
    return {address: str(state.status) for address, state in held.items()}


def plain(database: Database) -> World:
    return World(database, TWO, mapping_text=MAPPING + CONSENT + NEWS)


@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.ERASURE])
@pytest.mark.parametrize("status", ["withdrawn", "suppressed"])
def test_an_operators_grant_lifts_what_an_operator_may_lift(database: Database, status: str, reason: Reason) -> None:
    """Whatever was the reason, a bounce and a complaint included; but not where the table takes the operator off."""
    said(database, (status, reason, ""))
    assert decide(plain(database), word(GRANTED)) == {ADDRESS: "granted"}


def test_what_the_table_does_not_let_an_operator_lift_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saboteur: the rule is LIFTED_BY's, not this module's."""
    monkeypatch.setattr(consent, "LIFTED_BY", {Reason.COMPLAINT: frozenset({"double_opt_in"})})
    said(database, ("suppressed", "complaint", ""))
    with pytest.raises(NotPossible, match="it would lift nothing"):
        decide(plain(database), word(GRANTED))


@pytest.mark.parametrize(
    ("lines", "decided", "message"),
    [
        ([("suppressed", "erasure", "")], word(GRANTED), "stands against it for good .erasure."),
        ([("withdrawn", "unsubscribe", "")], word(GRANTED, purpose="news"), "withdrawn for everything stands against"),
        ([("withdrawn", "unsubscribe", "")], word(GRANTED, evidence=None), "a grant needs evidence"),
        ([], word(GRANTED, evidence=" \n"), "a grant needs evidence"),
        ([], word(WITHDRAWN, purpose="newz"), "nobody knows this purpose of email; known: news, or leave it out"),
        ([], Word((), Channel.SMS, "", WITHDRAWN, "Kim"), "no address for sms"),
    ],
    ids=["erased", "another purpose", "no evidence", "blank evidence", "misspelt purpose", "no address"],
)
def test_what_lifts_nothing_is_refused(database: Database, lines: list[Any], decided: Word, message: str) -> None:
    """Nobody is to believe that it counts; nothing is written down and nothing marked."""
    w = plain(database)
    said(database, *lines)
    before = rows_of(database, t.consent)
    with pytest.raises(NotPossible, match=message):
        decide(w, decided)
    assert rows_of(database, t.consent) == before
    assert rows_of(database, t.work) == []


def test_nothing_is_written_about_the_erased(database: Database) -> None:
    """Their address would be kept again."""
    w = plain(database)
    with database.write() as db:
        erasing.start(db, w.connections, ADDRESS, "Kim")
    for status in (GRANTED, WITHDRAWN):
        with pytest.raises(NotPossible, match="the person was erased"):
            decide(w, word(status))
    assert rows_of(database, t.consent) == []


def test_the_line_says_who_and_what_it_rests_on(database: Database) -> None:
    """Reason manual, source operator; the same moment as a withdrawal is no obstacle, nor a vendor's clock ahead."""
    far = 9_000_000_000_000
    said(database, ("withdrawn", "unsubscribe", ""), at=far)
    w = plain(database)
    assert decide(w, word(GRANTED, evidence=" by letter ")) == {ADDRESS: "granted"}
    line = rows_of(database, t.consent)[-1]
    assert (line["reason"], line["source"], line["actor"]) == ("manual", "operator", "Kim")
    assert (line["evidence"], line["at"]) == ({"operator": "by letter"}, far + 1)
    assert decide(w, word(WITHDRAWN, evidence=None)) == {ADDRESS: "withdrawn"}
    assert decide(w, word(GRANTED)) == {ADDRESS: "granted"}


@pytest.mark.parametrize(
    ("status", "there", "lane"), [(WITHDRAWN, "no", 0), (GRANTED, "yes", 1)], ids=["first lane", "usual lane"]
)
def test_it_travels_to_every_vendor(database: Database, status: Status, there: str, lane: int) -> None:
    """Both sides hold it then, and come to rest."""
    w = travels(database)
    w.vendors["hub"].put(None, {**ANN, "mailing": "never"})
    w.settle()
    if status is GRANTED:
        decide(w, word(WITHDRAWN))
        w.settle()
    decide(w, word(status))
    assert {(r["connection"], r["contact_id"], r["lane"]) for r in rows_of(database, t.work)} == {
        (name, 1, lane) for name in TWO
    }
    w.settle()
    assert (mailing(w, "hub"), mailing(w, "chimp")) == (there, there)
    assert w.settle() == 0


def test_who_is_not_known_yet_is_created_objecting(database: Database) -> None:
    """An objection counts before there is anybody; nobody is marked."""
    w = travels(database)
    assert decide(w, word(WITHDRAWN)) == {ADDRESS: "withdrawn"}
    assert rows_of(database, t.work) == []
    w.vendors["hub"].put(None, ANN)
    w.settle()
    assert (mailing(w, "hub"), mailing(w, "chimp")) == ("no", "no")


def test_a_grant_for_one_person_outweighs_what_was_discarded_for_many(database: Database) -> None:
    """A brake's discarded opt-ins are no decision about somebody who says yes to an operator."""
    w = travels(database)
    w.grant("hub")
    w.brake(chimp=Brake(3_600_000, {Writes.OPT_INS: Limit(0, 0.0)}))
    proof = {"mailing": "yes", "signed_up_from": "192.0.2.1", "signed_up_at": "2026-01-01T10:00:00+00:00"}
    w.vendors["hub"].put(None, ANN)
    w.settle()
    w.vendors["hub"].put("hub1", proof)
    w.settle()
    ending.discard(database, w.connections, "chimp", Writes.OPT_INS, "Kim")
    w.brake(chimp=Brake(3_600_000, {}))
    w.settle()
    assert mailing(w, "chimp") is None
    decide(w, word(GRANTED))
    w.settle()
    assert mailing(w, "chimp") == "yes"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(GRANTED, ["ann@x.org"]), (WITHDRAWN, ["ann@x.org", "ann@y.org"])],
    ids=["the one in use", "all but other people's own"],
)
def test_an_objection_binds_further_addresses(database: Database, status: Status, expected: Collection[str]) -> None:
    """A grant does not; and nobody else is stopped by it."""
    values = {"email": "ann@x.org", "email_alternates": ["ann@y.org", "bob@x.org"]}
    first, second = add_contacts(database, {"values": values}, {"values": {"email": "bob@x.org"}})
    add_key = t.contact_key.insert()
    with database.write() as db:
        db.execute(add_key.values(key="email", value="bob@x.org", contact_id=second, strong=1))
        contact = people.load(db, [first])[first]
        assert deciding.addresses_of(db, contact, Channel.EMAIL, status) == expected


def test_those_who_were_merged_are_told_of_too(database: Database) -> None:
    """A vendor that still has both records hears of both addresses."""
    w = travels(database)
    w.vendors["hub"].put(None, {**ANN, "mailing": "never"})
    w.vendors["hub"].put(None, {**ANN, "mail": "anna@y.org", "mailing": "never"})
    w.settle()
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    with database.read() as db:
        contact = people.load(db, [1])[1]
        addresses = deciding.addresses_of(db, contact, Channel.EMAIL, WITHDRAWN)
    assert addresses == ["ann@x.org", "anna@y.org"]
    decide(w, word(WITHDRAWN, *addresses))
    w.settle()
    assert {r.fields["mail"]: r.fields["mailing"] for r in w.vendors["chimp"].records.values()} == {
        "ann@x.org": "no",
        "anna@y.org": "no",
    }


def test_a_grant_that_is_taken_for_a_field_does_not_lift(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: without its evidence the operator's word is one like any other."""
    real = deciding._entry

    def bare(*args: Any) -> Entry:
        entry = real(*args)
        return Entry(entry.address, entry.channel, entry.purpose, entry.status, entry.reason, entry.source, entry.at)

    monkeypatch.setattr(deciding, "_entry", bare)
    said(database, ("withdrawn", "unsubscribe", ""))
    with pytest.raises(NotPossible, match="it would lift nothing"):
        decide(plain(database), word(GRANTED))


def test_connections_without_consent_are_left_alone(database: Database) -> None:
    """Nobody is marked for whom nothing could be said."""
    w = World(database, TWO)
    w.vendors["hub"].put(None, ANN)
    w.settle()
    decide(w, word(WITHDRAWN))
    assert rows_of(database, t.work) == []
