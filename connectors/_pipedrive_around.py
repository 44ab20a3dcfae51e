"""Pipedrive's organizations, deals and users.  In: ids, cursors.  Out: records with who belongs to them, schemas.

A person has one organization, so persons say where they belong, and organizations do not.  A deal has a main person;
the others are asked for deal by deal, of those that have some.  Deals that were put into the archive are in a list of
their own.  Names with a dot are ours: ``stage.name``, ``pipeline.name``, ``close.date``, ``address.street``, and
``<field>.label``, the words of an option.

Sources: the vendor's OpenAPI documents of API v2 (``/organizations``, ``/deals``, ``/deals/archived``, ``/stages``) and
v1 (``/deals/{id}/participants``, ``/users``).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from connectors import _pipedrive_walk as walk
from connectors._cursor import Turns
from connectors._pipedrive_calls import CONCURRENCY, Persons, picked, walked
from connectors._pipedrive_wire import CUSTOM, UPDATED, id_of, rows, time
from connectors._receipts import together
from connectors.contract import Kind, Page, Property, Record, Schema, Tie, TryLater

ORGANIZATIONS: Final = "/v2/organizations"
DEALS: Final = "/v2/deals"
ARCHIVE: Final = "/v2/deals/archived"
LISTS: Final[Mapping[Kind, tuple[str, ...]]] = {Kind.COMPANY: (ORGANIZATIONS,), Kind.DEAL: (DEALS, ARCHIVE)}
FIELDS: Final[Mapping[Kind, str]] = {Kind.COMPANY: "/v2/organizationFields", Kind.DEAL: "/v2/dealFields"}
SIZE: Final = 100  # rows of a page of deals, some of which are asked for one by one; ours
ORGANIZATION_ROWS: Final = 500  # OpenAPI v2
PARTICIPANTS: Final = 500  # rows of a page of participants; "Pagination", pipedrive.readme.io
RARELY: Final = timedelta(hours=1)  # between two polls of a list that costs twice as much and says less; ours

STAGE, PIPELINE, CLOSE, STREET = "stage.name", "pipeline.name", "close.date", "address.street"
LABEL: Final = ".label"
WON, LOST, ARCHIVED = "won", "lost", "archived"
_CLOSED: Final = frozenset({WON, LOST})
_NAMED: Final = {STAGE: ("/v2/stages", "stage_id"), PIPELINE: ("/v2/pipelines", "pipeline_id")}
_ALL: Final = "open,won,lost,deleted"  # deleted ones are shown for 30 days, to who asks for them
_OURS: Final[Mapping[Kind, Mapping[str, tuple[str, str]]]] = {  # name -> type, label
    Kind.COMPANY: {STREET: ("varchar", "Street and house number")},
    Kind.DEAL: {
        STAGE: ("varchar", "Stage; won, lost or archived of a deal that is"),
        PIPELINE: ("varchar", "Pipeline"),
        CLOSE: ("date", "When it closed, or is expected to"),
    },
}
_TURNS: Final = {kind: Turns("pipedrive", lists, walk.Poll) for kind, lists in LISTS.items()}

Row = Mapping[str, Any]


class Around:
    """What stands around the persons of one account."""

    def __init__(self, persons: Persons, names: Mapping[Kind, Collection[str]]) -> None:
        """``names``: the fields to read of organizations and deals."""
        self._persons = persons
        self._names = {kind: tuple(dict.fromkeys(names.get(kind, ()))) for kind in LISTS}
        self._words: dict[str, dict[str, str]] = {}  # list -> id of a stage, pipeline or option -> what it is called
        self._lock = threading.Lock()

    def read(self, kind: Kind, ids: Sequence[str]) -> list[Record]:
        """The records of these ids; deleted ones are left out."""
        found: dict[str, Row] = {}
        for path in LISTS[kind]:
            found |= self._persons.of(path, [i for i in ids if i not in found], self._params(kind))
        return self._records(kind, list(found.values()))

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """By the time of their change, from the beginning where there is no cursor; the archive rarely."""
        turns = _TURNS[kind]
        path, states = turns.load(cursor)
        params = self._params(kind)
        size = SIZE if kind is Kind.DEAL else ORGANIZATION_ROWS

        def ask(query: Mapping[str, Any]) -> Any:
            whole = "updated_since" not in query or kind is Kind.COMPANY
            return self._persons.listed(path, {**query, **params, **({} if whole else {"status": _ALL})}, size=size)

        found, state = walked(ask, walk.begin(states[path] if path in states else walk.Poll(walk.FIRST)))
        times = [at for row in found.rows if (at := time(row.get(UPDATED))) is not None]
        following, more = walk.advance(state, times, found.following, found.at)
        assert isinstance(following, walk.Poll)  # noqa: S101 - a poll goes on as one
        states[path] = following
        cursor, more = turns.dump(path, states, more=more, skip=resting(states, {ARCHIVE}, found.at))
        gone = [i for row in found.rows if _deleted(row) and (i := id_of(row.get("id"))) is not None]
        here = [row for row in found.rows if not _deleted(row)]
        return Page(tuple(self._records(kind, here)), cursor, more=more, deleted=tuple(gone))

    def users(self) -> Page:
        """All users, those who were switched off as well."""
        found = rows(self._persons.ask("/v1/users"))
        return Page(tuple(_user(row) for row in found if id_of(row.get("id")) is not None), "", more=False)

    def describe(self, kind: Kind) -> Schema:
        """The fields, and ours."""
        made = {n: Property(n, type_, label, read_only=True) for n, (type_, label) in _OURS[kind].items()}
        for row in self._persons.whole(FIELDS[kind]):
            code, type_ = row.get("field_code"), row.get("field_type")
            if not isinstance(code, str) or not isinstance(type_, str):
                continue
            custom = row.get("is_custom_field") is True
            name, label = (CUSTOM + code if custom else code), str(row.get("field_name", ""))
            options = _objects(row.get("options"))
            ids = tuple(str(o["id"]) for o in options if "id" in o)
            made[name] = Property(name, type_, label, read_only=True, options=ids if ids else None)
            if ids and not custom:
                words = tuple(str(o.get("label")) for o in options)
                made[code + LABEL] = Property(code + LABEL, "varchar", label, read_only=True, options=words)
            for part in _objects(row.get("subfields")) if not custom else []:
                inner = f"{code}.{part.get('field_code')}"
                made[inner] = Property(inner, str(part.get("field_type")), label, read_only=True)
        if len(made) == len(_OURS[kind]):
            raise TryLater("pipedrive: no fields are described")
        return Schema(kind, made)

    # --- rows as records ----------------------------------------------------------------------------------------------

    def _params(self, kind: Kind) -> dict[str, str]:
        more = {"include_fields": "participants_count"} if kind is Kind.DEAL else {}
        return {**picked(self._names[kind]), **more}

    def _records(self, kind: Kind, found: Sequence[Row]) -> list[Record]:
        others = dict(together(self._participants, [r for r in found if _has_more(r)], CONCURRENCY))
        named = self._named(kind, found)
        made = []
        for row in found:
            id_ = id_of(row.get("id"))
            if id_ is None:
                raise TryLater("pipedrive: a record without an id")
            fields = {**_plain(row, self._names[kind]), **{n: words.get(id_) for n, words in named.items()}}
            if STREET in self._names[kind] and "address" in row:
                fields[STREET] = _street(row["address"])
            if CLOSE in self._names[kind]:
                fields[CLOSE] = _close(row)
            ties = _ties(row, others.get(id_, ())) if kind is Kind.DEAL else {}
            made.append(Record(kind, id_, fields, time(row.get(UPDATED)), ties=ties))
        return made

    def _named(self, kind: Kind, found: Sequence[Row]) -> dict[str, dict[str, str | None]]:
        """Of names that stand for an id its words, by record."""
        made: dict[str, dict[str, str | None]] = {}
        for name in self._names[kind]:
            path, field = _NAMED.get(name, (FIELDS[kind], name.removesuffix(LABEL)))
            if name in _NAMED:
                keys = {str(row["id"]): str(row[field]) for row in found if row.get(field) is not None}
            elif name.endswith(LABEL):
                keys = {str(row["id"]): f"{field}:{row[field]}" for row in found if row.get(field) is not None}
            else:
                continue
            words = self._look(path, set(keys.values())) if keys else {}
            # What an id is called that the lists do not know is not said, but for stages, which tell where a deal is.
            made[name] = {i: words.get(key, key if name == STAGE else None) for i, key in keys.items()}
            if name == STAGE:
                made[name] |= {str(row["id"]): _stage(row, made[name].get(str(row["id"]))) for row in found}
        return made

    def _look(self, path: str, wanted: Collection[str]) -> Mapping[str, str]:
        """What ids are called; asked for once, and again for one that was not there then."""
        with self._lock:
            known = self._words.get(path, {})
            if not set(wanted) <= known.keys():
                found = self._persons.whole(path)
                known = _options(found) if path in FIELDS.values() else _called(found)
                self._words[path] = known
            return known

    def _participants(self, row: Row) -> tuple[str, tuple[str, ...]]:
        """The people of a deal."""
        id_, start = str(row["id"]), 0
        people: list[str] = []
        while True:
            body = self._persons.ask(f"/v1/deals/{id_}/participants", {"start": start, "limit": PARTICIPANTS})
            page = rows(body)
            people += [i for r in page if (i := _person_of(r)) is not None]
            if not page or not goes_on(body):
                return id_, tuple(dict.fromkeys(people))
            start += len(page)


def resting(states: Mapping[str, walk.Poll], rare: Collection[str], now: datetime | None) -> set[str]:
    """Which of these lists were read so recently that they can wait."""
    read = {name: time(states[name].since) for name in rare if name in states}
    return {name for name, at in read.items() if at is not None and now is not None and now - at < RARELY}


def goes_on(body: Mapping[str, Any]) -> bool:
    """Whether a list of API v1 has a further page; said in one of two places."""
    more = body.get("additional_data")
    inner = more.get("pagination", more) if isinstance(more, Mapping) else None
    return isinstance(inner, Mapping) and inner.get("more_items_in_collection") is True


def _plain(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """The fields as they stand in a row: plain ones, parts of the address, custom ones."""
    fields: dict[str, Any] = {}
    for name in names:
        outer, _, inner = name.partition(".")
        if not inner:
            if name in row:
                fields[name] = row[name]
        elif isinstance(row.get(outer), Mapping):
            if inner in row[outer]:
                fields[name] = row[outer][inner]
        elif outer in row and name not in {STREET, STAGE, PIPELINE, CLOSE} and not name.endswith(LABEL):
            fields[name] = None  # an empty address
    return fields


def _street(address: object) -> str | None:
    parts = [address.get(n) for n in ("route", "street_number")] if isinstance(address, Mapping) else []
    words = [str(p).strip() for p in parts if p is not None and str(p).strip()]
    return " ".join(words) if words else None


def _close(row: Row) -> str | None:
    """The day by the account's clock; by UTC where that is not said."""
    names = ("local_close_date", "close_time") if row.get("status") in _CLOSED else ()
    given = (row.get(n) for n in (*names, "expected_close_date"))
    return next((text[:10] for text in given if isinstance(text, str) and text), None)


