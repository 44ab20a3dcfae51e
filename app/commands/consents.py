"""Commands about consent: what holds and why, and what a named operator was told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import Connection as Db
from typer.core import TyperGroup

from app.commands.base import AsJson, By, ConfigFile, named, print_json, whole
from app.commands.contacts import print_consent
from app.commands.look import Limit
from app.core.words import EVERYTHING, Channel, Status
from app.ops import consents
from app.repair import deciding
from app.repair.deciding import Word
from app.sync.consent import State

if TYPE_CHECKING:
    from app.main import Tandem


class _OrAddress(TyperGroup):
    """Takes an address in the place of a command for one to show."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of these words."""
        if args and args[0] not in self.commands and ("@" in args[0] or args[0].startswith("+")):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_OrAddress, no_args_is_help=True, help="What people agreed to and objected to.")

Address = Annotated[
    str, typer.Argument(help="An e-mail address, or a phone number like +4930901820.", metavar="ADDRESS")
]
Purpose = Annotated[str, typer.Option("--purpose", help="Only for this purpose.  Default: everything.", metavar="P")]
Kind = Annotated[Channel, typer.Option("--channel", help="How the person is reached.")]


@app.command("show")
def consent_show(address: Address, config: ConfigFile = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show what holds for an address, and why.

    For each channel and purpose whether the person may be written to, and the lines of the ledger.  The word `show` can
    be left out.

    ```console
    tandem consent show ann@example.org
    ```
    """
    with whole(config) as tandem:
        found = _shown(tandem, address, limit)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_consent(found)


def _shown(tandem: Tandem, address: str, limit: int) -> consents.ConsentShown:
    with tandem.database.read() as db:
        having = consents.contacts_of(db, tandem.connections, address)
        if len(having) == 1:
            return consents.of_contact(db, tandem.connections, having[0], limit=limit)
        return consents.of_address(db, tandem.connections, address, limit=limit)


@app.command("grant")
def consent_grant(
    address: Address,
    by: By,
    evidence: Annotated[
        str, typer.Option("--evidence", help="Where, when and how the person agreed; it is kept.", metavar="TEXT")
    ],
    channel: Kind = Channel.EMAIL,
    purpose: Purpose = EVERYTHING,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write down that a person agreed.

    Lifts what an operator may lift: every objection, a bounce and a complaint, but never an erasure.  Every vendor is
    told that takes such a word.

    ```console
    tandem consent grant ann@example.org --channel email --by Kim --evidence "signed form, trade fair, 4 May"
    ```
    """
    if not evidence.strip():
        raise typer.BadParameter("say where, when and how the person agreed", param_hint="--evidence")
    _decide(config, address, channel, purpose, Status.GRANTED, by, evidence, as_json=as_json)


@app.command("withdraw")
def consent_withdraw(
    address: Address,
    by: By,
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="Where, when and how the person objected.", metavar="TEXT")
    ] = None,
    channel: Kind = Channel.EMAIL,
    purpose: Purpose = EVERYTHING,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write down that a person objected.

    Binds all addresses of the person, travels before everything else, and counts for somebody who is not known yet.

    ```console
    tandem consent withdraw ann@example.org --channel email --by Kim --evidence "said so on the phone"
    ```
    """
    _decide(config, address, channel, purpose, Status.WITHDRAWN, by, evidence, as_json=as_json)


def _decide(
    config: Path | None,
    address: str,
    channel: Channel,
    purpose: str,
    status: Status,
    by: str,
    evidence: str | None,
    *,
    as_json: bool,
) -> None:
    by = named(by)
    if "@" not in address and not address.strip().startswith("+"):
        raise typer.BadParameter("give an e-mail address, or a phone number that begins with +", param_hint="ADDRESS")
    with whole(config) as tandem:

        def work(db: Db) -> dict[str, State]:
            addresses = consents.meant(db, tandem.connections, address, channel, status)
            return deciding.decide(db, tandem.connections, Word(addresses, channel, purpose, status, by, evidence))

        held = tandem.database.transact(work)
    if as_json:
        print_json(
            [{"address": a, "channel": channel, "purpose": purpose, "status": s.status} for a, s in held.items()]
        )
        return
    for one, state in held.items():
        typer.echo(f"{channel}, {purpose if purpose else 'everything'}, {one}: {state.status}")
