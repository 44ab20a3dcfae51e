"""The numbers of a score: how often each level of agreement is seen among the same and among different people.

``weights.json`` beside this file holds the shipped ones; ``training`` estimates others from a store's own records.
A level's weight is log2(m / u) (Fellegi & Sunter 1969): m is its share among records of one person, u among records of
two.  Where both have the same value, u is how common that value is (Winkler 2000: frequency-based matching).  Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Weights:
    """What ``score.compare`` reckons with."""

    prior: float  # log2 of the odds that two records found by a key, with nothing else known, are one person
    link: float  # log-odds from which two records are linked without asking
    review: float  # log-odds from which a person is asked
    levels: Mapping[str, Mapping[str, tuple[float, float]]]  # field → level → (m, u)
    frequencies: Mapping[str, Mapping[str, float]]  # field → folded value → its share
    default: Mapping[str, float]  # field → share of a value that is not in the table
    bits: Mapping[str, Mapping[str, float]] = field(init=False, repr=False)
    exact_m: Mapping[str, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bits = {f: {level: math.log2(m / u) for level, (m, u) in levels.items()} for f, levels in self.levels.items()}
        object.__setattr__(self, "bits", bits)
        object.__setattr__(
            self, "exact_m", {f: levels["exact"][0] for f, levels in self.levels.items() if "exact" in levels}
        )

    def share(self, field_: str, value: str) -> float | None:
        """How common a value is; None for a field whose values are not told apart."""
        default = self.default.get(field_)
        return None if default is None else max(self.frequencies[field_].get(value, default), default)

    def known(self, field_: str, value: str) -> bool:
        """Whether this is a name that many people bear."""
        return value in self.frequencies[field_]

    def weight(self, field_: str, level: str, value: str = "") -> float:
        """The weight of a level in bits; of ``exact`` with a value, by how common the value is."""
        if level == "exact" and value and (share := self.share(field_, value)) is not None:
            return math.log2(self.exact_m[field_] / share)
        return self.bits[field_][level]

    def without_frequencies(self) -> Weights:
        """The same, but every value counts as equally common."""
        return replace(self, default={})

    def to_json(self) -> bytes:
        """As a file that ``from_json`` reads."""
        return orjson.dumps(
            {
                "prior": self.prior,
                "link": self.link,
                "review": self.review,
                "levels": {f: {level: list(mu) for level, mu in levels.items()} for f, levels in self.levels.items()},
                "default": dict(self.default),
                "frequencies": {f: dict(table) for f, table in self.frequencies.items()},
            },
            option=orjson.OPT_INDENT_2,
        )


def from_json(text: bytes | str) -> Weights:
    """Weights from a file.  Raises KeyError, TypeError or ValueError where it is none."""
    data: dict[str, Any] = orjson.loads(text)
    return Weights(
        prior=float(data["prior"]),
        link=float(data["link"]),
        review=float(data["review"]),
        levels={
            f: {level: (float(m), float(u)) for level, (m, u) in levels.items()} for f, levels in data["levels"].items()
        },
        frequencies=MappingProxyType({f: MappingProxyType(table) for f, table in data["frequencies"].items()}),
        default={f: float(share) for f, share in data["default"].items()},
    )


@cache
def shipped() -> Weights:
    """The weights of ``weights.json``, read once."""
    return from_json(resources.files("app.match").joinpath("weights.json").read_bytes())
