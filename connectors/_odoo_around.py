"""Odoo's companies, opportunities and users.  In: ids, cursors.  Out: records with who belongs to them, schemas.

A company is a partner as people are.  A person says which one they belong to, and companies list nobody.  An
opportunity is with one partner: a person, whose company it then is, or a company.  Names with a dot are ours:
``<link>.name`` is what a linked row is called, ``country_id.code`` a country's code, ``stage_id.name`` where an
opportunity stands, ``close.date`` when it closed or is expected to.

Sources: github.com/odoo/odoo, ``odoo/addons/base/models/res_partner.py`` and ``res_users.py``,
``addons/crm/models/crm_lead.py`` (won, lost, currency).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connectors import _odoo_walk as walk
from connectors._cursor import Turns
from connectors._odoo_calls import PARTNER, Found, Partners
from connectors._odoo_wire import (
    COUNTRY,
    FIELD,
    MODIFIED,
    NAME,
    PARENT,
    PEOPLE_FIELDS,
    REGION,
    is_id,
    link,
    person,
    plain,
    region,
    sources,
    time,
)
from connectors.contract import Kind, Page, Property, Record, Refused, Schema, Tie

LEAD: Final = "crm.lead"
USER: Final = "res.users"
MODELS: Final[Mapping[Kind, str]] = {Kind.COMPANY: PARTNER, Kind.DEAL: LEAD}
_WHICH: Final[Mapping[Kind, Sequence[Any]]] = {
    Kind.COMPANY: (["is_company", "=", True],),
    Kind.DEAL: (["type", "=", "opportunity"],),
}
STAGE, CLOSE = "stage_id.name", "close.date"
WON, LOST, ARCHIVED = "won", "lost", "archived"
_LINKED: Final = ".name"
_DEAL: Final = ("stage_id", "active", "probability", "won_status", "partner_id", "date_closed", "date_deadline")
_NEEDED: Final[Mapping[Kind, Sequence[str]]] = {
    Kind.COMPANY: (NAME, "is_company", "active", MODIFIED),
    Kind.DEAL: (NAME, "type", *_DEAL, MODIFIED),
}
_OURS: Final[Mapping[Kind, Mapping[str, tuple[str, str]]]] = {  # name -> type, label
    Kind.COMPANY: {COUNTRY: ("char", "Country code")},
    Kind.DEAL: {STAGE: ("char", "Stage; won, lost or archived of one that is"), CLOSE: ("date", "Closed, or expected")},
}
_TURNS: Final = {kind: Turns("odoo", (model,), walk.Poll) for kind, model in MODELS.items()}

Row = Mapping[str, Any]


def is_field(text: str) -> bool:
    """Whether this may be the name of a field of a company or an opportunity, ours or Odoo's."""
    ours = text in {COUNTRY, CLOSE} or text.endswith(_LINKED)
    return FIELD.fullmatch(text) is not None and ("." not in text or ours)


