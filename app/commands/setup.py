"""Commands that look after the installation: doctor, version."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of
from typing import Annotated

import typer
from rich.text import Text

from app.commands.base import PROBLEM, AsJson, ConfigFile, print_json, print_table, settings_of
from app.core.settings import environment

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
