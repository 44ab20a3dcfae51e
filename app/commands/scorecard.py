"""Commands about the scorecard and the supply chain."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.agreement import exporting, scores
from app.agreement.leads import Known
from app.agreement.scorecard import Per
from app.commands.base import PROBLEM, AsJson, ConfigFile, print_json, print_table, say, whole, wrong
from app.ops import _scorecards_shown as shown
from app.ops._scorecards_shown import RateShown
from app.ops.scorecards import Among, Dimension, Milestone, Model

app = typer.Typer(no_args_is_help=True, help="What both teams did, side by side with targets and the goal.")

Since = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day, UTC.  Default: 90 days before the end.")
]
Until = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day, UTC.  Default: today.")]
ByPer = Annotated[Per, typer.Option(help="Periods of the trend.")]


@app.command("show")
def show(
    since: Since = None,
    until: Until = None,
    per: ByPer = "month",
    by: Annotated[Dimension | None, typer.Option(help="Only of one value of a dimension.")] = None,
    value: Annotated[str, typer.Option(help="That value.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the scorecard.

    Leading indicators of marketing and of sales, rates over cohorts with their intervals, money, targets, the goal, and
    how fresh and how right the data is.  `tandem scorecard define` says what each figure means.

    ```console
    tandem scorecard show
    tandem scorecard show --since 2026-01-01 --until 2026-03-31 --by channel --value ads
    ```
    """
    if value and by is None:
        wrong("--value needs --by: the dimension that it is a value of")
    with whole(config) as tandem, tandem.database.read() as db:
        span = shown.span_of(db, *_days(since, until))
        card = shown.card_shown(db, tandem.connections, Known(), span, per, by if by is not None else "", value)
    if as_json:
        print_json(card.model_dump(mode="json"))
        return
    cells = [(n.team, n.means, n.n, n.before) for n in card.numbers]
    print_table(f"{card.since} to {card.until}", ("team", "indicator", "n", "before"), cells, empty="")
    _rates(card.rates)
    kept = [(r.name, r.of - r.hits, r.hits, _share(r.rate)) for r in card.owed_by_sales]
    print_table("", ("sales owed", "broken", "kept", "share"), kept, empty="no clock was due")
    owed = [(p.promise, p.period, str(p.judgement), p.so_far, p.target) for p in card.owed_by_marketing]
    heads = ("marketing owed", "period", "judgement", "so far", "target")
    print_table("", heads, owed, empty="no promise of marketing")
    money = [(m.currency, m.opened, m.won, m.lost, m.sourced, m.influenced) for m in card.money]
    columns = ("money", "opened", "won", "lost", "won: sourced", "won: influenced")
    print_table("", columns, money, empty="no money")
    print_table(
        "",
        ("target", "per", "at least", "so far", "passed"),
        [(a.means, a.per, a.at_least, a.so_far, f"{a.passed:.0%}") for a in card.targets],
        empty="no target",
    )
    if card.goal is not None:
        so_far = "not counted" if card.goal.so_far is None else f"{card.goal.so_far:,.0f}"
        typer.echo(f"{card.goal.means}: {so_far} of {card.goal.target:,.0f} {card.goal.unit} by {card.goal.by}")
    rows = [
        (h.connection, _seconds(h.freshness_p95), _share(h.drift), h.opt_outs, _seconds(h.opt_out_lag_p99))
        for h in card.health
    ]
    print_table("", ("data of", "freshness p95", "drift", "opt-outs", "lag p99"), rows, empty="no connection")


