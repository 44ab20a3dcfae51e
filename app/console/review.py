"""Review: contacts that may be one person, and values that both sides changed; side by side, to be decided."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, After, Sent, Shell, shape
from app.ops import conflicts, matches
from app.ops.shapes import Id

ENTRY: Final = Entry("Review", f"{ROOT}/review", "People", "r")
OWN: Final = "value"

What = Annotated[Literal["matches", "conflicts"], Query()]


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()

    @router.get("/review")
    def list_waiting(request: Request, what: What = "matches", after: After = None) -> Response:
        with shell.database.read() as db:
            if what == "matches":
                proposed = matches.listing(db, None, None, PAGE, after)
                return shell.page(request, "review.html", what=what, found=proposed.items, following=proposed.next)
            asked = conflicts.listing(db, limit=PAGE, after=after)
            said = conflicts.rulings(db).items
        return shell.page(request, "review.html", what=what, found=asked.items, following=asked.next, rulings=said)

    @router.get("/review/matches/{match_id}")
    def show_match(request: Request, match_id: Id) -> Response:
        with shell.database.read() as db:
            one = matches.one(db, match_id)
        return shell.page(request, "match.html", one=one)

    @router.post("/review/matches/{match_id}")
    def decide_match(match_id: Id, sent: Sent) -> Response:
        decision = sent.get("decision")
        choices = sent.starting("choice.") if decision == "same" else {}
        asked = shape(matches.DecisionAsked, by=sent.get("by"), decision=decision, choices=choices)
        matches.decide(shell.database, shell.connections, match_id, asked)
        shell.wake()
        with shell.database.read() as db:
            behind = [one.id for one in matches.listing(db, None, None, 2).items if one.id != match_id]
        path = f"{ENTRY.path}/matches/{behind[0]}" if behind else ENTRY.path
        return shell.done(path, asked.decision, by=asked.by)

    @router.get("/review/conflicts/{conflict_id}")
    def show_conflict(request: Request, conflict_id: Id) -> Response:
        with shell.database.read() as db:
            one = conflicts.detail(db, conflict_id)
        return shell.page(request, "conflict.html", one=one)

    @router.post("/review/conflicts/{conflict_id}")
    def decide_conflict(conflict_id: Id, sent: Sent) -> Response:
        choose = sent.get("choose")
        always = True if sent.get("always") is not None and choose != OWN else None
        own = {"value": sent.get("value")} if choose == OWN else {}
        by = sent.get("by")
        asked = conflicts.Decision.model_validate(
            {
                **({"by": by} if by is not None else {}),
                **({"choose": choose} if choose is not None else {}),
                **({"always": always} if always is not None else {}),
                **own,
            }
        )
        conflicts.decide(shell.database, shell.connections, conflict_id, asked)
        shell.wake()
        with shell.database.read() as db:
            behind = [one.id for one in conflicts.listing(db, limit=2).items if one.id != conflict_id]
        said = "always" if asked.always else "decided"
        if behind:
            return shell.done(f"{ENTRY.path}/conflicts/{behind[0]}", said, by=asked.by)
        return shell.done(ENTRY.path, said, by=asked.by, what="conflicts")

    @router.post("/review/rulings/remove")
    def remove_ruling(sent: Sent) -> Response:
        asked = shape(
            conflicts.RulingEnded, by=sent.get("by"), connection=sent.get("connection"), field=sent.get("field")
        )
        conflicts.unrule(shell.database, asked)
        return shell.done(ENTRY.path, "unruled", by=asked.by, what="conflicts")

    return router
