"""The page for the joint meeting."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.agreement import pages
from app.agreement.leads import Known
from app.commands.base import AsJson, ConfigFile, named, print_json, say, whole
from app.ops import briefs as ops
from app.ops.briefs import Form


def brief(
    since: Annotated[
        str | None,
        typer.Option("--from", help="First day, UTC.  Otherwise from the last one that was kept.", metavar="DATE"),
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Day before which it ends, UTC.", metavar="DATE")] = None,
    form: Annotated[Form, typer.Option("--form", help="How it is written.")] = Form.MARKDOWN,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file.", metavar="FILE", dir_okay=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep it: the next one is compared with it.")] = False,
    by: Annotated[str, typer.Option("--by", help="Your name; it is kept.", metavar="NAME")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the page for the joint meeting.

    What changed, the breaches of both sides, conflicts of definition, what sales says about quality, deals won by their
    source, and the open questions; each figure beside that of the last brief.  HTML prints.

    ```console
    tandem brief
    tandem brief --from 2026-11-01 --to 2026-12-01 --form html --out brief.html --keep --by Kim
    ```
    """
    by = named(by) if keep else by
    start, end = _day("--from", since), _day("--to", until)
    with whole(config) as tandem:
        known = Known()
        try:
            if keep:
                _, body = tandem.database.transact(lambda db: ops.keep(db, known, by, start, end))
            else:
                with tandem.database.read() as db:
                    body = ops.made(db, known, start, end)[2]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--from") from None
    if as_json or form is Form.JSON:
        print_json(body)
        return
    text = pages.html(body) if form is Form.HTML else pages.markdown(body)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    say(f"wrote {out}")


def _day(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter("a day is written like 2027-01-01", param_hint=option) from None
