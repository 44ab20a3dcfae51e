"""Contacts that may be one person, side by side, and what a person decides about them: ``/matches``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field, model_validator
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, or_, select

from app.core import fields as canonical
from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import BIGGEST, Database
from app.core.errors import NotFound, NotPossible
from app.match.score import Band, Score
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import invalid, known_query
from app.ops.shapes import Asked, By, Id, Moment, Shape, moment
from app.records import contacts as people
from app.records import merges, proposals
from app.records.contacts import Contact
from app.records.proposals import Decision
from app.repair import matches as deciding
from app.sync import identity
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

p, k = t.proposal.c, t.link.c

Status = Literal["open", "later", "same", "different"]
Side = Literal["older", "newer"]
Number = Annotated[int, Field(ge=1, le=BIGGEST)]
ByStatus = Annotated[
    Status | None, Query(description="Only those of which this became.  Otherwise those that wait: open and later.")
]
ByContact = Annotated[int | None, Query(ge=1, le=BIGGEST, description="Only those about this contact.", examples=[42])]

PROPOSED: Final = "proposed"
HOME: Final[Mapping[str, tuple[str, ...]]] = {
    "first": ("given_name", "full_name"),
    "middle": ("middle_name", "given_name", "full_name"),
    "last": ("family_name", "full_name"),
    "generation": ("family_name", "given_name", "full_name"),
    "email": ("email", "email_alternates"),
    "phone": ("phone", "mobile_phone"),
    "birth": ("birthday",),
    "street": ("street",),
    "city": ("city",),
    "region": ("region",),
    "postcode": ("postal_code",),
    "country": ("country",),
    "company": ("company_name",),
    "site": ("website", "email"),
}
"""What evidence is about → the fields beside which it is shown: the first that the two have."""


class Reasoning(Shape):
    """One piece of evidence."""

    field: str = Field(description="What it is about.", examples=["phone"])
    level: str = Field(description="How far the two agree.", examples=["exact"])
    weight: float = Field(description="In bits; above zero speaks for one person.", examples=[9.5])
    words: str = Field(examples=["phone: the same (9.5 for)"])


class ScoreShown(Shape):
    """How likely the two are one person."""

    log_odds: float = Field(description="To base 2: 0 is as likely as not, 10 is a thousand to one.", examples=[7.4])
    probability: float = Field(description="The same from 0 to 1.", examples=[0.9941])


class FieldShown(Shape):
    """One field of both contacts."""

    field: str = Field(examples=["city"])
    older: Any = Field(description="null: it has none.")
    newer: Any = Field(description="null: it has none.")
    evidence: list[str] = Field(description="What the two values say.", examples=[["town: the same (4.1 for)"]])


class RecordShown(Shape):
    """A record of a contact at a vendor."""

    contact_id: int = Field(examples=[42])
    connection: str = Field(examples=["hubspot"])
    remote_id: str


class MatchShown(Shape):
    """Two contacts that may be one person."""

    id: int = Field(examples=[3])
    older: int = Field(description="The contact that was there first.", examples=[42])
    newer: int = Field(description="The other one; it is made nowhere else before a decision.", examples=[57])
    status: Status = Field(description="open: nobody looked yet.  later: somebody did, and put it off.")
    source: str = Field(description="record: it came in.  sweep.  operator.", examples=["record"])
    score: ScoreShown
    contradiction: str | None = Field(description="What speaks against one person, whatever else agrees.")
    reasons: list[Reasoning] = Field(description="When it was proposed, the heaviest first.")
    fields: list[FieldShown] = Field(description="As the two are now.")
    records: list[RecordShown]
    at: Moment = Field(description="When it was proposed.")
    decided_at: Moment | None
    decided_by: str | None = Field(description="The operator.", examples=["Kim"])


class DecisionAsked(Asked):
    """What a named person decides."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    decision: Literal["same", "different", "later"]
    choices: dict[str, Side] = Field(
        default_factory=dict,
        max_length=100,
        description="Field: whose value holds from now on.  Otherwise the older's, where it has one.",
        examples=[{"city": "newer"}],
    )

    @model_validator(mode="after")
    def _fitting(self) -> DecisionAsked:
        if self.choices and self.decision != "same":
            raise ValueError("choices go with the decision same")
        return self


