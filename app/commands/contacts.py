"""Commands about one contact: what is known, what it was merged with, and taking two people apart."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import Connection as Db

from app.commands.base import (
    AsJson,
    By,
    ConfigFile,
    configuration,
    listed,
    moment,
    named,
    print_json,
    print_table,
    say,
    store,
    whole,
)
from app.commands.look import Limit
from app.core.db import dumps
from app.core.errors import NotFound
from app.ops import consents, contacts
from app.ops import merges as merging
from app.ops.contacts import ContactDetail, LinkShown
from app.ops.merges import Preview
from app.records import merges as stored
from app.sync.connection import Connections

LINES = 20  # of the ledger and of the history

Who = Annotated[str, typer.Argument(help="A contact's number, or an address or phone number.", metavar="WHO")]


def found(db: Db, connections: Connections, who: str) -> int:
    """The contact that is meant.  Raises NotFound, also where several are."""
    if who.isdigit():
        return int(who)
    having = consents.contacts_of(db, connections, who)
    if len(having) > 1:
        raise NotFound(f"several contacts have this address: {', '.join(map(str, having))}; give the number of one")
    if not having:
        raise NotFound("nobody here has this address")
    return having[0]


def contact(who: Who, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what is known about a person.

    Each value with who said it, the records at the vendors, what waits to be written, what holds of their consent.  One
    that was merged names the contact that stands for it.

    ```console
    tandem contact 42
    tandem contact ann@example.org --json
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        number = found(db, tandem.connections, who)
        shown = contacts.explained(db, tandem.connections, number)
        consent = consents.of_contact(db, tandem.connections, number, limit=LINES)
    if as_json:
        print_json({**shown.model_dump(mode="json"), "consent": consent.model_dump(mode="json")})
        return
    _print(shown)
    typer.echo()
    print_consent(consent)


def _print(shown: ContactDetail) -> None:
    typer.echo(f"contact {shown.id}, version {shown.version}")
    if shown.merged_into is not None:
        typer.echo(f"merged: contact {shown.merged_into} stands for it now; `tandem contact {shown.merged_into}`")
    if shown.stands_for:
        typer.echo(f"stands for: {', '.join(map(str, shown.stands_for))}; `tandem merges --contact {shown.id}`")
    facts = [(name, _text(f.value), f.source, _time(f.at), f.rule) for name, f in sorted(shown.facts.items())]
    print_table("", ("field", "value", "said by", "at", "why"), facts, empty="no value")
    records = [(link.connection, link.remote_id, _pair(link), _waits(shown, link.connection)) for link in shown.links]
    linked = {link.connection for link in shown.links}
    records += [(name, "", "", _waits(shown, name)) for name in sorted(set(shown.pending) - linked)]
    print_table("", ("record at", "its id", "", "what waits"), records, empty="no record")


def _pair(link: LinkShown) -> str:
    if link.gone_at is not None:
        return "gone"
    return f"by likeness, {link.likeness:.0f} bits" if link.likeness is not None else ""


def _waits(shown: ContactDetail, connection: str) -> str:
    pending = shown.pending.get(connection)
    if pending is None:
        return ""
    if pending.brake is not None:
        return f"waits for a brake: `tandem brake show {connection} {pending.brake}`"
    return "is being written" if pending.in_hand else "on its way" if pending.error is None else pending.error


def print_consent(shown: consents.ConsentShown) -> None:
    """What holds, and the newest lines of the ledger."""
    holds = [
        (
            h.channel,
            _purpose(h.purpose),
            h.address,
            h.status,
            "yes" if h.allowed else "no",
            h.reason,
            h.source,
            _time(h.since),
        )
        for h in shown.holds
    ]
    names = ("consent", "purpose", "address", "status", "may be written to", "why", "said by", "since")
    print_table("", names, holds, empty="nothing is known about consent")
    if shown.lines:
        rows = [
            (
                _time(n.at),
                n.channel,
                _purpose(n.purpose),
                n.address,
                n.status,
                n.reason,
                n.source,
                n.actor,
                _text(n.evidence),
            )
            for n in shown.lines
        ]
        columns = ("at", "channel", "purpose", "address", "status", "reason", "said by", "operator", "evidence")
        print_table("The ledger, the newest first", columns, rows, empty="")
    if shown.next is not None:
        typer.echo("older lines are left out; `tandem consent show ADDRESS --limit N` shows more")


def _purpose(purpose: str) -> str:
    return purpose if purpose else "everything"


def _time(at: Any) -> str:
    return "" if at is None else str(at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)


def merges(
    contact: Annotated[
        int | None, typer.Option("--contact", help="Only those of this contact.", min=1, metavar="ID")
    ] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List contacts that became one, the newest first.

    Those that were split are named too, with who did it.

    ```console
    tandem merges
    tandem merges --contact 42
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        rows = stored.listed(db, limit, contact=contact)
    for row in rows:
        row.update({name: moment(row[name]) for name in ("at", "split_at")})
    if as_json:
        print_json(rows)
        return
    names = ("id", "winner", "loser", "by", "at", "split_at", "split_by")
    print_table("", names, listed(rows, names), empty="no merge")


def split(
    number: Annotated[int, typer.Argument(help="The contact.", metavar="CONTACT", min=1)],
    by: By,
    merge: Annotated[int | None, typer.Option("--merge", help="Undo this merge.", metavar="ID", min=1)] = None,
    off: Annotated[
        str | None, typer.Option("--off", help="Take this connection's record away.", metavar="CONNECTION")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take two people apart that were taken for one.

    Shows first what would become of both.  Values, records, consent and history go back to whom they came from, and
    every vendor is compared anew.  What a vendor has merged itself stays merged there.

    ```console
    tandem split 42 --merge 3 --by Kim
    tandem split 42 --off mailchimp --by Kim
    ```
    """
    by = named(by)
    if (merge is None) is (off is None):
        raise typer.BadParameter("give either --merge or --off")
    with whole(config) as tandem:
        if not yes:
            _preview(merging.rehearse(tandem.database, tandem.connections, number, merge=merge, connection=off))
            typer.confirm("Split them?", abort=True, err=True)
        apart = tandem.database.transact(
            lambda db: merging.split(db, tandem.connections, number, by, merge=merge, connection=off)
        )
    if as_json:
        print_json({"stays": apart.stays, "leaves": apart.leaves})
    else:
        typer.echo(f"contact {apart.stays} stays, contact {apart.leaves} leaves; the vendors are compared anew")


def _preview(preview: Preview) -> None:
    rows: list[tuple[Any, ...]] = []
    for word, side in (("stays", preview.stays), ("leaves", preview.leaves)):
        head = (word, side.id if side.id is not None else "new")
        rows += [(*head, name, _text(now), _text(then)) for name, (now, then) in side.changes.items()]
        rows += [(*head, f"record at {connection}", "", remote_id) for connection, remote_id in side.records]
        if not side.changes and not side.records:
            rows.append((*head, "as it is", "", ""))
    print_table("", ("", "contact", "what", "now", "then"), rows, empty="", err=True)
    say("the vendors are compared with it afterwards; what a vendor has merged itself stays merged there")
