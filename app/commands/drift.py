"""Commands about the safety nets: compare and repair, alarms, freshness, fields that are suspended."""

from __future__ import annotations

import time
from typing import Annotated, Final

import typer

from app.commands.base import (
    PROBLEM,
    AsJson,
    By,
    ConfigFile,
    named,
    print_json,
    print_table,
    say,
    whole,
)
from app.commands.look import Connection, Limit
from app.console import standing
from app.ops import alarms as alarming
from app.ops import drift as drifting
from app.ops import sinking
from app.ops.drift import ConnectionDrift, RunShown
from app.repair import runs, schema

field = typer.Typer(no_args_is_help=True, help="Vendors' fields that are neither read nor written at present.")

WAIT: Final = 0.5  # seconds between looks while another process is at the run, or live changes go first


def reconcile(
    connection: Connection = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Hand what disagrees to the usual path, then compare it again.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Only show what the last compare found.")] = False,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Compare every record with its vendor.

    Reads the vendor's whole list at the ordinary share of its rate and compares field by field.  What changes are on
    their way for is left out; what the list lacks is reported, never deleted.  Cut off, it is gone on with by the same
    command or by the service.  With --repair, what disagrees is read, merged and written by the mapping's rules.  Ends
    with 1 where the two disagree, or the read was not whole.

    ```console
    tandem reconcile
    tandem reconcile --connection hubspot --repair
    tandem reconcile --show --json
    ```
    """
    if show and repair:
        raise typer.BadParameter("only shows; leave out one of the two", param_hint="--show")
    with whole(config) as tandem:
        ended: list[RunShown] = []
        if not show:
            numbers = tandem.database.transact(
                lambda db: runs.start(db, tandem.connections, connection, repair=repair, by=None)
            )
            with tandem.database.read() as db:
                alive = any(one.alive for one in standing.workers(db))
            if not alive:
                tandem.reconcile.patience_ms = 0  # nobody else would process what waits
            for number in numbers:
                while True:
                    with tandem.database.read() as db:
                        run = drifting.run_shown(runs.one(db, number))
                    if run.status != "running":
                        break
                    if not tandem.reconcile.step():
                        if run.phase == runs.AGAIN and not alive:
                            say("repaired records wait for a worker: start `tandem serve`, which ends the run")
                            break
                        time.sleep(WAIT)
                ended.append(run)
        with tandem.database.read() as db:
            found = [one for one in drifting.drift_of(db, tandem.connections) if connection in {None, one.connection}]
            rows = drifting.disagreements(db, connection, None, min(limit, 200)).items
    good = not any(_wrong(one) for one in found) and not any(r.doubt is not None or r.status == "failed" for r in ended)
    if as_json:
        print_json(
            {
                "ok": good,
                "runs": [run.model_dump(mode="json") for run in ended],
                "drift": [one.model_dump(mode="json") for one in found],
                "disagreements": [row.model_dump(mode="json") for row in rows],
            }
        )
    else:
        for run in ended:
            if run.error is not None or run.doubt is not None:
                say(f"{run.connection}: {run.error if run.error is not None else run.doubt}; nothing was concluded")
        _print(found)
        cells = [(r.connection, r.remote_id, r.contact_id, r.field, r.why, _time(r.first_seen)) for r in rows]
        columns = ("connection", "record", "contact", "field", "why", "first seen")
        if cells:
            print_table("", columns, cells, empty="")
    if not good:
        raise typer.Exit(PROBLEM)


def _wrong(one: ConnectionDrift) -> bool:
    return bool(one.mismatched or one.missing or one.extra)


def _print(found: list[ConnectionDrift]) -> None:
    rows = [
        (
            one.connection,
            "never compared" if one.drift is None else f"{one.drift:.4%}",
            f"{one.mismatched:,} of {one.compared:,}",
            one.missing,
            one.extra,
            _time(one.oldest),
            _time(one.at),
        )
        for one in found
    ]
    columns = ("connection", "drift", "values", "missing", "extra", "oldest", "compared")
    print_table("", columns, rows, empty="no connection")


alarms = typer.Typer(
    invoke_without_command=True, help="List what a person should look at, and try whom alarms are told."
)


@alarms.callback()
def alarms_list(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what a person should look at.

    Each alarm says what is wrong and what to do.  It is over when what raised it is mended.  Ends with 1 where one is
    open.

    ```console
    tandem alarms
    tandem alarms --all --json
    ```
    """
    if ctx.invoked_subcommand is not None:
        return
    with whole(config) as tandem, tandem.database.read() as db:
        rows = alarming.listing(db, everything=everything, limit=limit).items
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        cells = [(r.kind, r.connection, r.subject, _time(r.since), _time(r.cleared_at), r.words) for r in rows]
        print_table("", ("kind", "connection", "about", "since", "over", "what to do"), cells, empty="no alarm")
    if any(row.cleared_at is None for row in rows):
        raise typer.Exit(PROBLEM)


@alarms.command("sinks")
def alarms_sinks(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List where alarms are told.

    The part `alarms` of tandem.yml says where; docs/observability.md has examples.  Ends with 1 where the last message
    to one of them did not get through.

    ```console
    tandem alarms sinks
    tandem alarms sinks --json
    ```
    """
    with whole(config) as tandem:
        rows = sinking.sinks_of(tandem.database, tandem.telling)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        cells = [(r.name, r.kind, r.host, ", ".join(r.kinds), r.knows, r.why) for r in rows]
        columns = ("sink", "kind", "host", "alarms about", "knows of", "did not get through")
        print_table("", columns, cells, empty="alarms are told nobody: docs/observability.md")
    if any(row.failing for row in rows):
        raise typer.Exit(PROBLEM)


@alarms.command("test")
def alarms_test(
    sink: Annotated[str | None, typer.Option("--sink", help="This one only.", metavar="NAME")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a test to where alarms are told.

    Says for each sink whether it was taken, and why not.  Ends with 1 where one was not, or there is none.

    ```console
    tandem alarms test
    tandem alarms test --sink ops
    ```
    """
    with whole(config) as tandem:
        rows = sinking.tried(tandem.telling, sink)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        cells = [(r.sink, r.kind, "sent" if r.sent else "not sent", r.why) for r in rows]
        print_table("", ("sink", "kind", "test", "why"), cells, empty="alarms are told nobody: docs/observability.md")
    if not rows or not all(row.sent for row in rows):
        raise typer.Exit(PROBLEM)


def freshness(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how soon changes land.

    Seconds from a change at one side until it landed at the connection, of the last hour; and the oldest change that
    has not landed.  Ends with 1 where a promise of tandem.yml (`freshness`) is not kept.

    ```console
    tandem freshness
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        rows = alarming.fresh(db, tandem.connections)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        columns = ("connection", "landed", "p50", "p95", "p99", "oldest waiting", "promised")
        cells = [(r.connection, r.landed, *map(_seconds, (r.p50, r.p95, r.p99, r.oldest, r.objective))) for r in rows]
        print_table("", columns, cells, empty="no connection")
    if any(row.kept is False for row in rows):
        raise typer.Exit(PROBLEM)


@field.command("list")
def field_list(connection: Connection = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List fields that are suspended.

    A field is suspended when its vendor no longer shows it as before: it is neither read nor written, and nothing is
    cleared.

    ```console
    tandem field list
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        if connection is not None:
            tandem.connections[connection]  # raises NotFound
        rows = alarming.fields_of(db, connection)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    cells = [(r.connection, r.field, r.why, _time(r.since)) for r in rows]
    print_table("", ("connection", "field", "why", "since"), cells, empty="no field is suspended")


@field.command("resume")
def field_resume(
    connection: Annotated[str, typer.Argument(help="Where.", metavar="CONNECTION")],
    name: Annotated[str, typer.Argument(help="The field, in the vendor's words.", metavar="FIELD")],
    by: By,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a field as it is now.

    It is read and written again from now on.  Where it really is empty everywhere, emptied values are let in as the
    mapping says.

    ```console
    tandem field resume hubspot jobtitle --by Kim
    ```
    """
    by = named(by)
    with whole(config) as tandem:
        tandem.database.transact(lambda db: schema.resume(db, tandem.connections, connection, name, by))
    if as_json:
        print_json({"connection": connection, "field": name, "resumed_by": by})
    else:
        typer.echo(f"{connection}: {name} is read and written again")


def _time(at: object) -> str:
    iso = getattr(at, "isoformat", None)
    return "" if iso is None else str(iso(timespec="seconds")).replace("+00:00", "Z")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
