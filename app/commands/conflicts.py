"""``tandem conflict``: double edits that wait for a person."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import orjson
import typer

from app.commands.base import (
    AsJson,
    By,
    ConfigFile,
    configuration,
    known,
    named,
    print_json,
    print_table,
    say,
    store,
    whole,
)
from app.commands.look import Connection, Limit
from app.core.db import dumps
from app.core.words import MISSING
from app.ops import conflicts as shown
from app.ops.conflicts import Voice
from app.records import conflicts
from app.repair import settling

app = typer.Typer(no_args_is_help=True, help="Values that two sides changed at once, where the mapping says `ask`.")

Number = Annotated[int, typer.Argument(help="Which one.", metavar="ID", min=1)]


@app.command("list")
def list_(
    config: ConfigFile = None,
    connection: Connection = None,
    contact: Annotated[int | None, typer.Option("--contact", help="Only of this contact.", min=1, metavar="ID")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person, the newest first.

    ```console
    tandem conflict list --connection mailchimp
    ```
    """
    settings, loaded = configuration(config)
    if connection is not None:
        known(loaded, connection)
    with store(settings, loaded) as database, database.read() as db:
        page = shown.listing(db, limit=limit, connection=connection, contact=contact)
    if as_json:
        print_json([one.model_dump(mode="json") for one in page.items])
        return
    rows = [(c.id, c.contact_id, c.field, _text(c.ours), c.connection, _text(c.theirs)) for c in page.items]
    names = ("id", "contact", "field", "ours", "connection", "theirs")
    print_table("", names, rows, empty="nothing waits for a decision")
    if page.next is not None:
        say("there are more; --limit shows more of them")


@app.command("show")
def show(number: Number, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show both values, who said them, when, and through which event.

    ```console
    tandem conflict show 5
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        one = shown.detail(db, number)
    if as_json:
        print_json(one.model_dump(mode="json"))
        return
    typer.echo(f"contact {one.contact_id}, {one.field}; {one.waiting} of this kind wait")
    rows = [("ours", *_voice(one.ours_by)), ("theirs", *_voice(one.theirs_by))]
    print_table("", ("", "value", "said by", "at", "event"), rows, empty="")


@app.command("decide")
def decide(
    number: Number,
    by: By,
    choose: Annotated[str, typer.Option("--choose", help="ours, theirs, or value.", metavar="WHICH")],
    value: Annotated[
        str | None,
        typer.Option("--value", help='With `--choose value`: a text, or JSON such as ["a", "b"], true or null.'),
    ] = None,
    always: Annotated[
        bool, typer.Option("--always", help="Also for every double edit of this field there from now on.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which value holds; it is written to all sides.

    ```console
    tandem conflict decide 5 --choose theirs --by Kim
    tandem conflict decide 5 --choose value --value "Head of Sales" --by Kim
    tandem conflict decide 6 --choose ours --always --by Kim
    ```
    """
    by = named(by)
    if choose not in {"ours", "theirs", "value"}:
        raise typer.BadParameter("one of ours, theirs, value", param_hint="--choose")
    if (value is None) is (choose == settling.OWN):
        raise typer.BadParameter("goes with `--choose value`, and only with it", param_hint="--value")
    which = cast('Literal["ours", "theirs", "value"]', choose)
    given = _value(value) if value is not None else MISSING
    with whole(config) as tandem:
        decided = tandem.database.transact(
            lambda db: settling.decide(db, tandem.connections, number, which, by, value=given, always=always)
        )
    if as_json:
        print_json(
            {
                "contact_id": decided.contact,
                "field": decided.field,
                "value": decided.value,
                "waiting": decided.waiting,
            }
        )
        return
    typer.echo(f"contact {decided.contact}: {decided.field} is {_text(decided.value)}; the vendors are told")
    if always:
        say("remembered; `tandem conflict rules` lists what is, and takes it back")
    if decided.waiting:
        say(f"{decided.waiting} double edits of this field still wait there: `tandem conflict list`")


@app.command("rules")
def rules(
    remove: Annotated[
        str | None, typer.Option("--remove", help="Ask again about this.", metavar="CONNECTION.FIELD")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Your name, with --remove.", metavar="NAME")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List what was decided for all double edits of a field, or take it back.

    ```console
    tandem conflict rules
    tandem conflict rules --remove mailchimp.job_title --by Kim
    ```
    """
    settings, loaded = configuration(config)
    if remove is not None and named(by if by is not None else ""):
        connection, _, name = remove.partition(".")
        with store(settings, loaded) as database, database.write() as db:
            conflicts.unrule(db, connection, name)
    with store(settings, loaded) as database, database.read() as db:
        found = shown.rulings(db).items
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    rows = [(r.connection, r.field, f"always {r.choice}", r.by, _time(r.at)) for r in found]
    print_table("", ("connection", "field", "what", "by", "at"), rows, empty="nothing is decided for all")


def _value(text: str) -> Any:
    """JSON where it is a list, true, false, null or a quoted text; otherwise the text itself."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return text
    return text if isinstance(found, int | float) and not isinstance(found, bool) else found


def _voice(one: Voice | None) -> tuple[Any, ...]:
    if one is None:
        return ("", "nobody", "", "")
    who = f"{one.source} ({one.actor})" if one.actor is not None else one.source
    return (_text(one.value), who, _time(one.at), one.event)


def _time(at: Any) -> str:
    return str(at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def _text(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else dumps(value)
