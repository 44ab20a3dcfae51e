"""``tandem undo``: put back what certain changes replaced."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import select

from app.commands.act import utc
from app.commands.base import AsJson, By, ConfigFile, named, print_json, print_table, say, whole
from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import dumps
from app.core.errors import NotPossible
from app.ops.undo import UndoShown, shown
from app.repair.past import Which
from app.repair.undoing import WHY_NOT

if TYPE_CHECKING:
    from app.main import Tandem


def undo(
    by: By,
    run: Annotated[int | None, typer.Option("--run", help="What this run changed.", metavar="ID", min=1)] = None,
    contact: Annotated[int | None, typer.Option("--contact", help="Only of this contact.", metavar="ID", min=1)] = None,
    field: Annotated[str | None, typer.Option("--field", help="Only of this field.", metavar="NAME")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=utc, metavar="MOMENT", help="Only what was stored then or later; UTC unless it says."),
    ] = None,
    connection: Annotated[
        str | None, typer.Option("--connection", help="Only what came from there.", metavar="NAME")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be put back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put back what certain changes replaced, on all sides.

    Shows first what goes back, and what cannot and why: what was changed again since stays as it is, and no consent is
    raised.  What is put back is a change like any other: it travels to every vendor, and can be undone by its run.

    ```console
    tandem undo --since 2026-03-01T09:00:00Z --connection hubspot --dry-run --by Kim
    tandem undo --contact 42 --field city --by Kim
    tandem undo --run 3 --by Kim
    ```
    """
    by = named(by)
    which = Which(run, contact, field, to_ms(since) if since is not None else None, connection)
    with whole(config) as tandem:
        plan = tandem.undo.plan(which)
        preview = shown(plan)
        if dry_run:
            if as_json:
                print_json(preview.model_dump(mode="json"))
            else:
                _preview(preview, err=False)
            return
        if plan.total == 0:
            _preview(preview, err=True)
            why = "; ".join(WHY_NOT[code] for code in sorted(plan.not_possible))
            raise NotPossible(f"nothing can be put back{f': {why}' if why else ': no change fits'}")
        if not yes:
            _preview(preview, err=True)
            typer.confirm(f"Put back {plan.total} values?", abort=True, err=True)
        number = tandem.undo.start(which, by, plan.total)
        done = _work(tandem, number, plan.total)
    if as_json:
        print_json({**preview.model_dump(mode="json"), "run": number, "done": done})
    else:
        typer.echo(f"run {number}: {done} values put back here; the workers write them to the vendors")
        say(f"`tandem undo --run {number} --by NAME` takes it back")


def _work(tandem: Tandem, number: int, total: int) -> int:
    """Do it here; what an interruption leaves, a worker takes up."""
    r = t.run.c

    def standing() -> Any:
        with tandem.database.read() as db:
            return db.execute(select(r.status, r.done).where(r.id == number)).one()

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("putting back", total=total)
        row = standing()
        while row.status == "running" and tandem.undo.step():
            row = standing()
            progress.update(task, completed=row.done)
    return int(standing().done)


def _preview(preview: UndoShown, *, err: bool) -> None:
    rows = [(name, count) for name, count in preview.fields.items()]
    print_table("", ("field", "values that go back"), rows, empty="nothing goes back", err=err)
    if preview.samples:
        some = [(c.contact_id, c.field, _text(c.now), _text(c.then)) for c in preview.samples]
        print_table("Some of them", ("contact", "field", "now", "then"), some, empty="", err=err)
    if preview.not_undone:
        stays = [(n.count, n.words) for n in preview.not_undone]
        print_table("What is not put back", ("how many", "why"), stays, empty="", err=err)
    if preview.stuck:
        some_stuck = [(s.contact_id, s.field, s.code, s.by) for s in preview.stuck]
        print_table("Some of those", ("contact", "field", "why", "changed by"), some_stuck, empty="", err=err)
    if preview.not_written:
        left = [(n.connection, n.field, n.count) for n in preview.not_written]
        print_table("What a vendor keeps", ("connection", "field", "how many"), left, empty="", err=err)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)