class Decided(Shape):
    """What a decision led to."""

    decision: Literal["same", "different", "later"]
    contact: int | None = Field(description="The contact that stands for both, where they are one now.", examples=[42])
    merge: int | None = Field(description="The number of the merge, by which it can be split.", examples=[3])


class ProposalAsked(Asked):
    """Two contacts that somebody takes for one person."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    older: Number = Field(examples=[42])
    newer: Number = Field(examples=[57])

    @model_validator(mode="after")
    def _two(self) -> ProposalAsked:
        if self.older == self.newer:
            raise ValueError("give two contacts")
        return self


def score_of(log_odds: float) -> ScoreShown:
    """A score for people."""
    probability = Score(log_odds, Band.REVIEW, None, ()).probability
    return ScoreShown(log_odds=round(log_odds, 2), probability=round(probability, 6))


def side_by_side(older: Mapping[str, Any], newer: Mapping[str, Any], reasons: Sequence[Reasoning]) -> list[FieldShown]:
    """The fields that either has, the common ones first; evidence beside the field that it is about."""
    known = [name for name in canonical.FIELDS if name in older or name in newer]
    names = [*known, *sorted({*older, *newer} - set(known))]
    words: dict[str, list[str]] = {}
    for reason in reasons:
        home = next((name for name in HOME.get(reason.field, ()) if name in names), None)
        if home is not None:
            words.setdefault(home, []).append(reason.words)
    return [
        FieldShown(field=name, older=older.get(name), newer=newer.get(name), evidence=words.get(name, []))
        for name in names
    ]


def shown(db: Db, rows: Iterable[RowMapping]) -> list[MatchShown]:
    """Rows of proposals for people, with what both contacts hold now."""
    rows = list(rows)
    wanted = {row[side] for row in rows for side in ("older", "newer")}
    known = people.load(db, wanted)
    records: dict[int, list[RecordShown]] = {}
    for chunk in people.chunks(sorted(wanted)):
        query = select(k.contact_id, k.connection, k.remote_id).where(k.contact_id.in_(chunk), k.gone_at.is_(None))
        for link in db.execute(query.order_by(k.connection, k.remote_id)).mappings():
            records.setdefault(link["contact_id"], []).append(RecordShown(**link))
    return [_shown(row, known, records) for row in rows]


def _shown(row: RowMapping, known: Mapping[int, Contact], records: Mapping[int, list[RecordShown]]) -> MatchShown:
    reasons = [Reasoning(**reason) for reason in row["reasons"]]
    older, newer = (known[row[s]].values() if row[s] in known else {} for s in ("older", "newer"))
    return MatchShown(
        id=row["id"],
        older=row["older"],
        newer=row["newer"],
        status=row["status"],
        source=row["source"],
        score=score_of(row["score"]),
        contradiction=row["contradiction"],
        reasons=reasons,
        fields=side_by_side(older, newer, reasons),
        records=[one for side in ("older", "newer") for one in records.get(row[side], [])],
        at=from_ms(row["at"]),
        decided_at=moment(row["decided_at"]),
        decided_by=row["decided_by"],
    )


def one(db: Db, number: int) -> MatchShown:
    """One proposal.  Raises NotFound."""
    row = proposals.get(db, number)
    if row is None:
        raise NotFound(f"there is no proposal {number}")
    return shown(db, [row])[0]


def listing(db: Db, status: str | None, contact: int | None, limit: int, after: str | None = None) -> Page[MatchShown]:
    """One page, the newest first.  What was decided has no index: it is looked at up to a bound."""
    position = paging.decode("matches", after, 1)
    wanted = proposals.WAITING if status is None else (status,)
    query = select(p.id, p.status).order_by(p.id.desc()).limit(paging.MOST)
    if set(wanted) <= set(proposals.WAITING):
        query = query.where(proposals.STILL_WAITS)
    if contact is not None:
        query = query.where(or_(p.older == contact, p.newer == contact))
    if position is not None:
        query = query.where(p.id < position[0])
    rows, following = paging.cut(
        db.execute(query).mappings().all(),
        key=lambda row: (row["id"],),
        keep=lambda row: row["status"] in wanted,
        limit=limit,
        looked_at=paging.MOST,
    )
    numbers = [row["id"] for row in rows]
    found: Sequence[RowMapping] = []
    if numbers:
        found = db.execute(select(t.proposal).where(p.id.in_(numbers)).order_by(p.id.desc())).mappings().all()
    return Page(items=shown(db, found), next=paging.encode("matches", following))


def propose(db: Db, connections: Connections, older: int, newer: int, by: str) -> int:
    """Propose two contacts by hand; the number of the proposal.  Raises NotFound, NotPossible."""
    both = both_of(db, older, newer)
    for number, contact in both.items():
        if contact.merged_into is not None:
            stands = merges.standing_for(db, number)
            raise NotPossible(f"contact {number} was merged: contact {stands} stands for it now")
    known = proposals.between(db, older, newer)
    if known is not None:
        raise NotPossible(f"proposal {known['id']} is about these two: {known['status']}")
    score = identity.likeness(both[older].values(), both[newer].values(), connections.weights)
    made = identity.proposal(min(older, newer), max(older, newer), score, "operator")
    reason = {"field": "operator", "level": PROPOSED, "weight": 0.0, "words": f"{PROPOSED} by {by}"}
    proposals.propose(
        db,
        [
            proposals.Proposal(
                made.older, made.newer, made.score, [*made.reasons, reason], made.source, made.contradiction
            )
        ],
    )
    row = proposals.between(db, older, newer)
    if row is None:
        raise NotPossible("somebody proposed it at the same time; try again")
    return int(row["id"])


def both_of(db: Db, a: int, b: int) -> dict[int, Contact]:
    """Two contacts.  Raises NotFound."""
    both = people.load(db, {a, b})
    for number in (a, b):
        if number not in both:
            raise NotFound(f"there is no contact {number}")
    return both


def decide(database: Database, connections: Connections, number: int, asked: DecisionAsked) -> Decided:
    """Decide about one proposal.  Raises NotFound, NotPossible, and RequestValidationError."""
    decision = Decision(asked.decision)

    def work(db: Db) -> deciding.Answer:
        return deciding.decide(db, connections, number, decision, asked.by, asked.choices)

    try:
        answer = database.transact(work)
    except ValueError:
        raise invalid("body", "choices", "neither of the two has one of these fields") from None
    log.info("operator.decided", proposal=number, decision=asked.decision)
    return Decided(decision=asked.decision, contact=answer.contact, merge=answer.merge)


def matches_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/matches", tags=["matches"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("")
    def list_matches(
        status: ByStatus = None, contact: ByContact = None, limit: Limit = 50, after: After = None
    ) -> Page[MatchShown]:
        """List contacts that may be one person, the newest first, both side by side."""
        with database.read() as db:
            return listing(db, status, contact, limit, after)

    @router.post("", status_code=201, responses={404: {}, 409: {}})
    def propose_match(asked: ProposalAsked) -> MatchShown:
        """Propose two contacts that nobody proposed yet.  Decides nothing."""
        number = database.transact(lambda db: propose(db, connections, asked.older, asked.newer, asked.by))
        log.info("operator.proposed", proposal=number)
        with database.read() as db:
            return one(db, number)

    @router.get("/{match_id}")
    def get_match(match_id: Id) -> MatchShown:
        """Show two contacts that may be one person."""
        with database.read() as db:
            return one(db, match_id)

    @router.post("/{match_id}/decide", responses={409: {}})
    def decide_match(match_id: Id, asked: DecisionAsked) -> Decided:
        """Decide whether the two are one person.

        same: they become one contact, with the stricter consent of both.  different: remembered for ever, unless
        somebody says same after all.  later: it stays in the list.
        """
        found = decide(database, connections, match_id, asked)
        wake()
        return found

    return router
