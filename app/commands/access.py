"""``tandem user``, ``token`` and ``audit``: who may sign in, which programs may ask, and who did what."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from app.commands.base import (
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
)
from app.core.clock import from_ms
from app.core.db import now_ms
from app.core.errors import NotPossible
from app.ops.access import passwords
from app.ops.access.api import act_shown, token_shown
from app.ops.access.permissions import Permission, Role
from app.ops.access.visitors import new_token
from app.records import accounts, apitokens, sessions
from app.records import audit as acts

user = typer.Typer(no_args_is_help=True, help="Colleagues who may sign in to the console.")
token = typer.Typer(no_args_is_help=True, help="Programs that may ask the API.")

Who = Annotated[str, typer.Argument(help="The name that is typed to sign in.", metavar="NAME")]
AsRole = Annotated[Role, typer.Option("--role", help="What they may: docs/permissions.md.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")]


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given: str = typer.prompt(f"Password, at least {passwords.SHORTEST} characters", hide_input=True, err=True)
    if given != typer.prompt("Once more", hide_input=True, err=True):
        raise NotPossible("the two are not the same; nothing was changed")
    return given


@user.command("add")
def add_user(name: Who, role: AsRole, by: By, password_stdin: FromStdin = False, config: ConfigFile = None) -> None:
    """Let a colleague sign in with a name and a password.

    With the first account the API and the console ask everybody who they are, also on this machine.  Where an identity
    provider is configured (`login` in tandem.yml), accounts come from there by themselves.

    ```console
    tandem user add ann --role operator --by Kim
    ```
    """
    settings, loaded = configuration(config)
    who = named(by)
    with store(settings, loaded) as database:
        kept = passwords.hashed(_password(password_stdin), name)
        with database.write() as db:
            number = accounts.add(db, name, role, kept, who)
    typer.echo(f"account {number}: {accounts.plain(name)} may sign in as {role}")


@user.command("list")
def list_users(config: ConfigFile = None, limit: Limit = 200, as_json: AsJson = False) -> None:
    """List the accounts.

    ```console
    tandem user list
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        rows = accounts.listed(db, limit)
    found = [
        {
            "id": row["id"],
            "name": row["name"],
            "role": row["role"],
            "by": "password" if row["password"] is not None else row["issuer"],
            "signed_in_at": moment(row["signed_in_at"]),
            "disabled_at": moment(row["disabled_at"]),
        }
        for row in rows
    ]
    if as_json:
        print_json(found)
        return
    names = ("id", "name", "role", "by", "signed_in_at", "disabled_at")
    heads = ("id", "name", "role", "signs in by", "last signed in", "disabled")
    print_table("", heads, [[one[n] for n in names] for one in found], empty="nobody has an account")


@user.command("disable")
def disable_user(
    name: Who,
    by: By,
    again: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    config: ConfigFile = None,
) -> None:
    """Let a colleague sign in no more; whoever is signed in is signed out.  The name stays in what it did.

    ```console
    tandem user disable ann --by Kim
    tandem user disable ann --undo --by Kim
    ```
    """
    settings, loaded = configuration(config)
    named(by)
    with store(settings, loaded) as database, database.write() as db:
        row = accounts.known(db, name)
        accounts.change(db, row["id"], disabled_at=None if again else now_ms())
    typer.echo(f"{row['name']} may {'sign in again' if again else 'sign in no more'}")


@user.command("password")
def change_password(name: Who, by: By, password_stdin: FromStdin = False, config: ConfigFile = None) -> None:
    """Give a colleague another password; whoever is signed in has to do so again.

    ```console
    tandem user password ann --by Kim
    ```
    """
    settings, loaded = configuration(config)
    named(by)
    with store(settings, loaded) as database:
        with database.read() as db:
            row = accounts.known(db, name)
        if row["subject"] is not None:
            raise NotPossible(f"{row['name']} signs in by {row['issuer']}: change the password there")
        kept = passwords.hashed(_password(password_stdin), name)
        with database.write() as db:
            accounts.change(db, row["id"], password=kept)
    typer.echo(f"{row['name']} has another password and is signed out")


@user.command("role")
def change_role(
    name: Who,
    role: Annotated[Role, typer.Argument(help="What they may from now on: docs/permissions.md.")],
    by: By,
    config: ConfigFile = None,
) -> None:
    """Give a colleague another role.  Whoever signs in by a provider gets theirs from its groups at each login.

    ```console
    tandem user role ann steward --by Kim
    ```
    """
    settings, loaded = configuration(config)
    named(by)
    with store(settings, loaded) as database, database.write() as db:
        row = accounts.known(db, name)
        accounts.change(db, row["id"], role=role)
        sessions.end_all(db, row["id"])
    typer.echo(f"{row['name']} is {role} from now on and has to sign in again")


@token.command("new")
def make_token(
    name: Annotated[str, typer.Argument(help="The program; its acts are kept under this name.", metavar="NAME")],
    role: AsRole,
    by: By,
    days: Annotated[float, typer.Option("--days", min=0, help="Until it expires; 0: never.")] = 90,
    scope: Annotated[
        list[Permission] | None, typer.Option("--scope", help="Of the role's permissions only this; repeatable.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Make a token for a program.  It is printed once, alone on standard output, and kept as a hash.

    ```console
    tandem token new prometheus --role viewer --scope status --days 365 --by Kim > prometheus.token
    ```
    """
    settings, loaded = configuration(config)
    who = named(by)
    with store(settings, loaded) as database:
        row, secret = new_token(database, name, role, scope if scope else None, days if days else None, who)
    until = "never expires" if row["expires_at"] is None else f"is good until {moment(row['expires_at'])}"
    say(f"token {row['id']} of {row['name']}, {role}, {until}; it is shown this once:")
    typer.echo(secret)


@token.command("list")
def list_tokens(config: ConfigFile = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the tokens, the newest first; never what they are.

    ```console
    tandem token list
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        rows = apitokens.listed(db, limit)
    if as_json:
        print_json([token_shown(row).model_dump(mode="json") for row in rows])
        return
    cells = [
        (
            row["id"],
            row["name"],
            row["role"],
            ", ".join(row["scopes"]) if row["scopes"] is not None else "all of the role",
            moment(row["expires_at"]) if row["expires_at"] is not None else "never",
            moment(row["used_at"]),
            moment(row["revoked_at"]),
        )
        for row in rows
    ]
    print_table("", ("id", "name", "role", "may", "expires", "last used", "revoked"), cells, empty="no tokens")


