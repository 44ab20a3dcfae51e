"""The dry run of `tandem replay`: what a mapping would make of past events, side by side with what there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.commands.base import built, known, print_json, print_table, require_current, say, settings_of
from app.core.db import dumps
from app.core.errors import ConfigError, NotPossible
from app.core.settings import load_config
from app.ops import rehearsing
from app.ops.rehearsing import Rehearsal
from app.sync.connection import Connection
from connectors.contract import NeedsHuman, Refused, TryLater

if TYPE_CHECKING:
    from app.main import Tandem


def in_place(connection: Connection, mapping: Path) -> None:
    """Raise NotPossible unless the connection works by this mapping: a replay goes by the one that is configured."""
    ours = Path(connection.map.file)
    if not ours.is_file() or not mapping.is_file() or ours.read_bytes() != mapping.read_bytes():
        raise NotPossible(
            f"{connection.name} works by another mapping ({connection.map.file}): put this one in its place, restart, "
            "then replay; --dry-run shows before what it would change"
        )


def rehearse(
    config: Path | None,
    connection: str,
    mapping: Path | None,
    since: datetime | None,
    until: datetime | None,
    contact: int | None,
    *,
    as_json: bool,
) -> None:
    """Show what a replay would change by a mapping, the configured one where none is named."""
    with _by(config, connection, mapping) as tandem:
        try:
            found = rehearsing.rehearse(
                tandem.database,
                tandem.connections,
                connection,
                since=since,
                until=until,
                contact=contact,
                progress=lambda events: say(f"{events} events looked at"),
            )
        except (TryLater, NeedsHuman, Refused) as problem:
            raise NotPossible(f"{connection} does not answer: {problem}") from None
    if as_json:
        print_json(_plain(found))
    else:
        _print(found, connection)


@contextmanager
def _by(config: Path | None, connection: str, mapping: Path | None) -> Iterator[Tandem]:
    """Everything, built as if ``mapping`` were the connection's: so the vendor is asked for its fields, too."""
    settings = settings_of(config)
    loaded = load_config(settings.config)
    known(loaded, connection)
    if mapping is not None:
        if not mapping.is_file():
            raise ConfigError(f"--mapping: {mapping}: not found")
        one = [c.model_copy(update={"mapping": mapping}) if c.name == connection else c for c in loaded.connections]
        loaded = loaded.model_copy(update={"connections": one})
    tandem = built(settings, loaded)
    try:
        require_current(tandem.database)
        yield tandem
    finally:
        for client in tandem.clients.values():
            client.close()
        tandem.database.close()


def _plain(found: Rehearsal) -> dict[str, Any]:
    def pairs(counted: Any, first: str, second: str) -> list[dict[str, Any]]:
        return [{first: a, second: b, "count": n} for (a, b), n in sorted(counted.items())]

    return {
        "events": found.events,
        "records": found.records,
        "new": found.new,
        "missing": found.missing,
        "fields": dict(sorted(found.fields.items())),
        "differences": [asdict(one) for one in found.samples],
        "refused": pairs(found.refused, "field", "rule"),
        "unreadable": pairs(found.unreadable, "field", "code"),
        "consent": pairs(found.consent, "consent", "says"),
        "written": dict(sorted(found.written.items())),
    }


def _print(found: Rehearsal, connection: str) -> None:
    typer.echo(
        f"{found.events} events, {found.records} records read; {found.new} belong to nobody yet, "
        f"{found.missing} are not there any more"
    )
    print_table("", ("field", "values that would be others"), sorted(found.fields.items()), empty="no value changes")
    if found.samples:
        rows = [(one.contact, one.field, _text(one.before), _text(one.after)) for one in found.samples]
        print_table("Some of them", ("contact", "field", "before", "after"), rows, empty="")
    for title, names, counted in (
        ("What would not be let in", ("field", "rule", "how many"), found.refused),
        ("What could not be read", ("field", "why", "how many"), found.unreadable),
        ("Consent", ("consent", "would say", "how many"), found.consent),
    ):
        if counted:
            print_table(title, names, [(a, b, n) for (a, b), n in sorted(counted.items())], empty="")
    if found.written:
        title = f"What would be written back to {connection}"
        print_table(title, ("field", "how many"), sorted(found.written.items()), empty="")


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)
