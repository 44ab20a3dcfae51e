"""``tandem connect``, ``disconnect`` and ``keys``: OAuth from a terminal, and the keys that seal its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.base import (
    PROBLEM,
    AsJson,
    By,
    ConfigFile,
    configuration,
    moment,
    named,
    print_json,
    print_table,
    say,
    store,
    whole,
)
from app.core.clock import to_ms
from app.core.errors import NotPossible
from app.core.sealing import CannotOpen, Keys, new_key
from app.ops.connect import standings
from app.records import tokens
from app.repair.connecting import Connected
from connectors._oauth_facts import Grant
from connectors.contract import NeedsHuman, Problem, TryLater

if TYPE_CHECKING:
    from app.main import Tandem

keys = typer.Typer(no_args_is_help=True, help="The keys that seal OAuth tokens in the store.")

Name = Annotated[str, typer.Argument(help="The connection.", metavar="CONNECTION")]


def connect(
    name: Annotated[str | None, typer.Argument(help="The connection.  Default: show how all stand.")] = None,
    by: Annotated[str, typer.Option("--by", help="Your name; it is kept.", metavar="NAME")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Connect an account by OAuth, from any terminal.

    Prints an address.  Open it in a browser on any machine and agree.  The vendor then sends the browser to
    `<public_url>/connections/<name>/callback`: where the service runs there, it says "connected", and you press Enter
    here.  Where nothing answers, copy the address at which the browser ended and paste it here: it is asked for, so
    that it is in no shell's history, it works once, and no token is in it.

    A connection that needs nobody's consent (client credentials, JWT) gets its first token at once.

    ```console
    tandem connect
    tandem connect hubspot --by Kim
    ```
    """
    with whole(config) as tandem:
        if name is None:
            _list(tandem, as_json)
            return
        by = named(by)
        access = tandem.connecting.access(name)
        try:
            found = _agreed(tandem, name, by) if access.authority.grant is Grant.CODE else _obtained(tandem, name, by)
        except (TryLater, NeedsHuman) as problem:
            raise NotPossible(f"{name}: not connected: {problem}") from None
        try:
            who = tandem.connections[name].connector.check()
        except Problem as problem:
            who = None
            say(f"{name}: connected, but the vendor does not answer as it should: {problem}")
    if as_json:
        print_json(
            {
                "connection": name,
                "account": found.account,
                "scopes": list(found.scopes),
                "renews": found.renews,
                "resumed": found.resumed,
                "check": who,
            }
        )
    else:
        ends = "renewed without you" if found.renews else "not renewed: the vendor gave no refresh token"
        typer.echo(f"{name}: connected; {ends}" + (f"; {who}" if who is not None else ""))
        if found.resumed:
            typer.echo(f"{name}: goes on")
    if who is None:
        raise typer.Exit(PROBLEM)


def _list(tandem: Tandem, as_json: bool) -> None:
    found = standings(tandem.database, tandem.connecting)
    if as_json:
        print_json({"items": [one.model_dump(mode="json") for one in found]})
        return
    rows = [
        [
            one.connection,
            "lost" if one.lost_at is not None else "yes" if one.connected else "no",
            "yes" if one.renews else "no",
            moment(to_ms(one.expires_at)) if one.expires_at is not None else None,
            one.connected_by,
            one.account,
            one.key,
        ]
        for one in found
    ]
    columns = ("connection", "connected", "renews itself", "token until", "by", "account", "key")
    print_table("", columns, rows, empty="no connection uses OAuth: docs/connect.md says how one does")


def _agreed(tandem: Tandem, name: str, by: str) -> Connected:
    """Somebody agrees in a browser; from here or over the running service."""
    before = _version(tandem, name)
    begun = tandem.connecting.begin(name, by)
    say(f"the vendor's app has to be registered with the redirect URL {begun.redirect_uri}")
    say(f"open this in a browser and agree, until {moment(to_ms(begun.until))}:")
    typer.echo(begun.url, err=True)
    pasted = typer.prompt(
        "Then press Enter; or paste the address at which the browser ended",
        default="",
        show_default=False,
        hide_input=True,
        err=True,
    )
    if pasted.strip():
        return tandem.connecting.finish_pasted(name, pasted)
    if _version(tandem, name) == before:
        raise NotPossible(
            f"{name}: nobody has come back yet.  Where the browser's page did not say that it is connected, paste its "
            f"address here: `tandem connect {name}` begins anew"
        )
    one = next(s for s in standings(tandem.database, tandem.connecting) if s.connection == name)
    return Connected(name, one.account, tuple(one.scopes), one.renews, resumed=False)


def _obtained(tandem: Tandem, name: str, by: str) -> Connected:
    return tandem.connecting.obtain(name, by)


def _version(tandem: Tandem, name: str) -> int | None:
    with tandem.database.read() as db:
        return next((row["version"] for row in tokens.listed(db) if row["connection"] == name), None)


def disconnect(name: Name, by: By, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Forget a connection's OAuth tokens, here and, where it has a way, at the vendor.

    The connection then rests until it is connected again.  Its contacts, links and history stay.

    ```console
    tandem disconnect hubspot --by Kim
    ```
    """
    by = named(by)
    with whole(config) as tandem:
        gone = tandem.connecting.forget(name, by)
    if as_json:
        print_json({"connection": name, "disconnected": gone})
    else:
        typer.echo(f"{name}: {'its tokens are gone' if gone else 'there were no tokens'}")


@keys.command("new")
def keys_new() -> None:
    """Make a key.

    It is printed and kept nowhere: put it into `TANDEM_ENCRYPTION_KEYS`, before the keys that are there, or into the
    file that `TANDEM_ENCRYPTION_KEYS_FILE` names.

    ```console
    tandem keys new
    ```
    """
    typer.echo(new_key())


@keys.command("list")
def keys_list(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the ids of the keys, and how many connections' tokens each seals; never a key.

    ```console
    tandem keys list
    ```
    """
    settings, loaded = configuration(config)
    own = Keys.of(settings.encryption_keys)
    with store(settings, loaded) as database, database.read() as db:
        used = tokens.by_key(db)
    rows: list[dict[str, Any]] = [
        {"key": one, "standing": "seals" if n == 0 else "opens", "tokens": used.pop(one, 0)}
        for n, one in enumerate(own.ids)
    ]
    rows += [{"key": one, "standing": "missing", "tokens": count} for one, count in sorted(used.items())]
    if as_json:
        print_json({"items": rows})
    else:
        print_table("", ("key", "standing", "tokens"), [list(row.values()) for row in rows], empty="no key")
    if used:
        say("what a missing key seals cannot be read: put the key back behind the others, or connect anew")
        raise typer.Exit(PROBLEM)


@keys.command("rotate")
def keys_rotate(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Seal all tokens with the newest key, so that older ones can be taken away.

    First put a new key before the old ones and restart every process; then this; then take the old keys away.

    ```console
    tandem keys rotate
    ```
    """
    settings, loaded = configuration(config)
    own = Keys.of(settings.encryption_keys)
    with store(settings, loaded) as database:
        try:
            count = database.transact(lambda db: tokens.reseal(db, own))
        except CannotOpen as problem:
            raise NotPossible(f"nothing was changed: {problem}") from None
    if as_json:
        print_json({"key": own.id, "resealed": count})
    else:
        typer.echo(f"key {own.id} seals everything now ({count} sealed anew)")
