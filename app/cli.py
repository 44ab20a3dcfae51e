"""``tandem``: the entry that puts the commands together.  What they share is in ``app.commands.base``."""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import Any, Final

import typer

from app.commands.base import Root

_RUN, _SET_UP, _LOOK, _ACT = "Run", "Set up", "Look", "Act"

# Name → panel, module in app.commands, function or group there; in the order of `tandem --help`.
_COMMANDS: Final = {
    "serve": (_RUN, "run", "serve"),
    "work": (_RUN, "run", "work"),
    "demo": (_RUN, "run", "demo"),
    "init": (_SET_UP, "init", "init"),
    "doctor": (_SET_UP, "setup", "doctor"),
    "connect": (_SET_UP, "connect", "connect"),
    "disconnect": (_SET_UP, "connect", "disconnect"),
    "migrate": (_SET_UP, "run", "migrate"),
    "backup": (_SET_UP, "backups", "backup"),
    "restore": (_SET_UP, "backups", "restore"),
    "prune": (_SET_UP, "setup", "prune"),
    "version": (_SET_UP, "setup", "version"),
    "status": (_LOOK, "look", "status"),
    "replicas": (_LOOK, "look", "replicas"),
    "backfill": (_LOOK, "trust", "backfill"),
    "plan": (_LOOK, "trust", "plan"),
    "contact": (_LOOK, "contacts", "contact"),
    "timeline": (_LOOK, "around", "timeline"),
    "companies": (_LOOK, "around", "companies"),
    "deals": (_LOOK, "around", "deals"),
    "rounds": (_LOOK, "around", "rounds"),
    "explain": (_LOOK, "explain", "explain"),
    "audit": (_LOOK, "access", "audit"),
    "merges": (_LOOK, "contacts", "merges"),
    "freshness": (_LOOK, "drift", "freshness"),
    "flow": (_LOOK, "scorecard", "flow"),
    "brief": (_LOOK, "brief", "brief"),
    "apply": (_ACT, "trust", "apply"),
    "replay": (_ACT, "act", "replay"),
    "pause": (_ACT, "act", "pause"),
    "resume": (_ACT, "act", "resume"),
    "reconcile": (_ACT, "drift", "reconcile"),
    "split": (_ACT, "contacts", "split"),
    "undo": (_ACT, "undo", "undo"),
    "erase": (_ACT, "privacy", "erase"),
    "erasure": (_ACT, "privacy", "erasure"),
    "export-person": (_ACT, "privacy", "export_person"),
    "mapping": (_SET_UP, "mapping", "app"),
    "keys": (_SET_UP, "connect", "keys"),
    "user": (_SET_UP, "access", "user"),
    "token": (_SET_UP, "access", "token"),
    "agreement": (_SET_UP, "agreement", "app"),
    "connector": (_SET_UP, "connector", "app"),
    "events": (_LOOK, "look", "events"),
    "alarms": (_LOOK, "drift", "alarms"),
    "scorecard": (_LOOK, "scorecard", "app"),
    "brake": (_ACT, "brakes", "app"),
    "conflict": (_ACT, "conflicts", "app"),
    "consent": (_ACT, "consents", "app"),
    "lead": (_ACT, "leads", "app"),
    "sla": (_LOOK, "sla", "app"),
    "programmes": (_LOOK, "programmes", "app"),
    "match": (_ACT, "match", "app"),
    "dead": (_ACT, "act", "dead"),
    "field": (_ACT, "drift", "field"),
    "webhooks": (_SET_UP, "webhooks", "app"),
    "tombstone": (_ACT, "privacy", "tombstone"),
}


class Later(UserDict[str, Any]):
    """The commands by name, each imported when it is asked for: `tandem serve` does not wait for fifty others."""

    def __getitem__(self, name: str) -> Any:
        """The command; KeyError where there is none of that name."""
        if isinstance(self.data[name], tuple):
            panel, module, attribute = self.data[name]
            found = getattr(import_module(f"app.commands.{module}"), attribute)
            alone = typer.Typer(rich_markup_mode="markdown")
            alone.callback()(_nothing)
            if isinstance(found, typer.Typer):
                alone.add_typer(found, name=name, rich_help_panel=panel)
            else:
                alone.command(name, rich_help_panel=panel)(found)
            self.data[name] = typer.main.get_command(alone).commands[name]  # type: ignore[attr-defined]  # a group
        return self.data[name]


class Everything(Root):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        """As Typer makes it."""
        super().__init__(**attributes)
        self.commands = Later(_COMMANDS)


def _nothing() -> None:
    pass


app = typer.Typer(
    name="tandem",
    cls=Everything,
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
app.callback()(_nothing)


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
