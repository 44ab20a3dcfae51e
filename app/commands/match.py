"""Commands about people who may be one: the queue, decisions, why, and how good matching is here."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.base import (
    AsJson,
    By,
    ConfigFile,
    configuration,
    named,
    print_json,
    print_table,
    say,
    store,
    whole,
    wrong,
)
from app.commands.look import Limit
from app.core.db import dumps
from app.match import evaluate
from app.match.weights import Weights, from_json
from app.ops import explaining, matches
from app.ops.matches import MatchShown, ScoreShown
from app.records.proposals import Decision
from app.repair import learning, trial
from app.repair import matches as deciding
from app.repair import sweep as sweeping
from app.repair.matches import Side

app = typer.Typer(no_args_is_help=True, help="People who may be one: look, decide, measure.")

Number = Annotated[int, typer.Argument(help="The proposal's number.", metavar="N", min=1)]
Country = Annotated[
    str | None,
    typer.Option("--country", help="Of phones and dates that name none; two letters.", metavar="CODE"),
]


@app.command("list")
def match_list(
    status: Annotated[
        Decision | None, typer.Option("--status", help="Only these.  Otherwise those that wait: open and later.")
    ] = None,
    contact: Annotated[
        int | None, typer.Option("--contact", help="Only those about this contact.", min=1, metavar="ID")
    ] = None,
    config: ConfigFile = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List contacts that may be one person, the newest first.

    The chance is what the values alone say.  A contradiction is a fact that speaks against one person, however much
    else agrees: twins, father and son, a shared mailbox.

    ```console
    tandem match list
    tandem match list --contact 42 --status different
    ```
    """
    settings, loaded = configuration(config)
    rows: list[MatchShown] = []
    with store(settings, loaded) as database, database.read() as db:
        after: str | None = None
        while len(rows) < limit:
            page = matches.listing(db, status, contact, limit - len(rows), after)
            rows += page.items
            after = page.next
            if after is None:
                break
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    names = ("n", "older", "newer", "chance", "speaks most for or against", "contradiction", "status", "since")
    cells = [
        (
            row.id,
            row.older,
            row.newer,
            _chance(row.score),
            row.reasons[0].words if row.reasons else "",
            row.contradiction,
            row.status,
            _time(row.at),
        )
        for row in rows
    ]
    print_table("", names, cells, empty="nobody waits for a decision" if status is None else "none")


