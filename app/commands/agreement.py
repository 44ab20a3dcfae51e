"""Commands about the agreement between sales and marketing: check it, try it, sign it."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from app.agreement import acting, facts, looking, simulating
from app.agreement.leads import Known
from app.agreement.load import Agreement, load
from app.agreement.words import Team
from app.commands.base import (
    AsJson,
    By,
    ConfigFile,
    moment,
    named,
    print_json,
    print_table,
    say,
    settings_of,
    whole,
    wrong,
)
from app.core.clock import to_ms
from app.core.fields import Type
from app.core.settings import load_config
from app.ops import drafts
from app.records import leads
from app.sync import mapping

app = typer.Typer(no_args_is_help=True, help="What sales and marketing agreed: check it, try it, sign it.")

File = Annotated[
    Path | None,
    typer.Argument(
        help="The agreement.  Default: `agreement:` of tandem.yml, else the shipped one.",
        metavar="FILE",
        dir_okay=False,
    ),
]


def _read(file: Path | None, config: Path | None) -> tuple[Agreement, dict[str, Type]]:
    """The agreement of a file, checked against the custom fields of the configured mappings.  Needs no secrets."""
    from app.accounts import MAPPINGS

    settings = settings_of(config)
    customs: dict[str, Type] = {}
    if settings.config.exists():
        loaded = load_config(settings.config)
        file = file if file is not None else loaded.agreement
        for one in loaded.connections:
            path = one.mapping if one.mapping is not None else MAPPINGS / f"{one.connector}.yaml"
            customs |= looking.customs_of(mapping.load(path, default_country=one.default_country))
    return load(file if file is not None else MAPPINGS / "agreement.yaml", customs), customs


@app.command("init")
def agreement_init(
    file: Annotated[Path, typer.Argument(help="Where to.", metavar="FILE")] = Path("agreement.yaml"),
) -> None:
    """Write an agreement to begin with.

    A small company that sells to others could sign it as it is.  Name it under `agreement:` in tandem.yml.

    ```console
    tandem agreement init agreement.yaml
    ```
    """
    from app.accounts import MAPPINGS

    if file.exists():
        wrong(f"{file}: is there already; name another file")
    shutil.copyfile(MAPPINGS / "agreement.yaml", file)
    say(f"wrote {file}; change what does not fit you, then `tandem agreement check {file}`")


@app.command("check")
def agreement_check(file: File = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the agreement.

    Is it whole, and does each condition ask for facts that there are, of the right kind?  Every problem is named with
    file and line.

    ```console
    tandem agreement check
    tandem agreement check agreement.yaml
    ```
    """
    found, _ = _read(file, config)
    shown = {"digest": found.digest, "title": found.title, "stages": [s.name for s in found.stages]}
    if as_json:
        print_json({**shown, "conditions": sum(1 for _ in found.conditions())})
        return
    typer.echo(
        f"{found.title}: version {found.digest}, {len(found.stages)} stages, "
        f"{sum(1 for _ in found.conditions())} conditions, {len(found.reasons)} reasons: no problem found"
    )


