"""Commands about mappings: check, schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import connectors
from app.commands.base import PROBLEM, WRONG, AsJson, ConfigFile, built, known, print_json, say, settings_of
from app.core.errors import ConfigError
from app.core.settings import Config, Settings, load_config
from app.sync import mapping
from connectors.contract import Can
from connectors.contract import Problem as VendorProblem

app = typer.Typer(no_args_is_help=True, help="Mappings: the vendors' words and ours.")


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Mappings.  Default: those of the configuration, else the shipped ones.", metavar="FILE"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against-connection", help="Compare with the fields of this connection's account, too."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check mappings and run their examples.

    Tells file, line, place, what is wrong and what would be valid there.  Ends with 1 where something is wrong.

    ```console
    tandem mapping check mappings/hubspot.yaml
    tandem mapping check --against-connection hubspot
    ```
    """
    settings = settings_of(config)
    loaded = load_config(settings.config) if against is not None or _exists(settings.config, config) else None
    if against is not None and loaded is not None:
        known(loaded, against)
    paths = list(files) if files else _default(loaded, against)
    found: list[tuple[Path, int, Sequence[mapping.Problem]]] = []
    for path in paths:
        try:
            map_ = mapping.load(path)
        except mapping.MappingError as error:
            found.append((path, 0, error.problems))
            continue
        problems = _compare(map_, settings, loaded, against) if against is not None and loaded is not None else []
        found.append((path, len(map_.entries), problems))
    _print(found, as_json=as_json)
    if any(p.level == "error" for _, _, problems in found for p in problems):
        raise typer.Exit(PROBLEM)


def _exists(path: Path, asked: Path | None) -> bool:
    return asked is not None or path.exists()


def _default(config: Config | None, against: str | None) -> list[Path]:
    from app.accounts import MAPPINGS

    if config is None or not config.connections:
        paths = [MAPPINGS / f"{name}.yaml" for name in connectors.find()]
        return [path for path in paths if path.exists()]
    chosen = [c for c in config.connections if against in {None, c.name}]
    paths = [MAPPINGS / f"{c.connector}.yaml" if c.mapping is None else c.mapping for c in chosen]
    return list(dict.fromkeys(paths))


def _compare(map_: mapping.Map, settings: Settings, config: Config, against: str) -> list[mapping.Problem]:
    one = next(c for c in config.connections if c.name == against)
    if one.connector != map_.connector:
        raise ConfigError(
            f"{map_.file}: a mapping of {map_.connector}, but {against} is a connection of {one.connector}"
        )
    tandem = built(settings, config.model_copy(update={"connections": (one,)}))
    connection = tandem.connections[against]
    try:
        if Can.DESCRIBE not in connection.connector.can:
            raise ConfigError(f"{against}: {one.connector} cannot say which fields an account has")
        return mapping.check_against(map_, connection.connector.describe(connection.kind))
    except VendorProblem as problem:
        say(f"{against}: the vendor did not say which fields there are: {problem}; `tandem doctor` looks closer")
        raise typer.Exit(WRONG) from None
    finally:
        for client in tandem.clients.values():
            client.close()
        tandem.database.close()


def _print(found: Sequence[tuple[Path, int, Sequence[mapping.Problem]]], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "file": str(path),
                    "ok": not any(p.level == "error" for p in problems),
                    "fields": fields,
                    "problems": [asdict(p) for p in problems],
                }
                for path, fields, problems in found
            ]
        )
        return
    for path, fields, problems in found:
        if not problems:
            typer.echo(f"{path}: {fields} fields, all well")
        for problem in problems:
            typer.echo(f"{'warning: ' if problem.level == 'warning' else ''}{problem}")


@app.command()
def schema() -> None:
    """Print the JSON schema of mappings.

    Editors use it to complete and check a mapping while you type.

    ```console
    tandem mapping schema > mapping.schema.json
    ```
    """
    print_json(mapping.json_schema())