@app.command("moves")
def moves(
    by: Annotated[Dimension, typer.Option(help="`did`: by what was done with the lead.")] = "channel",
    since: Since = None,
    until: Until = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how it went on, by channel, campaign and the like.

    With counts and intervals; where fewer than thirty are decided, it says so.  A difference is no proof of a cause.

    ```console
    tandem scorecard moves --by campaign
    tandem scorecard moves --by did --since 2026-01-01
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = shown.moves_shown(db, by, shown.span_of(db, *_days(since, until)))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    cells = []
    for one in found.items:
        rate = {r.name: r for r in one.rates}
        named = ("mql_to_sql", "mql_to_won", "opportunity_to_won")
        cells.append((one.value, one.numbers["mql"], one.numbers["won"], *(_told(rate[n]) for n in named)))
    print_table("", (by, "MQL", "won", "MQL to SQL", "MQL to won", "deal to won"), cells, empty="nothing yet")


@app.command("attribution")
def attribution(
    model: Annotated[Model, typer.Option(help="How a deal is divided among the touches before it.")] = "w",
    by: Annotated[Among, typer.Option(help="Among what.")] = "channel",
    since: Since = None,
    until: Until = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what won deals are credited to.

    ```console
    tandem scorecard attribution --model first --by campaign
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = shown.credit_shown(db, model, by, shown.span_of(db, *_days(since, until)))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    cells = [(c.value, f"{c.deals:.2f}", _money(c.money)) for c in found.items]
    print_table(f"{model}: {found.means}", (by, "deals", "money"), cells, empty="no deal was won")


@app.command("cohorts")
def cohorts(
    milestone: Annotated[Milestone, typer.Option(help="By whose date.")] = "mql",
    per: ByPer = "month",
    since: Since = None,
    until: Until = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how far leads went, by date.

    ```console
    tandem scorecard cohorts --milestone mql --since 2026-01-01
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = shown.cohorts_shown(db, milestone, per, shown.span_of(db, *_days(since, until)))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    names = [r.name for r in found.items[0].reached] if found.items else []
    cells = [(one.first, one.of, *(_told(r) for r in one.reached)) for one in found.items]
    print_table("", ("from", milestone, *names), cells, empty="nobody yet")


@app.command("define")
def define(as_json: AsJson = False) -> None:
    """Say what each figure means.

    ```console
    tandem scorecard define
    ```
    """
    found = shown.definitions()
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_table("", ("figure", "means"), [(d.name, d.means) for d in found.items], empty="")


@app.command("check")
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Then make all counters anew.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Count everything anew and compare.

    Ends with 1 where a counter is not what counting gives.  With --repair all counters are made anew from the leads;
    until that ends the scorecard shows too little.

    ```console
    tandem scorecard check
    tandem scorecard check --repair
    ```
    """
    with whole(config) as tandem:
        with tandem.database.read() as db:
            versions = Known().versions(db).versions
        found = scores.check(tandem.database, versions)
        counted = scores.rebuild(tandem.database, versions) if repair and found else 0
    if as_json:
        items = [{"counter": list(w.cell), "kept": w.kept, "right": w.right} for w in found]
        print_json({"ok": not found, "wrong": items, "counted": counted})
    else:
        cells = [(*w.cell, w.kept, w.right) for w in found[:50]]
        columns = ("dimension", "value", "indicator", "day", "kept", "right")
        print_table("", columns, cells, empty="every counter is right")
        if counted:
            say(f"{len(found)} counters were wrong; counted {counted} contacts anew")
    if found and not repair:
        raise typer.Exit(PROBLEM)


@app.command("export")
def export(
    to: Annotated[Path, typer.Option("--to", help="Folder; made where it is not there.", metavar="FOLDER")],
    form: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    only: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write files that other tools read.

    One file each: lead_rounds, lead_sources, lead_steps, deals, scores.  People are in them by their number here only.
    Parquet needs `pip install 'tandem-sync[parquet]'`.

    ```console
    tandem scorecard export --to reports
    tandem scorecard export --to reports --format parquet --only lead_rounds
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = exporting.export(db, to, form, only if only is not None else ())
    if as_json:
        print_json({"folder": str(to), "format": form, "rows": found})
    else:
        print_table("", ("file", "rows"), [(f"{n}.{form}", count) for n, count in found.items()], empty="")


def flow(
    since: Since = None,
    until: Until = None,
    segment: Annotated[Dimension, typer.Option(help="The parts of the market.")] = "profile",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the way from the market to the deal.

    For each step: how many came, went on, were lost and still wait; the median wait of all, in hours, in which those
    that wait are not left out; and who has to act.

    ```console
    tandem flow
    tandem flow --since 2026-01-01 --segment channel
    ```
    """
    with whole(config) as tandem, tandem.database.read() as db:
        found = shown.flow_shown(db, shown.span_of(db, *_days(since, until)), segment)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    cells = [
        (
            f"{s.start} to {s.to}",
            s.team,
            s.came,
            s.passed,
            s.around,
            s.lost,
            s.waiting,
            _hours(s.median_wait),
            _told(s.rate),
        )
        for s in found.steps
    ]
    columns = ("step", "who acts", "came", "passed", "around", "lost", "waits", "median wait", "rate")
    print_table("", columns, cells, empty="")
    if found.slowest is not None:
        typer.echo(f"longest wait: {found.slowest}")
    print_table("", ("given back", "why", "n"), [(b.how, b.why, b.n) for b in found.back], empty="")


def _days(since: datetime | None, until: datetime | None) -> tuple[date | None, date | None]:
    first, last = (one.date() if one is not None else None for one in (since, until))
    if first is not None and last is not None and first > last:
        wrong("--since is after --until")
    return first, last


def _rates(rates: list[RateShown]) -> None:
    print_table("", ("rate", "", "means"), [(r.name, _told(r), r.means) for r in rates], empty="")


def _told(rate: RateShown) -> str:
    if rate.rate is None:
        return "nobody"
    between = f", {rate.low:.0%} to {rate.high:.0%}" if rate.low is not None and rate.high is not None else ""
    few = ", few" if rate.small else ""
    return f"{rate.rate:.0%} ({rate.hits}/{rate.of}{between}{few})"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4%}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _hours(value: int | None) -> str:
    return "open" if value is None else f"{value} h"


def _money(of: dict[str, float]) -> str:
    return ", ".join(f"{n:,.2f} {currency}" for currency, n in of.items())
