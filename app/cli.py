"""``tandem``: the entry that puts the commands together.  What they share is in ``app.commands.base``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from app.commands import (
    act,
    agreement,
    around,
    backups,
    brakes,
    brief,
    conflicts,
    connect,
    connector,
    consents,
    contacts,
    drift,
    explain,
    init,
    leads,
    look,
    mapping,
    match,
    privacy,
    programmes,
    run,
    scorecard,
    setup,
    sla,
    trust,
    undo,
    webhooks,
)
from app.commands.base import Root

app = typer.Typer(
    name="tandem",
    cls=Root,
    help=(
        "Keeps a CRM and a marketing platform telling the same story about the same people.\n\n"
        "Begin with `tandem demo` (no accounts needed), or with `tandem init` and `tandem doctor`.\n\n"
        "Exit codes: 0 all is well, 1 a problem was found, 2 the call or the configuration is wrong."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

_RUN, _SET_UP, _LOOK, _ACT = "Run", "Set up", "Look", "Act"

_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    _RUN: (run.serve, run.work, run.demo),
    _SET_UP: (
        init.init,
        setup.doctor,
        connect.connect,
        connect.disconnect,
        run.migrate,
        backups.backup,
        backups.restore,
        setup.prune,
        setup.version,
    ),
    _LOOK: (
        look.status,
        look.replicas,
        trust.backfill,
        trust.plan,
        contacts.contact,
        around.timeline,
        around.companies,
        around.deals,
        around.rounds,
        explain.explain,
        contacts.merges,
        drift.alarms,
        drift.freshness,
        scorecard.flow,
        brief.brief,
    ),
    _ACT: (
        trust.apply,
        act.replay,
        act.pause,
        act.resume,
        drift.reconcile,
        contacts.split,
        undo.undo,
        privacy.erase,
        privacy.erasure,
        privacy.export_person,
    ),
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(mapping.app, name="mapping", rich_help_panel=_SET_UP)
app.add_typer(connect.keys, name="keys", rich_help_panel=_SET_UP)
app.add_typer(agreement.app, name="agreement", rich_help_panel=_SET_UP)
app.add_typer(connector.app, name="connector", rich_help_panel=_SET_UP)
app.add_typer(look.events, name="events", rich_help_panel=_LOOK)
app.add_typer(scorecard.app, name="scorecard", rich_help_panel=_LOOK)
app.add_typer(brakes.app, name="brake", rich_help_panel=_ACT)
app.add_typer(conflicts.app, name="conflict", rich_help_panel=_ACT)
app.add_typer(consents.app, name="consent", rich_help_panel=_ACT)
app.add_typer(leads.app, name="lead", rich_help_panel=_ACT)
app.add_typer(sla.app, name="sla", rich_help_panel=_LOOK)
app.add_typer(programmes.app, name="programmes", rich_help_panel=_LOOK)
app.add_typer(match.app, name="match", rich_help_panel=_ACT)
app.add_typer(act.dead, name="dead", rich_help_panel=_ACT)
app.add_typer(drift.field, name="field", rich_help_panel=_ACT)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=_SET_UP)
app.add_typer(privacy.tombstone, name="tombstone", rich_help_panel=_ACT)


def main() -> None:
    """Run the command line."""
    app()


def documentation() -> str:
    """All commands as Markdown: ``docs/cli.md``, which a test compares."""
    from typer.cli import get_docs_for_click

    command = typer.main.get_command(app)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command), name="tandem", title="The command line")
    return text.strip() + "\n"


if __name__ == "__main__":
    main()
