"""``tandem init``: the two files that a start needs.  In: connectors.  Out: ``tandem.yml`` and ``.env``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

import connectors
from app.commands.base import AsJson, print_json
from app.core.errors import ConfigError
from app.core.settings import variable_of
from connectors.contract import Connector

DEFAULT: Final = ("hubspot", "mailchimp")
# Secrets that the vendor does not hand out: we choose them and tell the vendor.
OURS: Final = frozenset({"webhook_secret"})

HEAD: Final = """\
# What Tandem connects.  docs/operate.md explains every key; `tandem doctor` checks this file.
# Secrets do not belong here: they stand in .env, or in the files that TANDEM_..._FILE names.

# How vendors reach this service from outside: scheme and host, no path.  Webhooks go to <public_url>/webhooks/<name>.
# public_url: https://tandem.example.com

# Where the data is kept.  A URL with a password belongs into TANDEM_DATABASE instead.
# database: sqlite:///tandem.db

connections:
"""

CONNECTION: Final = """\
  - name: {name}
    connector: {connector}
    # Which team works there: crm or marketing.
    side: {side}
    # observe: read, match and merge, but write nothing there.  canary: write to a few.  live: write.
    # docs/first-run.md says how to go from one to the next.
    mode: observe
    # To whom canary writes: the first so many contacts, of those that fit, or of a sample.
    # canary: {{records: 50, where: {{country: DE}}}}
    # Seconds between looks for what webhooks missed.
    # poll_seconds: 300
    # How often every record is compared with the vendor, to find what nothing told: docs/drift.md.
    # reconcile: {{every: 24h}}
    # A promise: 95 of 100 changes land here within this time, or there is an alarm.
    # freshness: 60s
    # Our part of the rate that the vendor allows; the rest is left to people and other programs.
    # call_share: 0.8
    # What becomes of a record that is one too many there, since another vendor merged two people.
    # duplicates: leave_and_report
    # When mass changes there stop and wait for a person; docs/operate.md has the limits.
    # brake: {{window_minutes: 60}}
    # The country of phone numbers without a prefix, as a two-letter code.
    # default_country: DE
    # Another mapping than the shipped one.
    # mapping: {connector}.yaml
"""

ENV_HEAD: Final = """\
# Tandem's secrets.  Keep this file to yourself: it is not for version control.

# Opens the operations API: "Authorization: Bearer <token>".
TANDEM_TOKEN={token}
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Where to write them.", metavar="DIR")] = Path(),
    connector: Annotated[
        list[str] | None, typer.Option(help=f"A vendor to connect; repeat it.  Default: {' and '.join(DEFAULT)}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a first tandem.yml and .env.

    Both are full of comments.  A random token is in `.env`, which only you can read.  Nothing is ever overwritten.

    ```console
    tandem init --connector hubspot --connector mailchimp
    ```
    """
    chosen = _chosen(DEFAULT if connector is None else connector)
    files = {directory / "tandem.yml": (yaml_text(chosen), 0o644), directory / ".env": (env_text(chosen), 0o600)}
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there:
        raise ConfigError(f"{' and '.join(there)}: already there, and not overwritten; move it or choose another DIR")
    directory.mkdir(parents=True, exist_ok=True)
    for path, (text, mode) in files.items():
        # Made with its mode at once: a secret must not be readable even for a moment.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    wanted = wanted_of(chosen)
    if as_json:
        print_json({"files": [str(path) for path in files], "to_fill_in": wanted})
        return
    for path in files:
        typer.echo(f"wrote {path}")
    typer.echo("\nNext:")
    typer.echo(f"  1. fill in {', '.join(wanted)}")
    typer.echo("  2. tandem doctor")
    typer.echo("  3. tandem serve")
    typer.echo("Every connection begins in mode observe: nothing is written to a vendor before you say so.")


def _chosen(names: Sequence[str]) -> dict[str, type[Connector]]:
    """Connection name → connector; a second account of one vendor gets a number."""
    found = connectors.find()
    chosen: dict[str, type[Connector]] = {}
    for name in names:
        if name not in found:
            raise ConfigError(f"no connector {name!r}; there are: {', '.join(found)}")
        number = sum(1 for kind in chosen.values() if kind.name == name)
        chosen[name if number == 0 else f"{name}-{number + 1}"] = found[name]
    return chosen


def yaml_text(chosen: Mapping[str, type[Connector]]) -> str:
    """``tandem.yml`` for these connections."""
    return HEAD + "\n".join(_connection(name, kind) for name, kind in chosen.items())


def _connection(name: str, kind: type[Connector]) -> str:
    text = CONNECTION.format(name=name, connector=kind.name, side=kind.side)
    plain = [s for s in kind.settings if not s.secret]
    if not plain:
        return text
    # A key whose lines are all comments would read as null, which is no mapping of settings.
    required = any(s.required for s in plain)
    lines = ["    settings:" if required else "    # settings:"]
    for setting in plain:
        lines.append(f"      # {setting.about}{' (required)' if setting.required else ''}")
        lines.append(f'      {setting.name}: ""' if setting.required else f"      # {setting.name}:")
    return text + "\n".join(lines) + "\n"


def env_text(chosen: Mapping[str, type[Connector]]) -> str:
    """``.env`` for these connections."""
    parts = [ENV_HEAD.format(token=secrets.token_urlsafe(32))]
    for name, kind in chosen.items():
        lines = [f"# Connection {name}"]
        for setting in (s for s in kind.settings if s.secret):
            value = secrets.token_urlsafe(32) if setting.name in OURS else ""
            other = f" (not with settings.{setting.unless}: docs/connect.md)" if setting.unless is not None else ""
            lines.append(f"# {setting.about}{other if setting.required else ' (optional)'}")
            lines.append(f"{'' if setting.required or value else '# '}{variable_of(name, setting.name)}={value}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def wanted_of(chosen: Mapping[str, type[Connector]]) -> list[str]:
    """What the person still has to fill in."""
    return list(_wanted(chosen))


def _wanted(chosen: Mapping[str, type[Connector]]) -> Iterator[str]:
    for name, kind in chosen.items():
        for setting in kind.settings:
            if setting.required and setting.name not in OURS:
                yield variable_of(name, setting.name) if setting.secret else f"settings.{setting.name} of {name}"