class Around:
    """What stands around the people of one database."""

    def __init__(self, partners: Partners, names: Mapping[Kind, Collection[str]]) -> None:
        """``names``: the fields to read of companies and opportunities."""
        self._partners = partners
        self._names = {kind: tuple(dict.fromkeys(names.get(kind, ()))) for kind in MODELS}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def facts(self, model: str) -> Mapping[str, Any]:
        """The fields of a model, asked for once: which there are depends on version and apps."""
        if model == PARTNER:
            return self._partners.facts()
        with self._lock:
            if model not in self._facts:
                self._facts[model] = self._partners.described(model)
            return self._facts[model]

    def read(self, kind: Kind, ids: Sequence[str]) -> list[Record]:
        """The records of these ids.  A partner that is no company, and a lead that is none yet, do not exist."""
        asked = [int(i) for i in dict.fromkeys(ids) if is_id(i)]
        found = self._partners.having(MODELS[kind], "id", asked, self._columns(kind), _WHICH[kind])
        return self._records(kind, list(found))

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """Of a window of time, by id; archived ones too, as an opportunity that is lost is archived."""
        model = MODELS[kind]
        _, states = _TURNS[kind].load(cursor)
        state = alone(states[model] if model in states else walk.Poll(walk.FIRST))
        found = self._partners.listed(model, [*_WHICH[kind], *walk.query(state)], state.after, self._columns(kind))
        records = self._records(kind, found.rows)
        states[model] = moved(state, found, found.full)
        cursor, more = _TURNS[kind].dump(model, states, more=states[model].start is not None)
        here = tuple(r for r in records if not r.archived)
        return Page(here, cursor, more=more, deleted=tuple(r.id for r in records if r.archived))

    def users(self, cursor: str | None) -> Page:
        """One page of the users who are colleagues, by id; those who were switched off as well."""
        if cursor is not None and not is_id(cursor):
            raise Refused("odoo: this cursor was not made here; start again without one", code="cursor")
        after = 0 if cursor is None else int(cursor)
        wanted = [n for n in (NAME, "login", "email", "active", "sale_team_id") if n in self.facts(USER)]
        found = self._partners.listed(USER, [["share", "=", False], ["id", ">", after]], after, wanted)
        last = "" if found.last is None else str(found.last)
        return Page(tuple(_user(row) for row in found.rows), last, more=found.full)

    def describe(self, kind: Kind) -> Schema:
        """The fields, what linked rows are called, and ours."""
        found = {}
        for name, about in self.facts(MODELS[kind]).items():
            label = str(about.get("string", ""))
            found[name] = Property(name, str(about["type"]), label, read_only=True)
            if about["type"] == "many2one":
                found[name + _LINKED] = Property(name + _LINKED, "char", label, read_only=True)
        for name, (type_, label) in _OURS[kind].items():
            found[name] = Property(name, type_, label, read_only=True)
        return Schema(kind, found)

    # --- rows as records ----------------------------------------------------------------------------------------------

    def _columns(self, kind: Kind) -> list[str]:
        known = self.facts(MODELS[kind])
        wanted = [*_NEEDED[kind], *sources(self._names[kind])]
        return [name for name in dict.fromkeys(wanted) if name in known and name != "id"]

    def _records(self, kind: Kind, rows: Sequence[Row]) -> list[Record]:
        types = {name: str(about["type"]) for name, about in self.facts(MODELS[kind]).items()}
        names = self._names[kind]
        codes = self._partners.countries() if COUNTRY in names and rows else {}
        people = self._people(rows) if kind is Kind.DEAL else {}
        made = []
        for row in rows:
            fields: dict[str, Any] = {}
            for name in names:
                outer, dot, _ = name.partition(".")
                if name == CLOSE:
                    fields[name] = _close(row)
                elif name == STAGE:
                    fields[name] = _stage(row)
                elif outer not in row:
                    continue
                elif name == COUNTRY:
                    at = link(row[outer])
                    fields[name] = None if at is None else codes.get(at[0])
                elif dot:
                    at = link(row[outer])
                    fields[name] = None if at is None else region(at[1]) if name == REGION else at[1]
                else:
                    fields[name] = plain(row[name], types.get(name, ""))
            ties = _ties(row, people) if kind is Kind.DEAL else {}
            archived = kind is Kind.COMPANY and row.get("active") is False
            made.append(Record(kind, str(row["id"]), fields, time(row.get(MODIFIED)), archived=archived, ties=ties))
        return made

    def _people(self, rows: Iterable[Row]) -> dict[int, Row]:
        """The partners of opportunities."""
        ids = sorted({at[0] for row in rows if (at := link(row.get("partner_id"))) is not None})
        return {row["id"]: row for row in self._partners.having(PARTNER, "id", ids, [*PEOPLE_FIELDS, PARENT])}


def alone(state: walk.Poll) -> walk.Poll:
    """A poll over one list only: it is walked as the last of a poll's lists."""
    return replace(walk.begin(state), phase=walk.OBJECTED)


def moved(state: walk.Poll, found: Found, full: bool) -> walk.Poll:
    """Where such a poll goes on after a page, of which there is more where it is ``full``."""
    newest = max((at for row in found.rows if (at := time(row.get(MODIFIED))) is not None), default=None)
    return walk.advance(state, found.last, full=full, now=found.at, newest=newest)


def _ties(row: Row, people: Mapping[int, Row]) -> dict[Kind, tuple[Tie, ...]]:
    at = link(row.get("partner_id"))
    if at is None:
        return {Kind.CONTACT: (), Kind.COMPANY: ()}
    partner = people.get(at[0])
    if partner is None:  # hidden from us: that says nothing
        return {}
    main = (Tie(str(at[0]), main=True),)
    if partner.get("is_company") is True:
        return {Kind.CONTACT: (), Kind.COMPANY: main}
    employer = link(partner.get(PARENT))
    of = () if employer is None else (Tie(str(employer[0]), main=True),)
    return {Kind.CONTACT: main if person(partner) else (), Kind.COMPANY: of}


def _stage(row: Row) -> str | None:
    """Where an opportunity stands: what it ended in, whether it is put away, else its stage."""
    status, active, chance = row.get("won_status"), row.get("active"), row.get("probability")
    if status in {WON, LOST}:
        return str(status)
    if status is None:  # before won_status there was: by what it is computed from
        if isinstance(chance, (int, float)) and chance >= 100:
            return WON
        if active is False and chance == 0:
            return LOST
    if active is False:
        return ARCHIVED
    at = link(row.get("stage_id"))
    if at is None:
        return None
    # A stage that somebody called so is no end.
    return f"{at[1]} (stage {at[0]})" if at[1] in {WON, LOST, ARCHIVED} else at[1]


def _close(row: Row) -> str | None:
    names = ("date_closed", "date_deadline") if _stage(row) in {WON, LOST} else ("date_deadline",)
    return next((text[:10] for n in names if isinstance(text := row.get(n), str) and text), None)


def _user(row: Row) -> Record:
    given = (row.get(n) for n in ("email", "login"))
    email = next((text for text in given if isinstance(text, str) and "@" in text), None)
    team = link(row.get("sale_team_id"))
    fields = {
        "email": email,
        "name": row[NAME] if row.get(NAME) else email,
        "team": None if team is None else team[1],
        "active": row.get("active") is not False,
    }
    return Record(Kind.COLLEAGUE, str(row["id"]), fields)
