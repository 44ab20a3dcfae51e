"""Each promise of the conformance suite can fail: a saboteur breaks it, and is caught by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import connectors
from connectors.contract import Can, Problem
from tests import (
    saboteurs,
    saboteurs_around,  # noqa: F401 - enters its own
    saboteurs_hooks,  # noqa: F401 - enters its own
    saboteurs_merge,  # noqa: F401 - enters its own
)
from tests.acme import ACME, Acme
from tests.conformance import Example, conformance


def fails(kind: type[Acme], promise: str, example: Example) -> bool:
    """Whether this connector breaks this promise.  An error of another kind would be a fault of the suite."""
    it = conformance(kind, example)()
    try:
        getattr(it, promise)()
    except (AssertionError, pytest.fail.Exception, Problem):
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "promise", "example"), saboteurs.BITES, ids=[f"{k.__name__}-{p[5:]}" for k, p, _ in saboteurs.BITES]
)
def test_a_saboteur_is_caught(kind: type[Acme], promise: str, example: Example) -> None:
    """The saboteur breaks just the promise that it was made for, where the honest connector keeps it."""
    assert fails(kind, promise, example)
    assert not fails(Acme, promise, example)


def test_every_promise_has_its_saboteur() -> None:
    """A promise that nobody is shown to break may be one that cannot fail."""
    promises = {name for name in dir(conformance(Acme, ACME)) if name.startswith("test_")}
    assert len(promises) > 30
    assert promises == {promise for _, promise, _ in saboteurs.BITES}


@pytest.mark.parametrize("can", sorted(Can))
def test_a_capability_that_is_not_claimed_is_not_judged(can: Can) -> None:
    """Without a claim its promises are away, and the one about honesty stays."""
    less = type("Less", (Acme,), {"can": frozenset(Can) - {can}})
    names = {name for name in dir(conformance(less, ACME)) if name.startswith("test_")}
    assert names < set(dir(conformance(Acme, ACME)))
    assert "test_what_it_does_not_claim_is_unsupported" in names


@pytest.mark.parametrize(
    ("part", "blank", "promise"),
    [
        ("body", b"", "test_a_delivery_is_exactly_its_events"),
        ("events", (), "test_an_unknown_type_is_ignored"),
        ("sign", None, "test_a_spoiled_proof_is_untrusted"),
        ("other", b"", "test_different_happenings_have_different_keys"),
        ("missing", "", "test_read_leaves_out_what_does_not_exist"),
        ("bad", {}, "test_each_order_has_its_receipt"),
        ("error", None, "test_every_order_names_its_next_step"),
    ],
)
def test_a_blank_in_the_example_says_what_to_fill_in(part: str, blank: object, promise: str) -> None:
    """A part of the Example that a claim needs fails by name, and never passes in silence."""
    it = conformance(Acme, replace(ACME, **{part: blank}))()  # type: ignore[arg-type]
    with pytest.raises(pytest.fail.Exception, match=rf"fill in Example\.{part} in tests/examples/acme\.py"):
        getattr(it, promise)()


def test_a_connector_that_has_not_joined_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of connectors is asked anew, and one without a line in the suite is called by its name."""
    from tests import test_conformance

    newcomer = type("Newcomer", (Acme,), {"name": "newcomer"})
    monkeypatch.setattr(connectors, "find", lambda: {"acme": Acme, "newcomer": newcomer})
    with pytest.raises(AssertionError, match=r"TestNewcomer \(newcomer\)"):
        test_conformance.test_every_connector_has_joined()
    monkeypatch.setattr(connectors, "find", lambda: {"acme": Acme})
    test_conformance.test_every_connector_has_joined()
