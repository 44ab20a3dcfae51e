"""Commands that look after the installation: doctor, prune, version."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version as version_of
from typing import Annotated

import typer
from rich.text import Text

from app.commands.base import (
    PROBLEM,
    AsJson,
    ConfigFile,
    configuration,
    print_json,
    print_table,
    settings_of,
    store,
    whole,
)
from app.core.settings import environment
from app.repair import prune as pruning
from app.repair.prune import retention_of

STYLES = {"ok": "green", "warn": "yellow", "problem": "bold red"}


def doctor(
    config: ConfigFile = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing outside this machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything and say what to do.

    Looks at the configuration, the mappings, the database, the credentials, the vendors' fields, the way webhooks take,
    and the clocks.  Changes nothing.  Ends with 1 where something is a problem.

    ```console
    tandem doctor
    tandem doctor --offline --json
    ```
    """
    from app import doctor as look  # builds on everything, which the other commands need not load

    settings = settings_of(config)
    findings = look.examine(settings, environment(), offline=offline)
    level = look.worst(findings)
    if as_json:
        print_json({"level": level, "findings": list(look.lines(findings))})
    else:
        rows = [
            (Text(f.level, STYLES[f.level]), f.area, f.subject, f.message, "" if f.advice is None else f.advice)
            for f in findings
        ]
        print_table("", ("", "area", "what", "finding", "what to do"), rows, empty="nothing to look at")
    if level is look.Level.PROBLEM:
        raise typer.Exit(PROBLEM)


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is older than it is kept.

    Processed events, the bytes of their deliveries, and, where TANDEM_KEEP_HISTORY_DAYS says so, the history of fields.
    `tandem serve` and `tandem work` do the same by and by; this does all of it at once, in small batches.

    ```console
    tandem prune --dry-run
    tandem prune
    ```
    """
    settings, loaded = configuration(config)
    retention = retention_of(settings)
    if dry_run or retention.history is None:
        with store(settings, loaded) as database:
            if dry_run:
                with database.read() as db:
                    found = pruning.due(db, retention)
            else:
                found = pruning.everything(database, retention)
    else:  # leads are sealed before their past goes, which takes the connections
        with whole(config) as tandem:
            found = pruning.everything(tandem.database, retention, tandem.connections)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(found)})
        return
    rows = [
        ("events", _kept(retention.events), found.events),
        ("deliveries", _kept(retention.events), found.deliveries),
        ("history", _kept(retention.history), found.history),
        ("refusals", _kept(retention.events), found.refusals),
        ("engagements", _kept(retention.engagements), found.engagements),
    ]
    print_table("", ("what", "kept for", "would go" if dry_run else "removed"), rows, empty="")


def _kept(days: int | None) -> str:
    return "ever" if days is None else f"{days} days"


def version(as_json: AsJson = False) -> None:
    """Print the version of Tandem and of Python.

    ```console
    tandem version
    ```
    """
    ours, python = version_of("tandem-sync"), platform.python_version()
    if as_json:
        print_json({"tandem": ours, "python": python})
    else:
        typer.echo(f"tandem {ours} (Python {python})")
