"""What named people do: sign a version, accept a lead, give it back, take it back, move it.

A word that the agreement refuses is not kept; the person hears why.  One that is not as agreed (given back without a
reason, or before it was tried) is kept and flagged: both teams see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection as Db

from app.agreement.leads import Known, refold
from app.agreement.load import Agreement
from app.agreement.versions import in_force
from app.agreement.words import Finding, Judgement, Lead, Team, Word
from app.core.db import clock_of
from app.core.errors import NotFound, NotPossible
from app.core.words import OPERATOR
from app.records import contacts as people
from app.records import leads, merges
from app.sync.connection import Connections


@dataclass(frozen=True, slots=True)
class Signed:
    """A version with a new signature.  ``since``: from when on it holds (ms); None while the other's is missing."""

    number: int
    digest: str
    since: int | None
    missing: Team | None


def sign(
    db: Db, agreement: Agreement, customs: Mapping[str, str], team: Team, by: str, *, since: int | None = None
) -> Signed:
    """Sign for one team.  ``since``: the moment from which it is to hold (ms); None = from the second signature.

    Raises NotPossible where this team has signed it, where the two wish for different moments, or for one in the past
    although there is a version in force already.
    """
    now = clock_of(db)
    number = leads.enter(
        db, agreement.digest, agreement.title, agreement.text, {n: str(k) for n, k in customs.items()}, now
    )
    row = leads.version(db, number)
    if row[f"{team}_at"] is not None:
        raise NotPossible(f"{row[f'{team}_by']} signed version {number} for {team} before")
    wished = row["wished"]
    if since is not None and wished is not None and since != wished:
        who = row["marketing_by"] if row["sales_by"] is None else row["sales_by"]
        raise NotPossible(f"{who} signed it to hold from another moment")
    wished = since if since is not None else wished
    first = not any(r["in_force"] is not None for r in leads.versions(db))
    if wished is not None and wished < now and not first and row["wished"] is None:
        raise NotPossible("there is a version in force: a new one holds from its second signature on, or later")
    values = {**row, f"{team}_at": now}
    since = in_force(values["sales_at"], values["marketing_at"], wished, first=first)
    signature = {f"{team}_at": now, f"{team}_by": by}
    swept = {"in_force": since, "swept": 0} if since is not None else {}
    leads.sign(db, number, wished=wished, **signature, **swept)
    other = Team.MARKETING if team is Team.SALES else Team.SALES
    return Signed(number, agreement.digest, since, None if since is not None else other)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What became of a word, and how the lead stands now."""

    contact: int
    judgement: Judgement
    lead: Lead


def say(
    db: Db,
    connections: Connections,
    known: Known,
    contact: int,
    word: Word,
    team: Team,
    by: str,
    *,
    value: str | None = None,
    reason: str | None = None,
) -> Spoken:
    """Let a named person say something about a lead.  Raises NotFound, NotPossible where the agreement refuses it."""
    now = clock_of(db)
    if not people.load(db, [contact]):
        raise NotFound(f"there is no contact {contact}")
    if leads.governed_since(db) is None:
        raise NotPossible("no agreement is in force; `tandem agreement sign` puts one in force, once both have signed")
    contact = merges.standing_for(db, contact)
    line = {"contact_id": contact, "at": now, "word": str(word), "value": value, "reason": reason}
    (number,) = leads.say(db, [{**line, "team": str(team), "source": OPERATOR, "by": by}], now)
    lead = refold(db, connections, known.versions(db), [contact], now)[contact]
    judgement = lead.judgements[number]
    if judgement.finding is Finding.REFUSED:
        raise NotPossible(judgement.why)
    return Spoken(contact, judgement, lead)
