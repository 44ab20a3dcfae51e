"""Brevo's companies and deals, with who belongs to them.  In: ids, cursors.  Out: records, pages, schemas.

Fields are ``attributes.<name>`` as Brevo has them; ``stage`` and ``pipeline`` of a deal are ours, the names of what its
attributes hold the ids of.  Lists are in the order of creation and have no cursor: companies come by page, deals by
offset.  Who is deleted during a walk moves the rest back: then the page before is read again.

Sources: the contract (see ``_brevo_wire``), ``companies``, ``deals``; attributes of a company and a deal as seen by
others (docs/vendors/brevo.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, timedelta
from typing import Any, Final
from urllib.parse import quote

from connectors._brevo_calls import CONCURRENCY, OTHER, Contacts
from connectors._brevo_wire import ATTRIBUTE, clock, number, rows, time
from connectors._receipts import together
from connectors.contract import Kind, Page, Property, Record, Refused, Schema, Tie, TryLater

PATHS: Final[Mapping[Kind, str]] = {Kind.COMPANY: "/companies", Kind.DEAL: "/crm/deals"}
SIZES: Final[Mapping[Kind, int]] = {Kind.COMPANY: 100, Kind.DEAL: 50}  # no limit is published; both seen in use
OVERLAP: Final = timedelta(minutes=5)  # a change may be listed late; ours
STAGE: Final = "stage"
PIPELINE: Final = "pipeline"

_MODIFIED: Final = ("last_updated_at", "last_updated_date")  # of a company, of a deal
_SCHEMAS: Final = {Kind.COMPANY: "/crm/attributes/companies", Kind.DEAL: "/crm/attributes/deals"}
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk stands.

    ``since``: changes from then on, None = all.  ``start``: when it began, by Brevo's clock.
    """

    since: str | None = None
    start: str | None = None
    page: int = 0  # pages that are behind
    total: int | None = None  # how many there were to walk