def _stage(row: Row, name: str | None) -> str | None:
    """Where a deal stands: what it ended in, whether it is put away, else its stage."""
    if row.get("status") in _CLOSED:
        return str(row["status"])
    if row.get("is_archived") is True:
        return ARCHIVED
    # A stage of the pipeline that somebody called so is no end.
    return f"{name} (stage {row.get('stage_id')})" if name in {*_CLOSED, ARCHIVED} else name


def _ties(row: Row, others: Sequence[str]) -> dict[Kind, tuple[Tie, ...]]:
    ties: dict[Kind, tuple[Tie, ...]] = {}
    if "person_id" in row:
        main = id_of(row["person_id"])
        people = [] if main is None else [Tie(main, main=True)]
        ties[Kind.CONTACT] = (*people, *(Tie(i) for i in others if i != main))
    if "org_id" in row:
        employer = id_of(row["org_id"])
        ties[Kind.COMPANY] = () if employer is None else (Tie(employer, main=True),)
    return ties


def _has_more(row: Row) -> bool:
    """Whether a deal has people beside its main one, who is counted as one of them."""
    count = row.get("participants_count")
    return isinstance(count, int) and count > (0 if row.get("person_id") is None else 1)


def _person_of(row: Row) -> str | None:
    given = row.get("person_id")
    return id_of(given.get("value") if isinstance(given, Mapping) else given)


def _deleted(row: Row) -> bool:
    return row.get("is_deleted") is True or row.get("status") == "deleted"


def _user(row: Row) -> Record:
    name, email = row.get("name"), row.get("email")
    fields = {
        "email": email,
        "name": name if name else email,
        "team": None,
        "active": row.get("active_flag") is not False and row.get("is_deleted") is not True,
    }
    return Record(Kind.COLLEAGUE, str(row["id"]), fields)


def _called(found: Iterable[Row]) -> dict[str, str]:
    return {str(row.get("id")): str(row.get("name")) for row in found}


def _options(found: Iterable[Row]) -> dict[str, str]:
    return {
        f"{row.get('field_code')}:{o.get('id')}": str(o.get("label"))
        for row in found
        for o in _objects(row.get("options"))
    }


def _objects(value: object) -> list[Row]:
    return [e for e in value if isinstance(e, Mapping)] if isinstance(value, list) else []
