"""HubSpot's companies, deals and owners, with who belongs to them.  In: ids, cursors.  Out: records with their ties.

Associations are read in batches with each page (v4), since neither lists nor searches of objects hold them whole.
Sources: developers.hubspot.com, "Associations v4", "Owners" (mirror of April 2026); type ids: "Associate records".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connectors import _hubspot_walk as walk
from connectors._hubspot_calls import Contacts, path
from connectors._hubspot_wire import after
from connectors.contract import Kind, Page, Record, Tie, TryLater

NAMES: Final = {Kind.COMPANY: "companies", Kind.DEAL: "deals"}
TIES: Final[Mapping[Kind, tuple[Kind, ...]]] = {
    Kind.COMPANY: (Kind.CONTACT,),
    Kind.DEAL: (Kind.CONTACT, Kind.COMPANY),
}
PRIMARY: Final = frozenset({1, 2, 5, 6})
"""Types of "primary": contact to company and back, deal to company and back."""
ASSOCIATIONS: Final = 1_000  # inputs of one batch read; pages hold at most ``walk.PAGE``, so that one call does
OWNERS: Final = 500  # rows of a page of owners


def read(kinds: Mapping[Kind, Contacts], kind: Kind, ids: Sequence[str]) -> list[Record]:
    """The records of these ids, with their ties; merged ids are answered by the record that they live on in."""
    return tied(kinds, kind, kinds[kind].read(ids))


def changed(kinds: Mapping[Kind, Contacts], kind: Kind, cursor: str | None) -> Page:
    """By modified time, from the beginning where there is no cursor: a search walks all, as a poll does."""
    records = kinds[kind]
    state = walk.Poll(0) if cursor is None else walk.load(cursor)
    if not isinstance(state, walk.Poll):
        state = walk.Poll(state.since)
    state = walk.begin(state)
    found = records.search(walk.query(state, records.modified), limit=walk.PAGE)
    following, more = walk.advance(state, found.records, full=found.full, now=found.at)
    fresh = records.filled(walk.fresh(state, found.records))
    return Page(tuple(tied(kinds, kind, fresh)), walk.dump(following), more=more)


def tied(kinds: Mapping[Kind, Contacts], kind: Kind, found: Sequence[Record]) -> list[Record]:
    """The records with who belongs to them."""
    if not found:
        return []
    ids = [r.id for r in found]
    of = kinds[kind]
    ties = {other: associated(of, of.name, kinds[other].name, ids) for other in TIES[kind]}
    return [replace(r, ties={other: _main(kind, other, of.get(r.id, ())) for other, of in ties.items()}) for r in found]


def _main(kind: Kind, other: Kind, ties: Sequence[Tie]) -> tuple[Tie, ...]:
    """HubSpot knows no main contact of a deal: one that is alone is it."""
    if kind is Kind.DEAL and other is Kind.CONTACT and len(ties) == 1:
        return (replace(ties[0], main=True),)
    return tuple(ties)


def associated(records: Contacts, of: str, to: str, ids: Sequence[str]) -> dict[str, list[Tie]]:
    """What is associated with these objects, by their id; all pages of each."""
    found: dict[str, dict[str, Tie]] = {}
    inputs: list[dict[str, str]] = [{"id": i} for i in ids]
    url = f"/crm/v4/associations/{of}/{to}/batch/read"
    while inputs:
        following: list[dict[str, str]] = []
        for start in range(0, len(inputs), ASSOCIATIONS):
            body = {"inputs": inputs[start : start + ASSOCIATIONS]}
            # 207: some have none.  404: all have none.
            response = records.send("POST", url, json=body, take={404}, safe=True)
            if response.status_code == 404:
                continue
            for row in _rows(records.json(response)):
                id_ = str(row["from"]["id"])
                found.setdefault(id_, {}).update({tie.id: tie for tie in map(_tie, row["to"])})
                if (next_ := after(row)) is not None:
                    following.append({"id": id_, "after": next_})
        if following == inputs:
            raise TryLater("hubspot: a page of associations does not move on")
        inputs = following
    return {id_: [ties[i] for i in sorted(ties)] for id_, ties in found.items()}


def _rows(answer: object) -> list[Mapping[str, Any]]:
    found = answer.get("results") if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise TryLater("hubspot: an answer without `results`")
    shaped = [r for r in found if isinstance(r, Mapping) and isinstance(r.get("to"), list)]
    return [r for r in shaped if isinstance(r.get("from"), Mapping) and r["from"].get("id") is not None]


def _tie(row: Mapping[str, Any]) -> Tie:
    given = row.get("associationTypes")
    types = [t for t in given if isinstance(t, Mapping)] if isinstance(given, list) else []
    defined = [t for t in types if t.get("category") == "HUBSPOT_DEFINED"]
    labels = [str(t["label"]) for t in types if t not in defined and t.get("label")]
    main = any(t.get("typeId") in PRIMARY for t in defined)
    return Tie(str(row.get("toObjectId")), main, ", ".join(sorted(labels)) if labels else None)


def owners(records: Contacts, version: str, cursor: str | None) -> Page:
    """One page of the owners.  Who was removed is left out."""
    params = {"limit": str(OWNERS), "archived": "false", **({} if cursor is None else {"after": cursor})}
    answer = records.ask("GET", path("crm", "owners", version), params=params)
    found = answer.get("results") if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise TryLater("hubspot: an answer without `results`")
    next_ = after(answer)
    people = tuple(_owner(row) for row in found if isinstance(row, Mapping) and row.get("id") is not None)
    return Page(people, next_ if next_ is not None else "", more=next_ is not None)


def _owner(row: Mapping[str, Any]) -> Record:
    names = [str(row[n]).strip() for n in ("firstName", "lastName") if row.get(n)]
    given = row.get("teams")
    teams = [t for t in given if isinstance(t, Mapping) and t.get("name")] if isinstance(given, list) else []
    main = [t for t in teams if t.get("primary") is True]
    team = (main if main else teams)[:1]
    fields = {
        "email": row.get("email"),
        "name": " ".join(names) if names else row.get("email"),
        "team": str(team[0]["name"]) if team else None,
        "active": row.get("archived") is not True,
    }
    return Record(Kind.COLLEAGUE, str(row["id"]), fields)
