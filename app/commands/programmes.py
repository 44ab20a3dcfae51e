"""Commands about programmes: who is in which, why, and what it brings about."""

from __future__ import annotations

from typing import Annotated

import typer

from app.agreement.leads import Known
from app.commands.base import AsJson, ConfigFile, listed, print_json, print_table, whole
from app.commands.look import Limit
from app.ops import programmes as ops

app = typer.Typer(no_args_is_help=True, help="Programmes: whom both teams look after together.")

Name = Annotated[str, typer.Argument(help="As the agreement calls it.", metavar="NAME")]


@app.command("list")
def programmes_list(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the programmes.

    How many have each now, how many are left without it to compare with, and what it brought about.

    ```console
    tandem programmes list
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = [p.model_dump(mode="json") for p in ops.listed(db, tandem.connections, Known())]
    if as_json:
        print_json(found)
        return
    rows = [{**p, "left_out": p["effect"]["without_it"]["now"], "effect": p["effect"]["says"]} for p in found]
    names = ("name", "members", "left_out", "tag", "delivered_by", "effect")
    print_table("", names, listed(rows, names), empty="the agreement in force names no programme")


@app.command("show")
def programmes_show(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show a programme.

    Its conditions, where its tag goes, and both groups: those who got it and those left without it.

    ```console
    tandem programmes show warm_up
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = ops.one(db, tandem.connections, Known(), name).model_dump(mode="json")
    if as_json:
        print_json(found)
        return
    effect = found.pop("effect")
    arms = [{"group": group, **effect.pop(key)} for group, key in (("with", "with_it"), ("without", "without_it"))]
    print_table("", ("", ""), [(n, v) for n, v in found.items() if v not in (None, [])], empty="")
    names = ("group", "enrolled", "now", "measured", "reached", "waiting", "late")
    print_table("groups", names, listed(arms, names), empty="")
    print_table("effect", ("", ""), [(n, v) for n, v in effect.items() if v is not None], empty="")


@app.command("members")
def programmes_members(
    name: Name,
    ever: Annotated[bool, typer.Option("--ever", help="Also those who were in it.")] = False,
    before: Annotated[
        int | None, typer.Option(min=1, help="Only behind this row: `next` of the page before.", metavar="ROW")
    ] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List who is in a programme.

    The newest first, with why they came and why they left.

    ```console
    tandem programmes members warm_up
    tandem programmes members warm_up --ever --json
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        ops.required(db, Known(), name)
        found, following = ops.members(db, name, current=not ever, before=before, limit=limit)
    rows = [member.model_dump(mode="json") for member in found]
    if as_json:
        print_json({"items": rows, "next": following})
        return
    names = ("contact_id", "round", "enrolled_at", "why", "ended_at", "ended_why", "held_out", "reached_at")
    print_table("", names, listed(rows, names), empty="nobody is in it")
