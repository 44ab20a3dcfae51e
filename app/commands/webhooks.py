"""``tandem webhooks``: the vendors' subscriptions, looked at, made and removed through their own interfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from app.commands.base import PROBLEM, AsJson, ConfigFile, print_json, print_table, say, whole
from app.core.errors import NotPossible
from app.core.settings import variable_of
from app.repair import hooks
from connectors.contract import Can, NeedsHuman, Refused, TryLater

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="The vendors' subscriptions that tell us of changes.")

Name = Annotated[str, typer.Argument(help="The connection.", metavar="CONNECTION")]


def _asked(name: str, call: Callable[[], T]) -> T:
    """The answer of a call to a vendor.  Raises NotPossible with its reason."""
    try:
        return call()
    except (TryLater, Refused, NeedsHuman) as problem:
        raise NotPossible(f"{name}: {problem}") from None


@app.command("status")
def webhooks_status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the subscriptions that vendors have for us.

    Asks each vendor that has an interface for it.  Ends with 1 where one is missing, switched off or incomplete.

    ```console
    tandem webhooks status
    ```
    """
    rows: list[dict[str, Any]] = []
    good = True
    with whole(config) as tandem:
        for one in tandem.connections.values():
            if Can.HOOKS not in one.connector.can:
                rows.append({"connection": one.name, "id": None, "about": "", "state": "made by hand at the vendor"})
                continue
            here, others = _asked(one.name, lambda one=one: hooks.ours(one, tandem.public_url))  # type: ignore[misc]
            for hook in here:
                bad = hooks.wrong([hook])
                state = "; ".join(bad) if bad else "on" if hook.on else "there; the vendor does not say whether on"
                rows.append({"connection": one.name, "id": hook.id, "about": hook.about, "state": state})
                good = good and not bad
            if not here:
                good = False
                state = f"missing: `tandem webhooks install {one.name}`"
                rows.append({"connection": one.name, "id": None, "about": "", "state": state})
            if others:
                state = f"{len(others)} more, which lead elsewhere"
                rows.append({"connection": one.name, "id": None, "about": "", "state": state})
    if as_json:
        print_json({"ok": good, "webhooks": rows})
    else:
        names = ("connection", "id", "about", "state")
        print_table("", names, [[row[n] for n in names] for row in rows], empty="no connection")
    if not good:
        raise typer.Exit(PROBLEM)


@app.command("install")
def webhooks_install(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Let a vendor tell us of changes.

    Makes what is missing, switches on what is off, makes nothing twice.  Some vendors ask our URL first, so the service
    has to run and be reachable under `public_url`.  A signing secret that the vendor tells now most tell never again:
    put it where the message says.

    ```console
    tandem webhooks install mailchimp
    ```
    """
    with whole(config) as tandem:
        one = tandem.connections[name]
        made = _asked(name, lambda: hooks.install(one, tandem.public_url))
    if as_json:
        ids = [hook.id for hook in made.hooks]
        setting = None if made.secret is None else made.setting
        print_json({"connection": name, "webhooks": ids, "signing_secret": made.secret, "setting": setting})
    else:
        typer.echo(f"{name}: {len(made.hooks)} subscription{'' if len(made.hooks) == 1 else 's'} on")
        if made.secret is not None:
            typer.echo(f"{variable_of(name, made.setting)}={made.secret}")
    if made.secret is not None:
        say("most vendors tell it once: put the line into .env, then restart; until then it proves no delivery")


@app.command("remove")
def webhooks_remove(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove our subscriptions at a vendor.

    Those that lead elsewhere stay.  Polls go on.

    ```console
    tandem webhooks remove mailchimp
    ```
    """
    with whole(config) as tandem:
        one = tandem.connections[name]
        gone = _asked(name, lambda: hooks.remove(one, tandem.public_url))
    if as_json:
        print_json({"connection": name, "removed": gone})
    else:
        typer.echo(f"{name}: {len(gone)} subscription{'' if len(gone) == 1 else 's'} removed")
