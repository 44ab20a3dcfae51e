"""Commands about connectors: list, new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import connectors
from app.commands.base import AsJson, print_json, print_table
from app.core.errors import ConfigError
from connectors._scaffold import scaffold

app = typer.Typer(no_args_is_help=True, help="Connectors: the vendors Tandem can speak to.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List what each connector can do.

    ```console
    tandem connector list
    ```
    """
    found = connectors.find()
    if as_json:
        print_json(
            [
                {
                    "name": kind.name,
                    "side": kind.side,
                    "can": sorted(kind.can),
                    "settings": [
                        {"name": s.name, "about": s.about, "secret": s.secret, "required": s.required}
                        for s in kind.settings
                    ],
                    "batches": {
                        "read": kind.limits.read_batch,
                        "find": kind.limits.find_batch,
                        "write": kind.limits.write_batch,
                    },
                    "hosts": sorted(kind.hosts),
                }
                for kind in found.values()
            ]
        )
        return
    rows = [
        (
            kind.name,
            kind.side,
            ", ".join(sorted(kind.can)),
            ", ".join(s.name if s.required else f"[{s.name}]" for s in kind.settings),
        )
        for kind in found.values()
    ]
    print_table("", ("connector", "side", "can", "settings ([optional])"), rows, empty="no connector is installed")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The vendor in lower case, such as `acme`.", metavar="NAME")],
    root: Annotated[
        Path, typer.Option("--root", help="The directory that holds `connectors` and `mappings`.")
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Begin a connector for another vendor.

    Writes a connector, a mapping, a simulator, an example and its line in the tests, which fail until you fill them in:
    docs/add-a-connector.md goes on from there.  Nothing is overwritten.

    ```console
    tandem connector new acme
    ```
    """
    if not (root / "connectors").is_dir():
        raise ConfigError(f"{root}: there is no directory `connectors` in it; say where with --root")
    try:
        made = scaffold(name, root)
    except (ValueError, FileExistsError) as error:
        raise ConfigError(str(error)) from None
    if as_json:
        print_json([str(path) for path in made])
    else:
        for path in made:
            typer.echo(f"wrote {path}")
