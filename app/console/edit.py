"""The demo's edit forms: change a record at its vendor, through the vendor's own API, as a person would there.

In: a connection, a remote id, fields in the vendor's words.  The store is not touched: what was changed comes back as
a webhook, like any other change.  Mounted in a demo only.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import HTTPException, Request

from app.console.view import Detail
from app.core.db import Database
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Done, Exists, Failed, Gone, Order, Problem, Property, Verb

LIMIT: Final = 64 * 1024  # bytes of one edit
FIELD: Final = "field."  # prefix of an input's name: what the field shall be
WAS: Final = "was."  # what it was when the form was made: only a difference is sent
_BLANK: Final = Property("", "string")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a form."""

    name: str
    label: str
    value: str = field(repr=False)
    options: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Form:
    """The form of one record.  ``problem``: why there is none."""

    connection: str
    side: str
    remote_id: str = field(repr=False)
    inputs: tuple[Input, ...] = field(default=(), repr=False)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """An edit as asked for.  ``json``: the answer is for a program; else for a browser, which goes back to its page."""

    connection: str
    remote_id: str = field(repr=False)
    fields: Mapping[str, Any] = field(repr=False)
    json: bool
    person: int = 0
    after: int = 0
    q: str = ""


async def asked(request: Request) -> Asked:
    """The edit in a request: JSON ``{connection, remote_id, fields}``, or the form of the page."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LIMIT:
            raise HTTPException(413, f"an edit may have {LIMIT} bytes")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "application/json":
        return _from_json(body)
    if kind == "application/x-www-form-urlencoded":
        return _from_form(body, json="application/json" in request.headers.get("accept", ""))
    raise HTTPException(415, "an edit is application/json or application/x-www-form-urlencoded")


def _from_json(body: bytes) -> Asked:
    try:
        data = orjson.loads(body)
        connection, remote_id, fields = data["connection"], data["remote_id"], data["fields"]
    except (ValueError, KeyError, TypeError):
        raise HTTPException(422, 'expected {"connection": …, "remote_id": …, "fields": {…}}') from None
    if not (isinstance(connection, str) and isinstance(remote_id, str) and isinstance(fields, dict)):
        raise HTTPException(422, "connection and remote_id are texts, fields is an object")
    return Asked(connection, remote_id, fields, json=True)


def _from_form(body: bytes, *, json: bool) -> Asked:
    try:
        given = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=500))
        fields = {
            name.removeprefix(FIELD): value if value else None
            for name, value in given.items()
            if name.startswith(FIELD) and given.get(WAS + name.removeprefix(FIELD)) != value
        }
        return Asked(
            given["connection"],
            given["remote_id"],
            fields,
            json=json,
            person=int(given.get("person", "0")),
            after=int(given.get("after", "0")),
            q=given.get("q", ""),
        )
    except (ValueError, KeyError):
        raise HTTPException(422, "the form is incomplete: reload the page") from None


class Editor:
    """Reads records for the forms and changes them."""

    def __init__(self, database: Database, connections: Connections) -> None:
        self._database = database
        self._connections = connections
        self._described: dict[str, Mapping[str, Property]] = {}

    def forms(self, detail: Detail | None) -> list[Form]:
        """One form per connection in which the contact has a record."""
        if detail is None:
            return []
        return [
            self._form(self._connections[name], remote_id)
            for name, remote_id in detail.remotes.items()
            if {Can.READ, Can.WRITE} <= self._connections[name].connector.can
        ]

    def _form(self, connection: Connection, remote_id: str) -> Form:
        side = str(connection.side)
        try:
            records = connection.connector.read(connection.kind, [remote_id])
            known = self._properties(connection)
        except Problem as problem:
            return Form(connection.name, side, remote_id, problem=f"cannot be read just now ({type(problem).__name__})")
        if not records:
            return Form(connection.name, side, remote_id, problem="the record is gone")
        record = records[0]
        inputs = []
        for name in connection.map.theirs():
            about = known.get(name, _BLANK)
            value = record.fields.get(name)
            if about.read_only or not (value is None or isinstance(value, str | bool | int | float)):
                continue
            shown = "" if value is None else str(value)
            options = about.options
            if options is not None and shown not in options:
                options = (shown, *options)
            inputs.append(Input(name, about.label if about.label else name, shown, options))
        return Form(connection.name, side, record.id, tuple(inputs))

    def _properties(self, connection: Connection) -> Mapping[str, Property]:
        if connection.name not in self._described:
            able = Can.DESCRIBE in connection.connector.can
            self._described[connection.name] = connection.connector.describe(connection.kind).properties if able else {}
        return self._described[connection.name]

    def change(self, asked: Asked) -> str:
        """Carry out an edit; what to tell the person.  Raises HTTPException where the vendor does not take it."""
        if asked.connection not in self._connections:
            raise HTTPException(404, f"no connection {asked.connection!r}")
        connection = self._connections[asked.connection]
        strange = sorted(set(asked.fields) - set(connection.map.theirs()))
        if strange:
            raise HTTPException(422, f"not in the mapping of {connection.name}: {', '.join(strange)}")
        if not asked.fields:
            return "nothing was changed"
        try:
            records = connection.connector.read(connection.kind, [asked.remote_id])
            if not records:
                raise HTTPException(404, f"{connection.name} has no such record")
            order = Order(
                uuid.uuid4().hex,
                connection.kind,
                Verb.UPDATE,
                asked.fields,
                id=records[0].id,
                known=records[0].fields,
            )
            receipt = connection.connector.write([order])[0]
        except Problem as problem:
            raise HTTPException(503, f"{connection.name} does not answer as it should: {problem}") from None
        match receipt:
            case Done():
                return f"saved at {connection.name}: {', '.join(sorted(asked.fields))}"
            case Failed(problem=why):
                raise HTTPException(409, f"{connection.name} refused it: {why}")
            case Gone() | Exists():
                raise HTTPException(409, f"{connection.name} did not take it: {type(receipt).__name__.lower()}")
