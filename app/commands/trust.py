"""Commands from the first reading to live: how far reading is, what would be written, and approving just that."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, Any, Final

import jinja2
import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from app.commands.base import (
    PROBLEM,
    AsJson,
    By,
    ConfigFile,
    moment,
    named,
    print_json,
    print_table,
    say,
    whole,
)
from app.console import standing
from app.core import clock, leases
from app.core.db import dumps
from app.main import Tandem
from app.ops.plans import PlanShown, chosen, plan_shown, reading_shown
from app.push import approving, survey, work
from app.push.approving import Header, Standing
from app.push.survey import Line
from app.repair.reading import Reading, readings

SAMPLE: Final = 5  # lines of each kind and connection that are shown; all are in --json
SPOOL: Final = 1024 * 1024  # bytes of lines in memory; more go to a file that goes with the process
EVERY: Final = 0.5  # seconds between two looks
BEAT: Final = 5.0  # seconds between two signs of life

Only = Annotated[str | None, typer.Option("--connection", help="Only this connection.  Default: all.", metavar="NAME")]


def plan(
    connection: Only = None,
    config: ConfigFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines: the figures of each connection, then every line.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a report, one page without links to elsewhere.", metavar="FILE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the plan for `tandem apply`.", metavar="PLAN")
    ] = None,
) -> None:
    """Show what would be written if all were live.

    Creates, updates field by field, conflicts, rejects, consent, brakes that would go on, calls and time.  Nothing is
    written to a vendor.  The files hold values of people: they are yours alone, keep them so.

    ```console
    tandem plan
    tandem plan --connection mailchimp --html plan.html --out mailchimp.plan
    ```
    """
    with whole(config) as tandem, _spool() as spool:
        names = chosen(tandem.connections, connection)
        samples: dict[str, list[Line]] = {name: [] for name in names}
        counts: Counter[tuple[str, str]] = Counter()

        def tell(line: Line) -> None:
            spool.write(approving.to_json(line))
            key = (line.connection, line.what if line.code is None else line.code)
            counts[key] += 1
            if counts[key] <= SAMPLE:
                samples[line.connection].append(line)

        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("contacts", total=None)
            tallies = survey.survey(
                tandem.database, tandem.connections, names, tell, lambda n: progress.update(task, completed=n)
            )
        found = [plan_shown(tally, tandem.connections[name]) for name, tally in tallies.items()]
        if out is not None:
            mappings = {name: tandem.connections[name].map.digest for name in names}
            total = sum(tally.total for tally in tallies.values())
            header = Header(clock.now().isoformat(timespec="seconds"), total, mappings)
            with _new(out) as file:
                approving.write(file, header, _orders(spool))
        if html is not None:
            with _new(html) as file:
                file.write(_page(found, samples).encode())
        if as_json:
            for one in found:
                typer.echo(orjson.dumps({"what": "summary", **one.model_dump(mode="json")}))
            spool.seek(0)
            sys.stdout.flush()
            for text in spool:
                typer.echo(text, nl=False)
            return
    _print(found, samples)


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(max_size=SPOOL) as file:
        yield file


def _orders(spool: IO[bytes]) -> Iterator[Line]:
    spool.seek(0)
    for text in spool:
        line = approving.of_json(orjson.loads(text))
        if line.fingerprint is not None:
            yield line


@contextmanager
def _new(path: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner can read, in its place once it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
        except BaseException:
            Path(file.name).unlink()
            raise
    shutil.move(file.name, path)


def _page(found: Sequence[PlanShown], samples: dict[str, list[Line]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("app.console"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["text"] = _text
    environment.filters["duration"] = _duration
    made = moment(clock.to_ms(clock.now()))
    return environment.get_template("plan.html").render(plans=found, samples=samples, made=made)


def _print(found: Sequence[PlanShown], samples: dict[str, list[Line]]) -> None:
    names: tuple[str, ...] = ("connection", "mode", "creates", "updates", "archives", "merges", "conflicts", "rejects")
    names = (*names, "withdrawals", "grants", "pending", "calls", "time")
    rows = []
    for one in found:
        data = one.model_dump()
        data["rejects"] = sum(reject.count for reject in one.rejects)
        data["time"] = _duration(one.seconds)
        rows.append([data[name] for name in names])
    print_table("", names, rows, empty="no connection is configured")
    for one in found:
        for name in one.unread:
            typer.echo(f"{one.connection}: {name} is not read completely yet, so this is not final: `tandem backfill`")
        for brake in one.brakes:
            typer.echo(f"{one.connection}: the brake for {brake.kind} would go on: {brake.why}")
        for reject in one.rejects:
            typer.echo(f"{one.connection}: {reject.count:,} {reject.code}, e.g.: {reject.reason}")
        lines = samples[one.connection]
        if lines:
            typer.echo()
            cells = [cell for line in sorted(lines, key=lambda line: line.contact) for cell in _cells(line)]
            columns = ("contact", "what", "field", "old", "new")
            print_table(f"{one.connection}, some of it (all: --json)", columns, cells, empty="")


def _cells(line: Line) -> Iterator[tuple[Any, ...]]:
    if not line.changes:
        yield (line.contact, line.what, line.code, "", line.reason)
    for change in line.changes:
        yield (line.contact, line.what, change.name, _text(change.old), _text(change.new))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)


def _duration(seconds: float | None) -> str:
    return "no published rate" if seconds is None else str(timedelta(seconds=round(seconds)))


def apply(
    plan_file: Annotated[Path, typer.Argument(help="Made by `tandem plan --out`.", metavar="PLAN")],
    by: By,
    config: ConfigFile = None,
    as_json: AsJson = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Approve only; the service writes it.  The same command shows how far.")
    ] = False,
) -> None:
    """Write exactly what a plan showed.

    Each order is written if the contact and the vendor's record are still what the plan showed; the others are listed.
    The connection has to be in mode canary.  Brakes, retries and dead letters are as ever.  Cut off, the same command
    goes on.  Ends with 1 where something was not written.

    ```console
    tandem apply mailchimp.plan --by Kim
    ```
    """
    by = named(by)
    with whole(config) as tandem:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("approving", total=None)
            done = approving.approve(
                tandem.database, tandem.connections, plan_file, by, lambda n: progress.update(task, completed=n)
            )
        now = _far(tandem, done.plan) if no_wait else _written(tandem, done.plan)
        with tandem.database.read() as db:
            over = approving.moved(db, done.plan, SAMPLE * 20)
    moved = len(done.moved) + now.moved
    if as_json:
        left = [{"connection": name, "contact_id": n, "why": "moved"} for name, n in done.moved]
        left += [{"connection": name, "contact_id": n, "why": why} for name, n, why in over]
        figures = {"written": now.written, "waiting": now.waiting, "stuck": now.stuck, "moved": moved}
        print_json({"plan": done.plan, "orders": done.orders, **figures, "failed": now.failed, "not_written": left})
    else:
        typer.echo(f"{now.written:,} of {done.orders:,} orders are written, {now.waiting:,} wait")
        for name, n in done.moved[: SAMPLE * 4]:
            typer.echo(f"{name}: contact {n} is not what the plan showed any more")
        for name, n, why in over[: SAMPLE * 4]:
            typer.echo(f"{name}: contact {n}: {why}")
        if moved:
            say(f"{moved:,} orders are not what the plan showed; make a new plan for them")
        if now.failed:
            say(f"the vendor refused {now.failed:,} orders: `tandem dead list`")
        if now.stuck:
            say(f"{now.stuck:,} orders wait for a person: a brake is on or the connection rests; see `tandem status`")
    if moved or now.failed or now.stuck:
        raise typer.Exit(PROBLEM)


def _far(tandem: Tandem, plan_id: str) -> Standing:
    with tandem.database.read() as db:
        return approving.standing(db, plan_id)


def _anybody_alive(tandem: Tandem) -> bool:
    with tandem.database.read() as db:
        return any(one.alive for one in standing.workers(db) if one.id != tandem.worker_id)


def _written(tandem: Tandem, plan_id: str) -> Standing:
    """Wait until a worker has written it; where none is alive, be one.

    Looked at again while waiting: who was killed a moment ago, such as the command before this, seems alive at first.
    """
    alive = True
    seen = beat = clock.monotonic() - EVERY
    now = _far(tandem, plan_id)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("writing", total=now.written + now.waiting)
        try:
            while now.waiting > now.stuck:
                if alive and not (alive := _anybody_alive(tandem)):
                    with tandem.database.write() as db:
                        for dead in leases.register(db, tandem.worker_id):
                            work.release(db, dead)
                did = not alive and (tandem.push.step() or tandem.fetch.step())
                if did and clock.monotonic() - seen < EVERY:
                    continue
                if not did:
                    time.sleep(0.05 if not alive else EVERY)
                if not alive and clock.monotonic() - beat > BEAT:
                    beat = clock.monotonic()
                    with tandem.database.write() as db:
                        leases.beat(db, tandem.worker_id)
                seen, now = clock.monotonic(), _far(tandem, plan_id)
                progress.update(task, completed=now.written)
        finally:
            if not alive:
                with tandem.database.write() as db:
                    work.release(db, tandem.worker_id)
                    leases.sign_off(db, tandem.worker_id)
    return now


def backfill(
    connection: Only = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show it until all is read.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how far the first complete reading is.

    The service reads all connections at once, page by page, and goes on where it was after a restart.  Nobody is
    created anywhere before all of them are done.  Ends with 1 where one rests.

    ```console
    tandem backfill
    tandem backfill --connection hubspot --follow
    ```
    """
    with whole(config) as tandem:
        names = chosen(tandem.connections, connection)

        def look() -> list[Reading]:
            with tandem.database.read() as db:
                return readings(db, tandem.connections, names)

        found = look()
        while follow and any(one.state in {"waiting", "reading", "storing"} for one in found):
            for one in found:
                typer.echo(_sentence(one), err=True)
            time.sleep(2)
            found = look()
    if as_json:
        print_json([reading_shown(one).model_dump(mode="json") for one in found])
    else:
        columns = ("connection", "state", "read", "of", "to store", "a second", "ends")
        rows = [
            (
                r.connection,
                r.state,
                r.read,
                r.total,
                r.pending,
                _rate(r),
                moment(r.ends_at if r.done_at is None else r.done_at),
            )
            for r in found
        ]
        print_table("", columns, rows, empty="no connection is configured")
    if any(one.state == "paused" for one in found):
        raise typer.Exit(PROBLEM)


def _rate(reading: Reading) -> str:
    return "" if reading.rate is None else f"{reading.rate:,.0f}"


def _sentence(reading: Reading) -> str:
    total = "" if reading.total is None else f" of {reading.total:,}"
    ends = "" if reading.ends_at is None else f", until {moment(reading.ends_at)}"
    rate = _rate(reading)
    pace = f", {rate} a second" if rate else ""
    head = f"{reading.connection}: {reading.state}, {reading.read:,}{total} read, {reading.pending:,} to store"
    return f"{head}{pace}{ends}"
