"""Commands about leads: how they stand and why, and what a named person says of one."""

from __future__ import annotations

from typing import Annotated

import typer

from app.agreement import acting
from app.agreement.leads import Known
from app.agreement.words import Finding, Standing, Team, Word
from app.commands.base import (
    PROBLEM,
    AsJson,
    By,
    ConfigFile,
    listed,
    named,
    print_json,
    print_table,
    whole,
)
from app.commands.look import Limit
from app.ops import advice
from app.ops import leads as ops

app = typer.Typer(no_args_is_help=True, help="Leads: how they stand under the agreement, and what is said of them.")

Contact = Annotated[int, typer.Argument(help="The contact's number.", metavar="CONTACT", min=1)]
For = Annotated[Team, typer.Option("--for", help="For whom you speak.", metavar="TEAM")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="A reason of the agreement, such as no_need.", metavar="REASON")
]


@app.command("list")
def lead_list(
    stage: Annotated[str | None, typer.Option("--stage", help="Only at this stage.", metavar="STAGE")] = None,
    status: Annotated[Standing | None, typer.Option("--status", help="Only those that stand so.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Only of this colleague, by address.", metavar="ADDRESS")
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only those of which something is not as agreed.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Only contacts with a higher number.", metavar="ID")] = 0,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List leads.

    In the order of their contacts.  With --flagged it is the list for the joint meeting: what was given back without a
    reason, or before it was tried.

    ```console
    tandem lead list --stage mql
    tandem lead list --flagged
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found, _ = ops.listed(db, stage=stage, status=status, owner=owner, flagged=flagged, after=after, limit=limit)
    rows = [lead.model_dump(mode="json") for lead in found]
    if as_json:
        print_json(rows)
        return
    names = ("contact_id", "stage", "status", "since", "owner", "attempts", "flag", "reason")
    print_table("", names, listed(rows, names), empty="no such lead")


@app.command("show")
def lead_show(contact: Contact, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show a lead.

    How it stands, every step on the way and why, and what was said of it.

    ```console
    tandem lead show 42
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = ops.one(db, contact).model_dump(mode="json")
    if as_json:
        print_json(found)
        return
    steps, said = found.pop("steps"), found.pop("said")
    held = [(name, value) for name, value in found.items() if value not in (None, [])]
    print_table("", ("", ""), held, empty="")
    names = ("at", "what", "before", "after", "why", "by")
    print_table("steps", names, listed([s for s in steps if not s["void"]], names), empty="no step yet")
    columns = ("at", "word", "value", "reason", "team", "source", "by", "finding", "why")
    print_table("said", columns, listed(said, columns), empty="nobody has said anything")


@app.command("next")
def lead_next(contact: Contact, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what sales may do next with a lead.

    What the agreement allows, what a clock waits for first, then by what followed with similar leads, with the figures.
    What is not allowed stands below, with the reason: consent goes before everything.

    ```console
    tandem lead next 42
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = advice.of_lead(db, tandem.connections, Known(), contact).model_dump(mode="json")
    if as_json:
        print_json(found)
        return
    print_table(
        "owed", ("clock", "state", "due_at"), listed(found["owner_owes"], ("clock", "state", "due_at")), empty=""
    )
    names = ("name", "means", "fulfils", "why")
    print_table(
        f"next, towards {found['aim']}", names, listed(found["steps"], names), empty="the agreement names no step"
    )
    columns = ("name", "why")
    print_table("not now", columns, listed(found["left_out"], columns), empty="nothing is left out")


def _say(
    word: Word,
    contact: int,
    team: Team,
    by: str,
    config: ConfigFile,
    *,
    as_json: bool,
    reason: str | None = None,
    value: str | None = None,
) -> None:
    by = named(by)
    with whole(config) as tandem:
        known = Known()
        spoken = tandem.database.transact(
            lambda db: acting.say(db, tandem.connections, known, contact, word, team, by, value=value, reason=reason)
        )
    lead, judgement = spoken.lead, spoken.judgement
    if as_json:
        print_json(
            {
                "contact": spoken.contact,
                "finding": judgement.finding,
                "why": judgement.why,
                "stage": lead.stage,
                "status": lead.status,
                "flag": lead.flag,
            }
        )
    else:
        typer.echo(f"contact {spoken.contact}: {judgement.finding}: {judgement.why}; stage {lead.stage}, {lead.status}")
    if judgement.finding is Finding.FLAGGED:
        raise typer.Exit(PROBLEM)


@app.command("accept")
def lead_accept(contact: Contact, by: By, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Accept a lead for sales.

    ```console
    tandem lead accept 42 --by Kim
    ```
    """
    _say(Word.ACCEPT, contact, Team.SALES, by, config, as_json=as_json)


@app.command("reject")
def lead_reject(
    contact: Contact, by: By, reason: Reason = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Give a lead back to marketing.

    With a reason, and after the attempts that were agreed.  Otherwise it stays with sales and is flagged: exit code 1.

    ```console
    tandem lead reject 42 --reason no_need --by Kim
    ```
    """
    _say(Word.REJECT, contact, Team.SALES, by, config, as_json=as_json, reason=reason)


@app.command("recycle")
def lead_recycle(
    contact: Contact, by: By, reason: Reason = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Take a lead back for marketing.

    ```console
    tandem lead recycle 42 --reason bad_timing --by Lou
    ```
    """
    _say(Word.RECYCLE, contact, Team.MARKETING, by, config, as_json=as_json, reason=reason)


@app.command("stage")
def lead_stage(
    contact: Contact,
    stage: Annotated[str, typer.Argument(help="A stage of the agreement.", metavar="STAGE")],
    team: For,
    by: By,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say that a lead is at a stage.

    The agreement judges whether your team's word makes it so, and says why where it does not.

    ```console
    tandem lead stage 42 sql --for sales --by Kim
    ```
    """
    _say(Word.STAGE, contact, team, by, config, as_json=as_json, value=stage)
