"""Weights from records without labels."""

from __future__ import annotations

import random

import pytest

from app.match.evaluate import evaluate, values_of
from app.match.normalise import Evidence, evidence
from app.match.training import LEAST, train
from app.match.weights import Weights, shipped
from tests.test_match_quality import town

ROWS = list(town())


@pytest.fixture(scope="module")
def found() -> list[Evidence]:
    return [evidence(values_of(row), "GB") for row in ROWS]


@pytest.fixture(scope="module")
def trained(found: list[Evidence]) -> Weights:
    return train(found, random_pairs=4_000, rounds=4)


def test_trained_weights_match_about_as_well(trained: Weights) -> None:
    """Without labels, and still without a false merge."""
    before, after = (evaluate(ROWS, w, country="GB") for w in (shipped(), trained))
    assert after["auto"]["false_merges"] == 0
    assert after["f1_best"] > before["f1_best"] - 0.03


def test_training_is_repeatable(found: list[Evidence], trained: Weights) -> None:
    """By its seed."""
    assert train(found, random_pairs=4_000, rounds=4) == trained


def test_what_is_common_here_says_less_here(trained: Weights) -> None:
    """A town where everybody lives identifies nobody."""
    assert trained.weight("city", "exact", "london") < shipped().weight("city", "exact", "london") - 1
    assert trained.weight("city", "exact", "nowhere") == pytest.approx(
        shipped().weight("city", "exact", "nowhere"), abs=1
    )


def test_nobody_s_rare_name_is_kept(found: list[Evidence], trained: Weights) -> None:
    """Only what at least a handful of records bear enters the tables."""
    names = [e.name.last for e in found]
    new = trained.frequencies["last"].keys() - shipped().frequencies["last"].keys()
    assert not [name for name in new if names.count(name) < LEAST]


@pytest.mark.parametrize("many", [0, 1, 2, 20])
def test_few_records_change_little(found: list[Evidence], many: int) -> None:
    """The weights one starts from count for as much as some hundred pairs."""
    few = train(random.Random(1).sample(found, many), random_pairs=20)
    drift = [
        abs(few.bits[field][level] - bits) for field, levels in shipped().bits.items() for level, bits in levels.items()
    ]
    assert max(drift) < 2.5