@app.command("show")
def match_show(number: Number, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show two contacts side by side.

    Field by field what both hold now, and what that says.  Evidence is counted in bits: each one for doubles the odds
    that the two are one person, each one against halves them.

    ```console
    tandem match show 3
    ```
    """
    settings, loaded = configuration(config)
    with store(settings, loaded) as database, database.read() as db:
        found = matches.one(db, number)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    typer.echo(f"proposal {found.id}, {found.status}: {_chance(found.score)} that the two are one person")
    if found.contradiction is not None:
        typer.echo(f"against it: {found.contradiction}")
    if found.decided_by is not None:
        typer.echo(f"decided by {found.decided_by}, {_time(found.decided_at)}")
    rows = [
        ("" if f.older == f.newer else "≠", f.field, _text(f.older), _text(f.newer), "; ".join(f.evidence))
        for f in found.fields
    ]
    columns = ("", "field", f"contact {found.older} (older)", f"contact {found.newer} (newer)", "what that says")
    print_table("", columns, rows, empty="neither says anything any more")
    placed = {words for f in found.fields for words in f.evidence}
    for reason in found.reasons:
        if reason.words not in placed:
            typer.echo(f"and: {reason.words}")
    for record in found.records:
        typer.echo(f"contact {record.contact_id} has record {record.remote_id} at {record.connection}")
    if found.status in {"open", "later"}:
        typer.echo(f"decide: `tandem match decide {found.id} same --by NAME`, or different, or later")


@app.command("decide")
def match_decide(
    number: Number,
    decision: Annotated[
        Literal["same", "different", "later"], typer.Argument(help="What the two are.", metavar="DECISION")
    ],
    by: By,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            "--choose", help="Whose value holds: older or newer.  May be given several times.", metavar="FIELD=WHICH"
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide whether two contacts are one person: same, different or later.

    same: they become one, with the stricter consent of both; a field keeps the older's value unless you choose the
    newer's.  It can be taken back with `tandem split`.  different: both are made everywhere, and are never proposed
    again; who erred says same.  later: it stays in the list.

    ```console
    tandem match decide 3 same --by Kim --choose city=newer
    tandem match decide 4 different --by Kim
    ```
    """
    by = named(by)
    choices = _choices([] if choose is None else choose)
    if choices and decision != "same":
        raise typer.BadParameter("goes with the decision same", param_hint="--choose")
    with whole(config) as tandem:
        try:
            answer = tandem.database.transact(
                lambda db: deciding.decide(db, tandem.connections, number, Decision(decision), by, choices)
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--choose") from None
    if as_json:
        print_json({"decision": decision, "contact": answer.contact, "merge": answer.merge})
        return
    if answer.decision is Decision.LATER:
        typer.echo(f"proposal {number} waits on")
    elif answer.decision is Decision.DIFFERENT:
        typer.echo(f"proposal {number}: two people, for good")
    else:
        undo = f"; undo: `tandem split {answer.contact} --merge {answer.merge} --by NAME`"
        typer.echo(
            f"proposal {number}: contact {answer.contact} stands for both{undo if answer.merge is not None else ''}"
        )


def _choices(words: list[str]) -> dict[str, Side]:
    found: dict[str, Side] = {}
    for word in words:
        name, _, side = word.partition("=")
        if not name or side not in {"older", "newer"}:
            raise typer.BadParameter("say FIELD=older or FIELD=newer", param_hint="--choose")
        found[name] = cast("Side", side)
    return found


@app.command("explain")
def match_explain(
    a: Annotated[int, typer.Argument(help="A contact.", metavar="A", min=1)],
    b: Annotated[int, typer.Argument(help="Another one.", metavar="B", min=1)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why two contacts are, or are not, taken for one person.

    The score with its reasons, what contradicts, and the keys under which one is found from the other: without a
    common key two contacts are never compared.

    ```console
    tandem match explain 42 57
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = explaining.explained(db, tandem.connections, a, b)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    typer.echo(f"{_chance(found.score)} ({found.score.log_odds:+.1f} bits), band {found.band}: {found.meaning}")
    if found.contradiction is not None:
        typer.echo(f"against it: {found.contradiction}")
    if found.proposal is not None:
        typer.echo(f"proposal {found.proposal} is about the two: {found.status}")
    rows = [(reason.field, f"{reason.weight:+.1f}", reason.words) for reason in found.reasons]
    print_table("", ("about", "bits", "in words"), rows, empty="the two have no field in common")
    shared = [(key.what, key.contacts) for key in found.shared_keys]
    print_table("", ("key in common", "contacts filed under it"), shared, empty="no key in common: they never meet")


@app.command("train")
def match_train(
    out: Annotated[Path, typer.Option("--out", help="Where to write the weights.", metavar="FILE")],
    sample: Annotated[
        int, typer.Option("--sample", help="Contacts looked at, at most.", min=100, max=500_000)
    ] = 50_000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Estimate weights from the contacts of this store.

    Nothing leaves the machine and nothing is labelled: how often fields agree by chance is seen in random pairs, how
    often they agree in one person is estimated.  Names in the file are those that at least five contacts bear.  Try
    the file with `tandem match evaluate FILE.csv --weights FILE` before it is used.

    ```console
    tandem match train --out weights.json
    ```
    """
    with whole(config) as tandem:
        before = learning.weights_of(tandem.connections)
        looked, after = learning.trained(tandem.database, tandem.connections, sample)
    if looked < 2:
        wrong("there are not two contacts to learn from")
    out.write_bytes(after.to_json())
    changes = learning.changes(before, after)
    if as_json:
        print_json({"file": str(out), "contacts": looked, "prior": [before.prior, after.prior], "changes": changes})
        return
    typer.echo(f"{out}: from {looked:,} contacts; prior {before.prior:.1f} → {after.prior:.1f} bits")
    rows = [(c["field"], c["level"], f"{c['before']:+.1f}", f"{c['after']:+.1f}") for c in changes]
    print_table("What changed, the most first", ("about", "level", "bits before", "now"), rows, empty="nothing changed")


@app.command("sweep")
def match_sweep(
    limit: Annotated[int | None, typer.Option("--limit", help="Stop after so many contacts.", min=1)] = None,
    reindex: Annotated[bool, typer.Option("--reindex", help="Throw the keys away first, and file all anew.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for doubles among all contacts that are stored.

    Proposes, and links nothing by itself; what was decided before is not asked again.  Cut off, it goes on where it
    was by the same command.  May run while the service does.

    ```console
    tandem match sweep
    tandem match sweep --limit 100000
    ```
    """
    with whole(config) as tandem, _progress("contacts") as (progress, task):

        def told(state: sweeping.State) -> None:
            progress.update(task, total=state.total, completed=state.done, note=f"{state.rate:,.0f}/s")

        found = sweeping.sweep(tandem.database, tandem.connections, limit=limit, reindex=reindex, told=told)
    answer: dict[str, Any] = {
        "run": found.run,
        "contacts": found.done,
        "proposed": found.proposed,
        "seconds": round(found.seconds, 1),
        "complete": found.complete,
    }
    if as_json:
        print_json(answer)
        return
    typer.echo(f"{found.done:,} of {found.total:,} contacts, {found.proposed:,} new proposals; `tandem match list`")
    if not found.complete:
        say("not through yet: the same command goes on")


@contextmanager
def _progress(what: str) -> Iterator[tuple[Progress, Any]]:
    """A bar on stderr with rate and time left; nothing where nobody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        yield progress, progress.add_task(what, total=None, note="")


@app.command("evaluate")
def match_evaluate(
    file: Annotated[Path, typer.Argument(help="A .csv or .csv.gz with the truth.", metavar="FILE")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights to try.  Otherwise the shipped ones.", metavar="FILE")
    ] = None,
    country: Country = None,
    as_json: AsJson = False,
) -> None:
    """Measure matching on labelled records.

    Each row walks through the same code as a vendor's record, into a store that is thrown away; yours is not touched.
    Columns: `rec_id` and `cluster_id` (the truth); `first_name`, `middle_name`, `last_name`, `email`, `phone`, `dob`,
    `street`, `city`, `state`, `postcode`, `country`, `company` where there are such.  Prints JSON.

    ```console
    tandem match evaluate labelled.csv --country GB
    ```
    """
    rows = _rows(file)
    learned = None if weights is None else _weights(weights)
    with _progress("rows") as (progress, task):
        progress.update(task, total=len(rows))
        found = trial.trial(rows, learned, country, lambda done: progress.update(task, completed=done))
    del as_json  # it is always JSON: the option is there because it is everywhere
    print_json(found)


def _weights(file: Path) -> Weights:
    try:
        return from_json(file.read_bytes())
    except (ValueError, KeyError, TypeError):
        wrong(f"{file.name}: no file of `tandem match train`")


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        rows = evaluate.rows_of(file)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        wrong(
            str(error)
            if isinstance(error, ValueError) and not isinstance(error, UnicodeDecodeError)
            else f"{file.name}: no readable .csv or .csv.gz in UTF-8"
        )
    if not rows:
        wrong(f"{file.name}: no rows; a labelled file has the columns rec_id and cluster_id")
    return rows


def _chance(score: ScoreShown) -> str:
    return f"{score.probability:.1%}"


def _time(at: Any) -> str:
    return "" if at is None else str(at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)
