"""Why two contacts are, or are not, taken for one person: evidence, contradiction, and the keys that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field
from sqlalchemy import Connection as Db

from app.core.words import Likeness
from app.match import keys
from app.match.normalise import evidence
from app.match.score import Band, compare
from app.ops.matches import Reasoning, ScoreShown, both_of, score_of
from app.ops.shapes import Shape
from app.records import blocks, proposals
from app.sync import identity
from app.sync.connection import Connections

KEYS: Final[Mapping[str, str]] = {
    "m": "mailbox",
    "l": "the part before the @",
    "p": "phone",
    "q": "the end of the phone",
    "r": "the beginning of the phone",
    "b": "date of birth",
    "n": "both names",
    "s": "the sound of both names",
    "o": "street address",
    "a": "family name and house",
    "f": "given name and house",
    "c": "family name and company",
    "d": "given name and company",
    "t": "family name and town",
    "u": "given name and town",
    "w": "family name and web site",
    "z": "family name and post code",
    "g": "company and town",
    "k": "initials and mail domain",
    "y": "year of birth and town",
    "x": "birthday and name",
    "h": "initials and street",
    "i": "the beginning of both names, and region",
}
"""Mark of a key (``app.match.keys``) → what the two have in common under it."""


class SharedKey(Shape):
    """A key under which the two are found."""

    what: str = Field(examples=["both names"])
    contacts: int = Field(description="How many stand under it; of more only the newest are compared.", examples=[2])


class Explanation(Shape):
    """Why two contacts are, or are not, taken for one person."""

    a: int
    b: int
    band: Literal["link", "review", "create"]
    meaning: str = Field(description="What is made of a record with such a score.")
    score: ScoreShown
    contradiction: str | None
    reasons: list[Reasoning]
    shared_keys: list[SharedKey] = Field(description="None: the two are never compared.")
    proposal: int | None = Field(description="The proposal about the two.")
    status: str | None = Field(description="What became of it.")


MEANING: Final[Mapping[Band, Mapping[Likeness, str]]] = {
    Band.LINK: {
        Likeness.LINK: "linked without asking, unless somebody else could be meant too or its vendor has two of them",
        Likeness.PROPOSE: "a person is asked, as tandem.yml says for every likeness",
        Likeness.OFF: "two people: tandem.yml says that likeness counts for nothing",
    },
    Band.REVIEW: {
        Likeness.LINK: "a person is asked",
        Likeness.PROPOSE: "a person is asked",
        Likeness.OFF: "two people: tandem.yml says that likeness counts for nothing",
    },
    Band.CREATE: dict.fromkeys(Likeness, "two people"),
}


def explained(db: Db, connections: Connections, a: int, b: int) -> Explanation:
    """Why two contacts are, or are not, taken for one person.  Raises NotFound."""
    both = both_of(db, a, b)
    first, second = evidence(both[a].values()), evidence(both[b].values())
    shared = sorted(set(keys.blocking(first)).intersection(keys.blocking(second)), key=keys.blocking(first).index)
    under = blocks.of(db, [blocks.hashed(key) for key in shared], keys.BLOCK + 1)
    crowds = {key: len(under.get(blocks.hashed(key), ())) for key in shared}
    score = compare(first, second, connections.weights, crowds)
    known = proposals.between(db, a, b)
    return Explanation(
        a=a,
        b=b,
        band=score.band.value,
        meaning=MEANING[score.band][connections.likeness],
        score=score_of(score.log_odds),
        contradiction=score.contradiction,
        reasons=[Reasoning(**reason) for reason in identity.explained(score)],
        shared_keys=[SharedKey(what=KEYS[key.partition(":")[0]], contacts=crowds[key]) for key in shared],
        proposal=known["id"] if known is not None else None,
        status=known["status"] if known is not None else None,
    )
