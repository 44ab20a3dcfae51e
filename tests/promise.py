"""The common ground of all promises: what a promise needs, and what is checked after each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import pytest

from connectors.contract import Can, Connector, NeedsHuman, Problem, Record, Refused, TryLater
from tests.stage import (
    MARK,
    WAIT,
    Example,
    Stage,
    html,
    offline,
    overheard,
    reset,
    seeds,
    texts,
    timeout,
    trace,
    unreachable,
)

STEPS: tuple[tuple[int, type[Problem]], ...] = (  # what an answer to everything leads to
    (400, Refused),
    (401, NeedsHuman),
    (403, NeedsHuman),
    (408, TryLater),
    (429, TryLater),
    (500, TryLater),
    (503, TryLater),
)
SCRIPTS = (html, unreachable, reset, timeout)  # all TryLater

_Test = TypeVar("_Test", bound=Callable[..., None])
_Error = TypeVar("_Error", bound=BaseException)


class Promises:
    """Base of the test classes.  ``conformance`` sets the two attributes."""

    kind: ClassVar[type[Connector]]
    example: ClassVar[Example]

    def stage(self, count: int = 5, tied: int = 1, **settings: str) -> Stage:
        """A connector before a vendor that knows so many people."""
        stage = Stage(self.kind, self.example, seeds(count, tied), **settings)
        self.stages.append(stage)
        return stage

    @property
    def stages(self) -> list[Stage]:
        """All stages of this promise."""
        found: list[Stage] = self.__dict__.setdefault("_stages", [])
        return found

    def need(self, **parts: object) -> None:
        """Fail with what is to be filled in where a part of the Example is missing."""
        missing = [name for name, value in parts.items() if value in (None, "", b"", ()) or value == {}]
        if missing:
            claims = ", ".join(sorted(self.kind.can))
            pytest.fail(
                f"fill in Example.{', Example.'.join(missing)} in tests/examples/{self.kind.name}.py: "
                f"{self.kind.name} claims {claims}",
                pytrace=False,
            )

    def raises(
        self, wanted: type[_Error] | tuple[type[_Error], ...], call: Callable[[], object], why: str = ""
    ) -> _Error:
        """The error, which must be of the wanted kind and say nothing that it must not."""
        try:
            result = call()
        except wanted as error:
            self.clean(*trace(error), where=why)
            return error
        except Exception as error:  # any other is the finding
            raise AssertionError(f"{why}: {_names(wanted)} expected, not {type(error).__name__}: {error}") from error
        raise AssertionError(f"{why}: {_names(wanted)} expected, but there was an answer: {type(result).__name__}")

    def clean(self, *things: object, where: str = "") -> None:
        """No secret and no person in what these would show."""
        said = texts(*things).lower()
        for stage in self.stages:
            for secret in stage.secrets():
                assert secret.lower() not in said, f"{where}: a secret shows in {[type(t).__name__ for t in things]}"
        assert MARK.lower() not in said, f"{where}: a person's data shows in {[type(t).__name__ for t in things]}"

    def step(self, problem: Problem, status: int) -> None:
        """The problem is the one that this status leads to, and tells the wait that was asked for."""
        wanted = dict(STEPS)[status]
        assert isinstance(problem, wanted), (
            f"after {status}: {wanted.__name__}, not {type(problem).__name__}: {problem}"
        )
        if status in {429, 503}:
            after = getattr(problem, "after", None)
            assert after is not None, f"the wait that a {status} asks for is lost"
            assert after >= timedelta(seconds=WAIT)

    def steps(self, call: Callable[[Stage], object]) -> None:
        """Every status, a page instead of data, a line that breaks, and nobody there: a reading call names each."""
        self.need(error=self.example.error)
        for status, wanted in STEPS:
            stage = self.stage()
            stage.script = stage.error(status)
            self.step(self.raises(wanted, lambda s=stage: call(s), f"after {status}"), status)
        for script in SCRIPTS:
            stage = self.stage()
            stage.script = script
            self.raises(TryLater, lambda s=stage: call(s), script.__name__)

    def fields(self, email: str, text: str, other: str) -> dict[str, Any]:
        """All that is said of a new person."""
        e = self.example
        return {**e.create_also, e.email_field: email, e.text_field: text, e.other_field: other}

    def told(self, record: Record) -> tuple[object, object, object]:
        """Address, text and other text of a record; an address is compared without case."""
        e, f = self.example, record.fields
        return str(f.get(e.email_field)).lower(), f.get(e.text_field), f.get(e.other_field)


def promise(*needs: Can) -> Callable[[_Test], _Test]:
    """A promise of those who claim all of this.

    During each, no socket is opened; after each, nothing was logged that must not be, and only allowed hosts were
    called.
    """

    def mark(test: _Test) -> _Test:
        @functools.wraps(test)
        def run(self: Promises) -> None:
            with offline(), overheard() as said:
                test(self)
            self.clean(*said, where="in the log")
            for stage in self.stages:
                _check_hosts(stage)

        run.needs = frozenset(needs)  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return mark


def _check_hosts(stage: Stage) -> None:
    own = stage.kind.base_url(stage.settings)
    for request in stage.calls:
        host = request.url.host
        listed = any(host == h or (h.startswith("*.") and host.endswith(h[1:])) for h in stage.kind.hosts)
        assert listed or str(request.url).startswith(own), f"called {host}, which is neither in hosts nor the base URL"


def by_id(records: Iterable[Record]) -> Mapping[str, Record]:
    """Records by their id; the same id twice must hold the same."""
    found: dict[str, Record] = {}
    for record in records:
        assert found.setdefault(record.id, record).fields == record.fields, "two versions of a record in one answer"
    return found


def _names(wanted: type[BaseException] | tuple[type[BaseException], ...]) -> str:
    return " or ".join(t.__name__ for t in (wanted if isinstance(wanted, tuple) else (wanted,)))


def ids(records: Sequence[Record]) -> list[str]:
    """The ids, in order."""
    return [record.id for record in records]
