"""The agreement: what it says, its versions and who signed; a draft is compared, tried and signed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import structlog
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection as Db

from app.agreement import acting
from app.agreement.leads import Known
from app.agreement.words import Team
from app.console.agreeing import Asked, Day, business
from app.console.brief import moment
from app.console.menu import Entry
from app.console.shell import ROOT, Sent, Shell, shape
from app.core.clock import to_ms
from app.core.db import BIGGEST
from app.core.errors import ConfigError, NotFound, NotPossible
from app.ops import drafts, leads
from app.ops.drafts import Draft
from app.ops.shapes import Id
from app.records import leads as rows

log = structlog.get_logger(__name__)

PATH: Final = f"{ROOT}/agreement"
ENTRY: Final = Entry("Agreement", PATH, "Agreement", "a")
FILE: Final = "draft"  # the file of the configuration, where others are numbers of versions
VERSIONS: Final = 50  # the newest, on the page

Which = Annotated[str, Query(pattern=r"^(draft|[1-9][0-9]{0,17})$")]


class IndexAsked(Asked):
    """What the first page is asked."""


class CompareAsked(Asked):
    """Which two are compared; without one, the version that holds."""

    before: Which | None = None
    after: Which = FILE


class TryAsked(Asked):
    """Which one is tried, on how many contacts; each is folded twice, so a page looks at so many at most."""

    of: Which = FILE
    most: Literal["100", "500", "2000"] = "100"


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    known = Known()

    def file() -> Draft:
        """The draft.  Raises NotFound where none is configured, MappingError, ConfigError."""
        if shell.agreement is None:
            raise NotFound("no file of an agreement is configured: name one under `agreement:` in tandem.yml")
        return drafts.of_file(shell.agreement, shell.connections)

    def chosen(db: Db, which: str) -> Draft:
        return file() if which == FILE else drafts.of_version(db, known, min(int(which), BIGGEST))

    @router.get("/agreement")
    def show_versions(request: Request, asked: Annotated[IndexAsked, Query()]) -> Response:
        draft: Draft | None = None
        problems: list[str] = []
        try:
            draft = file()
        except NotFound:
            pass
        except ConfigError as error:
            problems = drafts.problems_of(error)
        with shell.database.read() as db:
            versions = [leads.version(row) for row in reversed(rows.versions(db))]
            latest = drafts.latest(db, known)
            whole = leads.whole(db, known, latest.number) if latest is not None and latest.number is not None else None
        differences: list[drafts.DifferenceShown] = []
        if draft is not None and latest is not None:
            differences = drafts.differences_shown(latest.agreement, draft.agreement)
        return shell.page(
            request, "agreement.html", asked=asked, path=PATH, versions=versions[:VERSIONS], draft=draft,
            problems=problems, latest=latest, whole=whole, differences=differences,
        )  # fmt: skip

    @router.get("/agreement/versions/{version_id}")
    def show_version(request: Request, version_id: Id, asked: Annotated[IndexAsked, Query()]) -> Response:
        with shell.database.read() as db:
            found = leads.whole(db, known, version_id)
            draft = drafts.of_version(db, known, version_id)
        return shell.page(
            request, "agreed.html", asked=asked, path=PATH, found=found, agreement=draft.agreement, which=version_id,
            sign=f"{PATH}/versions/{version_id}/sign", business=business, teams=list(Team),
        )  # fmt: skip

    @router.get("/agreement/draft")
    def show_draft(request: Request, asked: Annotated[IndexAsked, Query()]) -> Response:
        draft = file()
        with shell.database.read() as db:
            same = next((row["id"] for row in rows.versions(db) if row["digest"] == draft.agreement.digest), None)
            found = leads.whole(db, known, same) if same is not None else None
        return shell.page(
            request, "agreed.html", asked=asked, path=PATH, found=found, agreement=draft.agreement, which=FILE,
            sign=f"{PATH}/draft/sign", business=business, teams=list(Team),
        )  # fmt: skip

    @router.get("/agreement/compare")
    def compare(request: Request, asked: Annotated[CompareAsked, Query()]) -> Response:
        with shell.database.read() as db:
            before = chosen(db, asked.before) if asked.before is not None else drafts.latest(db, known)
            after = chosen(db, asked.after)
            versions = [leads.version(row) for row in reversed(rows.versions(db))][:VERSIONS]
        if before is None:
            raise NotPossible("nobody has signed anything yet, so there is nothing to compare with; sign the draft")
        return shell.page(
            request, "compare.html", asked=asked, path=PATH, before=before, after=after, versions=versions,
            differences=drafts.differences_shown(before.agreement, after.agreement),
        )  # fmt: skip

    @router.get("/agreement/simulate")
    def simulate(request: Request, asked: Annotated[TryAsked, Query()]) -> Response:
        with shell.database.read() as db:
            draft = chosen(db, asked.of)
            versions = [leads.version(row) for row in reversed(rows.versions(db))][:VERSIONS]
        found = drafts.simulated(shell.database, shell.connections, draft, int(asked.most))
        return shell.page(
            request, "simulate.html", asked=asked, path=PATH, draft=draft, found=found, versions=versions,
            most=max((max(one.now, one.then) for one in found.stages), default=0),
        )  # fmt: skip

    def signed(work: Callable[[Db], acting.Signed], by: str) -> Response:
        found = shell.database.transact(work)
        log.info("operator.signed", version=found.number)
        shell.wake()
        said = "signed" if found.missing is not None else "in_force"
        return shell.done(f"{PATH}/versions/{found.number}", said, by=by)

    @router.post("/agreement/versions/{version_id}/sign")
    def sign_version(version_id: Id, sent: Sent) -> Response:
        asked: leads.SignatureAsked = shape(leads.SignatureAsked, by=sent.get("by"), team=sent.get("team"))

        def work(db: Db) -> acting.Signed:
            draft = drafts.of_version(db, known, version_id)
            return acting.sign(db, draft.agreement, draft.customs, asked.team, asked.by)

        return signed(work, asked.by)

    @router.post("/agreement/draft/sign")
    def sign_draft(sent: Sent) -> Response:
        asked: leads.SignatureAsked = shape(leads.SignatureAsked, by=sent.get("by"), team=sent.get("team"))
        day = shape(_From, since=sent.get("since")).since
        since = moment(day)
        draft = file()
        if sent.get("digest") != draft.agreement.digest:
            raise NotPossible("the file is another one than the page showed: read it again, then sign")
        return signed(
            lambda db: acting.sign(
                db, draft.agreement, draft.customs, asked.team, asked.by,
                since=to_ms(since) if since is not None else None,
            ),
            asked.by,
        )  # fmt: skip

    return router


class _From(Asked):
    since: Day | None = None
