"""Commands about what stands around contacts: what they did, companies, deals, and how far all that is read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.commands.base import AsJson, ConfigFile, configuration, print_json, print_table, store, whole
from app.commands.contacts import Who, found
from app.commands.look import Limit
from app.core.objects import DealStatus
from app.ops import objects


def timeline(who: Who, config: ConfigFile = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show what a person did and what was done with them, the newest first.

    Opens, clicks and forms from the marketing side, calls, meetings and mails from the CRM, in one line each.

    ```console
    tandem timeline ann@example.org
    tandem timeline 42 --limit 10 --json
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        page = objects.engaged(db, found(db, tandem.connections, who), None, limit)
    if as_json:
        print_json([item.model_dump(mode="json") for item in page.items])
        return
    rows = [(_time(e.at), e.line, e.connection, e.by) for e in page.items]
    print_table("", ("at", "what", "told by", "colleague"), rows, empty="nothing is known that they did")
    if page.next is not None:
        typer.echo("there is more: --limit shows more of it")


def companies(
    domain: Annotated[str | None, typer.Option("--domain", help="Only with this domain.", metavar="DOMAIN")] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List companies with their domains.

    ```console
    tandem companies
    tandem companies --domain example.org
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        page = objects.listed_companies(db, domain, None, limit)
    if as_json:
        print_json([item.model_dump(mode="json") for item in page.items])
        return
    rows = [(c.id, c.values.get("name"), c.domain, c.values.get("industry"), _gone(c.gone_at)) for c in page.items]
    print_table("", ("id", "name", "domain", "industry", ""), rows, empty="no company")


def deals(
    status: Annotated[DealStatus | None, typer.Option("--status", help="Only those that stand so.")] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List deals with stage and amount.

    ```console
    tandem deals
    tandem deals --status won
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        page = objects.listed_deals(db, status, None, limit)
    if as_json:
        print_json([item.model_dump(mode="json") for item in page.items])
        return
    rows = [
        (d.id, d.values.get("name"), d.status, d.stage, d.amount, d.currency, d.owner_email, _gone(d.gone_at))
        for d in page.items
    ]
    names = ("id", "name", "status", "stage", "amount", "currency", "owner", "")
    print_table("", names, rows, empty="no deal")


def rounds(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how far companies, deals, colleagues and acts of each connection are read.

    One that a vendor refuses, for want of a scope perhaps, says why here; the contacts go on without it.

    ```console
    tandem rounds
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        found = objects.read_so_far(db)
    if as_json:
        print_json([item.model_dump(mode="json") for item in found])
        return
    rows = [
        (r.connection, r.kind, "yes" if r.walked_at is not None else "not yet", _time(r.due_at), r.failure)
        for r in found
    ]
    names = ("connection", "what", "read once", "again from", "what is wrong")
    print_table("", names, rows, empty="no mapping reads companies, deals or acts")


def _time(at: Any) -> str:
    return "" if at is None else str(at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def _gone(at: Any) -> str:
    return "" if at is None else "gone"
