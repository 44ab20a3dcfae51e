"""``tandem explain``: why each value is here, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from app import logs
from app.commands.base import AsJson, ConfigFile, print_json, whole
from app.commands.contacts import Who, found
from app.core.db import dumps
from app.ops import provenance
from app.ops._ratchet import ConsentWhy
from app.ops._standings import Standing
from app.ops.provenance import FieldWhy, Refused, RuleShown, Why

INDENT = "  "


def explain(
    who: Who,
    field: Annotated[str | None, typer.Argument(help="Only this field.", metavar="[FIELD]")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why each value is here.

    For each field: the event that brought it, the record, the line of the mapping, what decided, who has it since when
    or why not yet, and which other claims were refused and why.

    ```console
    tandem explain 42
    tandem explain ann@example.org city
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        shown = provenance.why(db, tandem.connections, found(db, tandem.connections, who), field)
    if as_json:
        print_json(shown.model_dump(mode="json"))
        return
    for line in lines(shown):
        typer.echo(logs.clean(line))


def lines(shown: Why) -> Iterator[str]:
    """The explanation as text."""
    yield f"contact {shown.contact_id}"
    if shown.merged_into is not None:
        yield f"{INDENT}contact {shown.merged_into} stands for it now"
    for one in shown.fields:
        yield ""
        yield from _field(one)
    if shown.records:
        yield ""
        yield "whole records that were refused"
        yield from (f"{INDENT}{_refused(one)}" for one in shown.records)
    for holds in shown.consent:
        yield ""
        yield from _consent(holds)


def _field(one: FieldWhy) -> Iterator[str]:
    yield f"{one.field}: {_text(one.value)}"
    if one.cause is not None:
        yield _line("said by", f"{one.cause.source}, {_time(one.cause.at)}; {one.cause.words}")
        if one.cause.record is not None:
            yield _line("record", f"{one.cause.record} at {one.cause.source}")
    if one.rule is not None:
        yield _line("mapping", _rule(one.rule))
    before = f"; before it was {_text(one.before)}" if one.before is not None else ""
    before += f", said by {one.before_by}" if one.before is not None and one.before_by is not None else ""
    yield _line("decision", one.words + before)
    for side in one.sides:
        yield _line(side.connection, _standing(side))
    for refused in one.refused:
        yield _line("refused", _refused(refused))


def _rule(rule: RuleShown) -> str:
    read = f", read with {', '.join(rule.read)}" if rule.read else ""
    where = f"{rule.file} line {rule.line}" if rule.line is not None else rule.file
    return f"{where}: {rule.theirs}{read}; way {rule.way}, winner {rule.winner}, clearing {rule.clear}"


def _standing(side: Standing) -> str:
    when = f", {_time(side.at)}" if side.at is not None else ""
    record = f" (record {side.remote_id})" if side.remote_id is not None else ""
    step = f"; next: {side.next_step}" if side.next_step is not None else ""
    return f"{side.words}{when}{record}{step}"


def _refused(one: Refused) -> str:
    when = f", {_time(one.at)}" if one.at is not None else ""
    event = f", event {one.event}" if one.event is not None else ""
    said = f" said {_text(one.value)}" if one.value is not None else ""
    step = f"; next: {one.next_step}" if one.next_step is not None else ""
    return f"{one.connection}{said}{when}{event}: {one.words}{step}"


def _consent(one: ConsentWhy) -> Iterator[str]:
    yield f"consent to {one.channel}, {one.purpose if one.purpose else 'everything'}: {one.status}"
    if one.source is None:
        yield _line("said by", "nobody")
        return
    who = f"{one.source} ({one.actor})" if one.actor is not None else one.source
    event = f", event {one.event}" if one.event is not None else ""
    yield _line("said by", f"{who}, {_time(one.at)}, {one.reason}{event}; line {one.line} of the ledger")
    for word in one.uncounted:
        event = f", event {word.event}" if word.event is not None else ""
        yield _line("refused", f"{word.source} said {word.status}, {_time(word.at)}{event}: {word.words}")


def _line(name: str, text: str) -> str:
    return f"{INDENT}{name:<10} {text}"


def _time(at: Any) -> str:
    return "" if at is None else str(at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def _text(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else dumps(value)