@app.command("facts")
def agreement_facts(
    word: Annotated[str, typer.Argument(help="Only names that have this in them.", metavar="WORD")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the facts that conditions may ask for.

    ```console
    tandem agreement facts
    tandem agreement facts deals
    ```
    """
    _, customs = _read(None, config)
    found = {name: str(kind) for name, kind in sorted(facts.names(customs).items()) if word in name}
    if as_json:
        print_json(found)
        return
    print_table("", ("fact", "kind"), list(found.items()), empty=f"no fact has {word!r} in its name")


@app.command("show")
def agreement_show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show all versions.

    Who signed each, when, and from when on it holds.

    ```console
    tandem agreement show
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        rows = leads.versions(db)
        counts = leads.counts(db)
    moments = ("entered_at", "sales_at", "marketing_at", "in_force")
    names = ("id", "digest", "title", "sales_by", "sales_at", "marketing_by", "marketing_at", "in_force")
    shown = [{n: moment(row[n]) if n in moments else row[n] for n in names} for row in rows]
    if as_json:
        print_json({"versions": shown, "leads": counts})
        return
    print_table("", names, [list(row.values()) for row in shown], empty="nobody has signed anything yet")
    print_table("", ("stage", "leads"), sorted(counts.items()), empty="there are no leads yet")


@app.command("diff")
def agreement_diff(file: File = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what a draft says differently.

    Against the version in force now, or the one that was signed last.

    ```console
    tandem agreement diff agreement.yaml
    ```
    """
    draft, _ = _read(file, config)
    with whole(config) as tandem, tandem.database.read() as db:
        before = drafts.latest(db, Known())
    if before is None:
        wrong("nobody has signed anything yet, so there is nothing to compare with; see `tandem agreement sign`")
    found = drafts.differences_shown(before.agreement, draft)
    if as_json:
        print_json([d.model_dump(mode="json") for d in found])
        return
    print_table("", ("where", "before", "after"), [(d.path, d.before, d.after) for d in found], empty="no difference")


@app.command("simulate")
def agreement_simulate(
    file: File = None,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Look at so many contacts only.", metavar="N")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show whose stage would be another one, and how many would have each programme.

    As if the draft came into force now, or, where there is none yet, as if it had always held.  Nothing is changed.

    ```console
    tandem agreement simulate agreement.yaml
    tandem agreement simulate agreement.yaml --most 5000
    ```
    """
    draft, customs = _read(file, config)
    with whole(config) as tandem, Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("contacts", total=None)
        found = simulating.simulate(
            tandem.database,
            tandem.connections,
            draft,
            customs,
            told=lambda done: progress.update(task, completed=done),
            most=most,
        )
    shown = drafts.simulation_shown(draft, found)
    if as_json:
        moves = [{"from": m.start, **m.model_dump(exclude={"start"})} for m in shown.moves]
        print_json({**shown.model_dump(exclude={"moves"}), "moves": moves})
        return
    print_table("", ("stage", "now", "then"), [(s.stage, s.now, s.then) for s in shown.stages], empty="")
    cells = [(p.programme, p.now, p.then) for p in shown.programmes]
    print_table("", ("programme", "now", "then"), cells, empty="nobody is enrolled")
    lines = [(m.start, m.to, m.contacts, ", ".join(map(str, m.examples))) for m in shown.moves]
    print_table("", ("from", "to", "contacts", "e.g. contact"), lines, empty="nobody would move")
    typer.echo(
        f"{shown.changed} of {shown.contacts} contacts would be at another stage; "
        f"sales would get {shown.handed_over} leads at once"
    )


@app.command("sign")
def agreement_sign(
    team: Annotated[Team, typer.Option("--for", help="For whom you sign.", metavar="TEAM")],
    by: By,
    file: File = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="Day from which it holds, UTC.  Otherwise from the second signature.", metavar="DATE"
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign the agreement.

    It holds once sales and marketing have both signed the same version; all leads are judged by it then.  Only the very
    first one may hold from a day in the past.

    ```console
    tandem agreement sign --for sales --by Kim
    tandem agreement sign --for marketing --by Lou --from 2027-01-01
    ```
    """
    by = named(by)
    draft, customs = _read(file, config)
    begins = None
    if since is not None:
        try:
            begins = to_ms(datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=UTC))
        except ValueError:
            raise typer.BadParameter("a day is written like 2027-01-01", param_hint="--from") from None
    with whole(config) as tandem:
        signed = tandem.database.transact(lambda db: acting.sign(db, draft, customs, team, by, since=begins))
    if as_json:
        print_json(
            {
                "version": signed.number,
                "digest": signed.digest,
                "in_force": moment(signed.since),
                "missing": signed.missing,
            }
        )
        return
    if signed.since is None:
        typer.echo(f"version {signed.number} ({signed.digest}): signed for {team}; {signed.missing} has not signed yet")
    else:
        typer.echo(f"version {signed.number} ({signed.digest}): signed by both; it holds from {moment(signed.since)}")