class Around:
    """The companies and deals of one account."""

    def __init__(self, contacts: Contacts) -> None:
        """``contacts``: whose calls these are, too."""
        self._contacts = contacts
        self._stages: dict[str, tuple[str, str]] = {}  # id of a stage → names of stage and pipeline
        self._nameless: set[str] = set()  # stages that no pipeline had

    def read(self, kind: Kind, ids: Sequence[str]) -> list[Record]:
        """Those that exist; one call each."""
        asked = [id_ for id_ in dict.fromkeys(ids) if _ID.fullmatch(id_)]
        found = together(lambda id_: self._one(kind, id_), asked, CONCURRENCY)
        return self._named(kind, [r for r in found if r is not None])

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """One page in the order of creation, of what changed since."""
        walk = _Walk() if cursor is None else _load(cursor)
        size = SIZES[kind]
        params: dict[str, Any] = {"limit": size, "sort": "asc"}
        params |= {"page": walk.page + 1} if kind is Kind.COMPANY else {"offset": walk.page * size}
        if (since := time(walk.since)) is not None:
            params["modifiedSince"] = (since - OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        response = self._contacts.send("GET", PATHS[kind], params=params, family=OTHER)
        answer = self._contacts.json(response)
        pager = answer.get("pager") if isinstance(answer, Mapping) else None
        empty = isinstance(pager, Mapping) and answer.get("items") is None
        found = [_record(kind, row) for row in ([] if empty else rows(answer, "items"))]
        total = number(pager, "total")
        at = clock(response)
        start = walk.start if walk.start is not None or at is None else at.isoformat()
        behind = walk.page * size + len(found)
        if total is not None and walk.total is not None and total < walk.total and walk.page > 0:
            following, more = replace(walk, start=start, page=walk.page - 1, total=total), True
        elif found and (len(found) >= size or (total is not None and behind < total)):
            following, more = replace(walk, start=start, page=walk.page + 1, total=total), True
        else:
            following, more = _Walk(since=start if start is not None else walk.since), False
        cursor = json.dumps({name: value for name, value in asdict(following).items() if value})
        return Page(tuple(self._named(kind, found)), cursor, more=more, total=total)

    def describe(self, kind: Kind) -> Schema:
        """The account's attributes of companies or deals."""
        answer = self._contacts.json(self._contacts.send("GET", _SCHEMAS[kind], family=OTHER))
        if not isinstance(answer, list):
            raise TryLater(f"brevo: the answer to {_SCHEMAS[kind]} is no list")
        listed = [_property(row) for row in answer if isinstance(row, Mapping) and row.get("internalName")]
        if kind is Kind.DEAL:
            listed += [Property(name, "text", f"Name of the {name}", read_only=True) for name in (STAGE, PIPELINE)]
        return Schema(kind, {one.name: one for one in listed})

    def _one(self, kind: Kind, id_: str) -> Record | None:
        path = f"{PATHS[kind]}/{quote(id_, safe='')}"
        response = self._contacts.send("GET", path, take={404}, family=OTHER)
        return None if response.status_code == 404 else _record(kind, self._contacts.json(response))

    # --- stages -------------------------------------------------------------------------------------------------------

    def _named(self, kind: Kind, found: list[Record]) -> list[Record]:
        """Deals with the names of stage and pipeline."""
        if kind is not Kind.DEAL:
            return found
        asked = {str(id_) for r in found if (id_ := r.fields.get(f"{ATTRIBUTE}deal_stage")) is not None}
        if asked - self._stages.keys() - self._nameless:
            self._stages = self._pipelines()
            self._nameless = asked - self._stages.keys()
        return [replace(r, fields={**r.fields, **self._names(r)}) for r in found]

    def _names(self, deal: Record) -> dict[str, Any]:
        id_ = deal.fields.get(f"{ATTRIBUTE}deal_stage")
        if id_ is None:
            return {}
        # Of a stage that is no more the id is all there is to say.
        stage, pipeline = self._stages.get(str(id_), (str(id_), None))
        return {STAGE: stage, **({PIPELINE: pipeline} if pipeline is not None else {})}

    def _pipelines(self) -> dict[str, tuple[str, str]]:
        path = "/crm/pipeline/details/all"
        answer = self._contacts.json(self._contacts.send("GET", path, family=OTHER))
        if not isinstance(answer, list):
            raise TryLater("brevo: the answer is no list of pipelines")
        return {
            str(stage.get("id")): (str(stage.get("name")), str(pipeline.get("pipeline_name")))
            for pipeline in answer
            if isinstance(pipeline, Mapping)
            for stage in pipeline.get("stages") or ()
            if isinstance(stage, Mapping)
        }


def _record(kind: Kind, row: object) -> Record:
    """One company or deal.  TryLater for what is none.

    Brevo knows no main company of a contact, so none of them is lesser than another; nor a main contact or company of a
    deal: one that is alone is it.
    """
    id_ = row.get("id") if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or not isinstance(id_, str) or not id_:
        raise TryLater(f"brevo: a {kind} without an id")
    about = row.get("attributes")
    said = about if isinstance(about, Mapping) else {}
    fields = {ATTRIBUTE + name: None if value == "" else value for name, value in said.items()}
    modified = next((at for name in _MODIFIED if (at := time(said.get(name))) is not None), None)
    people = _linked(row, "linkedContactsIds")
    if kind is Kind.COMPANY:
        ties = {Kind.CONTACT: tuple(Tie(one, main=True) for one in people)}
    else:
        companies = _linked(row, "linkedCompaniesIds")
        ties = {
            Kind.CONTACT: tuple(Tie(one, len(people) == 1) for one in people),
            Kind.COMPANY: tuple(Tie(one, len(companies) == 1) for one in companies),
        }
    return Record(kind, id_, fields, modified, ties=ties)


def _linked(row: Mapping[str, Any], name: str) -> list[str]:
    listed = row.get(name)
    return list(dict.fromkeys(map(str, listed))) if isinstance(listed, list) else []


def _property(row: Mapping[str, Any]) -> Property:
    name = ATTRIBUTE + str(row["internalName"])
    told = row.get("attributeOptions")
    options = [str(one.get("key")) for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    return Property(
        name,
        str(row.get("attributeTypeName", "")),
        str(row.get("label", "")),
        read_only=row.get("isValueReadonly") is True,
        required=row.get("isRequired") is True,
        options=tuple(options) if options else None,
    )


def _load(cursor: str) -> _Walk:
    try:
        saved = json.loads(cursor)
        walk = _Walk(saved.get("since"), saved.get("start"), int(saved.get("page", 0)), saved.get("total"))
        if any(text is not None and time(text) is None for text in (walk.since, walk.start)) or walk.page < 0:
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise Refused("brevo: this is not a cursor of ours: start again without one", code="cursor") from None
    return walk
