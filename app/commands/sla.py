"""Commands about what sales and marketing owe each other: how it stands, and what a named person does to a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Connection as Db

from app.agreement import pausing
from app.agreement.clocks import Reading, State
from app.agreement.leads import Known
from app.commands.base import AsJson, By, ConfigFile, listed, named, print_json, print_table, whole
from app.commands.look import Limit
from app.ops import sla as ops

if TYPE_CHECKING:
    from app.main import Tandem

app = typer.Typer(no_args_is_help=True, help="What sales and marketing owe each other, and how it stands.")

Contact = Annotated[int, typer.Argument(help="The contact's number.", metavar="CONTACT", min=1)]
_COLUMNS = ("clock", "round", "state", "owner", "started_at", "due_at", "breached_at", "ended_at", "paused_for")


@app.command("board")
def sla_board(
    state: Annotated[State | None, typer.Option("--state", help="Only in this state.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Only of this colleague, by address.", metavar="ADDRESS")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="Only of this team.", metavar="TEAM")] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show the board.

    The clocks of leads that run, the earliest due first, and how the promises of marketing stand in their period.

    ```console
    tandem sla board
    tandem sla board --state breached --owner kim@example.org
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found, _ = ops.listed(db, state=state, owner=owner, team=team, limit=limit)
        owed = [p.model_dump(mode="json") for p in ops.promises(db, Known())]
    rows = [clock.model_dump(mode="json") for clock in found]
    if as_json:
        print_json({"clocks": rows, "promises": owed})
        return
    names = ("contact_id", "clock", "state", "owner", "team", "due_at", "breached_at")
    print_table("sales", names, listed(rows, names), empty="no such clock")
    columns = ("promise", "period", "judgement", "so_far", "target", "leads", "accepted", "decided", "low", "high")
    print_table(
        "marketing", columns, listed(owed, columns), empty="the agreement in force names no promise of marketing"
    )


@app.command("show")
def sla_show(contact: Contact, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the clocks of a lead.

    ```console
    tandem sla show 42
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        number, found = pausing.shown(db, tandem.connections, Known(), contact)
    _print(number, found, as_json=as_json)


def _print(contact: int, readings: tuple[Reading, ...], *, as_json: bool) -> None:
    found = ops.of_lead(contact, readings).model_dump(mode="json")
    if as_json:
        print_json(found)
        return
    names = (*_COLUMNS, "remaining")
    print_table("minutes of business time", names, listed(found["clocks"], names), empty="this lead has no clock")


def _act(
    contact: int, config: ConfigFile, do: Callable[[Tandem, Db, Known], tuple[Reading, ...]], *, as_json: bool
) -> None:
    with whole(config) as tandem:
        known = Known()
        found = tandem.database.transact(lambda db: do(tandem, db, known))
    _print(contact, found, as_json=as_json)


@app.command("pause")
def sla_pause(
    contact: Contact,
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="One that the agreement knows.", metavar="REASON")],
    clock: Annotated[str | None, typer.Option("--clock", help="This clock only.", metavar="CLOCK")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let the clocks of a lead stand.

    Those that may stand for the reason, by the agreement; the others run on.

    ```console
    tandem sla pause 42 --reason "asked to wait" --by Kim
    ```
    """
    by = named(by)
    _act(
        contact,
        config,
        lambda tandem, db, known: pausing.pause(db, tandem.connections, known, contact, reason, by, clock=clock),
        as_json=as_json,
    )


@app.command("resume")
def sla_resume(
    contact: Contact,
    by: By,
    reason: Annotated[str | None, typer.Option("--reason", help="What they stand for.", metavar="REASON")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let the clocks of a lead go on.

    ```console
    tandem sla resume 42 --by Kim
    ```
    """
    by = named(by)
    _act(
        contact,
        config,
        lambda tandem, db, known: pausing.resume(db, tandem.connections, known, contact, by, reason=reason),
        as_json=as_json,
    )


@app.command("reassign")
def sla_reassign(
    contact: Contact,
    owner: Annotated[str, typer.Argument(help="Address of the colleague.", metavar="ADDRESS")],
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.", metavar="REASON")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a lead to another colleague.

    The owner of the contact changes, here and at every platform whose mapping writes it.

    ```console
    tandem sla reassign 42 lou@example.org --reason "on leave" --by Kim
    ```
    """
    by = named(by)
    _act(
        contact,
        config,
        lambda tandem, db, known: pausing.reassign(db, tandem.connections, known, contact, owner, reason, by),
        as_json=as_json,
    )
