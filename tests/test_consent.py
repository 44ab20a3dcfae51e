"""Consent is a ratchet: the state is a function of the entries, and only newer evidence lifts a withdrawal."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.words import STRICTNESS, Channel, Entry, Reason, Status
from app.sync import consent
from app.sync.consent import State

FORM = {"form": "newsletter sign-up"}
DOI = {"double_opt_in": "doi-1"}
OPERATOR = {"operator": "eva@example.org"}


def entry(
    status: str, at: int, reason: str = "sync", purpose: str = "", source: str = "chimp", **evidence: Any
) -> Entry:
    return Entry("a@x.org", Channel.EMAIL, purpose, Status(status), Reason(reason), source, at, evidence=evidence)


def now(*entries: Entry, purpose: str = "", granters: str = "chimp hub operator") -> str:
    return consent.state(entries, lambda s: s in granters.split(), purpose).status


OUT = entry("withdrawn", 10, "unsubscribe")


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        pytest.param([], "none", id="nothing known"),
        pytest.param([entry("granted", 1)], "granted", id="a vendor says subscribed"),
        pytest.param([entry("granted", 1), OUT], "withdrawn", id="a withdrawal wins"),
        pytest.param([OUT, entry("granted", 20)], "withdrawn", id="a field sync never raises"),
        pytest.param([OUT, entry("granted", 20, "import")], "withdrawn", id="an import never raises"),
        pytest.param([OUT, entry("none", 20)], "withdrawn", id="a blank never raises"),
        pytest.param([OUT, entry("pending", 20)], "withdrawn", id="asking is not an answer"),
        pytest.param([OUT, entry("granted", 20, "merge")], "withdrawn", id="a merge never raises"),
        pytest.param([OUT, entry("granted", 20, "form", **FORM)], "granted", id="a newer form does"),
        pytest.param([OUT, entry("granted", 10, "form", **FORM)], "withdrawn", id="at the same time it does not"),
        pytest.param([OUT, entry("granted", 9, "form", **FORM)], "withdrawn", id="an older form does not"),
        pytest.param([OUT, entry("granted", 20, "form", form="")], "withdrawn", id="empty evidence is none"),
        pytest.param([OUT, entry("granted", 20, "form", source="x", **FORM)], "withdrawn", id="nor from anywhere"),
        pytest.param(
            [entry("suppressed", 10, "hard_bounce"), entry("granted", 20, **FORM)], "suppressed", id="bounce, then form"
        ),
        pytest.param(
            [entry("suppressed", 10, "hard_bounce"), entry("granted", 20, **DOI)],
            "granted",
            id="bounce, then confirmed",
        ),
        pytest.param(
            [entry("suppressed", 10, "complaint"), entry("granted", 20, **DOI)], "suppressed", id="complaint, confirmed"
        ),
        pytest.param(
            [entry("suppressed", 10, "complaint"), entry("granted", 20, **OPERATOR)],
            "granted",
            id="complaint, operator",
        ),
        pytest.param(
            [entry("suppressed", 10, "erasure"), entry("granted", 20, **OPERATOR)], "suppressed", id="an erasure stays"
        ),
        pytest.param([OUT, entry("granted", 20, **FORM), entry("withdrawn", 30)], "withdrawn", id="out again"),
        pytest.param([entry("pending", 1), entry("granted", 2)], "granted", id="confirmed"),
    ],
)
def test_what_holds(entries: list[Entry], status: str) -> None:
    """Each history has one state, in whatever order it arrived."""
    assert {now(*order) for order in itertools.permutations(entries)} == {status}


@pytest.mark.parametrize(
    ("entries", "everything", "news"),
    [
        ([entry("withdrawn", 5)], "withdrawn", "withdrawn"),
        ([entry("withdrawn", 5, purpose="news")], "none", "withdrawn"),
        ([entry("granted", 1), entry("withdrawn", 5, purpose="news")], "granted", "withdrawn"),
        ([entry("withdrawn", 5), entry("granted", 9, purpose="news", **FORM)], "withdrawn", "withdrawn"),
        ([entry("granted", 9, purpose="news", **FORM)], "none", "granted"),
    ],
)
def test_purposes(entries: list[Entry], everything: str, news: str) -> None:
    """An objection to everything binds each purpose; one to a purpose leaves the others."""
    assert (now(*entries), now(*entries, purpose="news")) == (everything, news)


ENTRIES = st.builds(
    entry,
    st.sampled_from([s.value for s in Status]),
    st.integers(0, 4),
    st.sampled_from([r.value for r in Reason]),
    st.sampled_from(["", "news"]),
    st.sampled_from(["chimp", "x"]),
).flatmap(lambda e: st.sampled_from([e, *[Entry(**{**_fields(e), "evidence": v}) for v in (FORM, DOI, OPERATOR)]]))


def _fields(e: Entry) -> dict[str, Any]:
    return {name: getattr(e, name) for name in Entry.__dataclass_fields__}


@given(st.lists(ENTRIES, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(entries: list[Entry], dice: Any) -> None:
    """The same entries in any order, and twice, are the same state."""
    shuffled = entries * 2
    dice.shuffle(shuffled)
    assert consent.state(shuffled, lambda s: s == "chimp") == consent.state(entries, lambda s: s == "chimp")


@given(st.lists(ENTRIES, max_size=6), ENTRIES)
def test_nothing_without_evidence_raises(entries: list[Entry], more: Entry) -> None:
    """Adding an entry without evidence, or from who may not grant, never makes a stopped state less strict."""
    before = consent.state(entries, lambda s: s == "chimp")
    bare = Entry(**{**_fields(more), "evidence": {}})
    for added in (bare, Entry(**{**_fields(more), "source": "x"})):
        after = consent.state([*entries, added], lambda s: s == "chimp")
        assert not before.stops or after.stops
        assert not before.stops or STRICTNESS[after.status] >= STRICTNESS[before.status]


@pytest.mark.parametrize("sabotage", ["newest wins", "no evidence asked"])
def test_the_ratchet_test_bites(sabotage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteurs: "newest wins" and a grant without evidence raise consent, and the tables above notice."""
    if sabotage == "newest wins":
        monkeypatch.setattr(
            consent, "_of_purpose", lambda es, _: State(max(es, key=lambda e: e.at).status) if es else consent.UNKNOWN
        )
    else:
        monkeypatch.setattr(consent, "lifts", lambda g, w, _: g.at > w.at)
    assert now(OUT, entry("granted", 20)) == "granted"


def test_the_strictest_of_two_holds_for_the_merged() -> None:
    """Of two contacts that become one, the more restrictive state survives."""
    granted, withdrawn = State(Status.GRANTED, entry("granted", 9)), State(Status.WITHDRAWN, OUT)
    assert consent.strictest([granted, withdrawn]) is withdrawn
    assert consent.strictest([]) is consent.UNKNOWN