@token.command("revoke")
def revoke_token(
    number: Annotated[int, typer.Argument(help="Its id, see `tandem token list`.", metavar="ID")],
    by: By,
    config: ConfigFile = None,
) -> None:
    """End a token from now on.

    ```console
    tandem token revoke 3 --by Kim
    ```
    """
    settings, loaded = configuration(config)
    who = named(by)
    with store(settings, loaded) as database, database.write() as db:
        row = apitokens.revoke(db, number, who)
    typer.echo(f"token {row['id']} of {row['name']} is good no more")


def audit(
    who: Annotated[str | None, typer.Option("--who", help="Only of this name.", metavar="NAME")] = None,
    act: Annotated[str | None, typer.Option("--act", help="Only of this kind.", metavar="ACT")] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what, the newest first: people, programs, commands with --by, logins.

    ```console
    tandem audit
    tandem audit --who ann --limit 20
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        rows = acts.listed(db, limit, who=who, act=act)
    if as_json:
        print_json([act_shown(row).model_dump(mode="json") for row in rows])
        return
    cells = [
        (from_ms(r["at"]).isoformat(timespec="seconds"), r["kind"], r["who"], r["what"], _said(r), r["ended"])
        for r in rows
    ]
    print_table("", ("at", "kind", "who", "what", "target", "outcome"), cells, empty="nobody did anything yet")


def _said(row: dict[str, Any]) -> str:
    made = row["made"] if row["made"] is not None else {}
    return ", ".join(f"{name} {value}" for name, value in {**row["target"], **made}.items())
