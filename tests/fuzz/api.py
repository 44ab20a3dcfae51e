"""Requests made from the OpenAPI document, sent to the API in this process.  In: cases and a seed.  Out: a tally.

Each operation gets requests that fit its description and ones that do not, half of them about things that are there,
some with values that break software: characters that databases refuse, numbers beyond 64 bits, days outside of
calendars.  Then chains of requests, each using what the one before answered.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.python.asgi import ASGIClient
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.apihelp import LOCAL, Api
from tests.fuzz.stocked import TOKEN, Shelf

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
HEADERS: Final = {"Authorization": f"Bearer {TOKEN}"}
CHAIN: Final = 6  # requests of one chain
CHAINED: Final = 10  # one in so many requests belongs to a chain
HANG: Final = 20.0  # seconds; nothing here has rows enough to take a tenth of it on a busy machine

BAD_TEXTS: Final = (
    *("\x00", "a\x00b", "\ud800", "\udfff\ud800", "\u202egnp.exe", "\ufeff", "\x1b[2J", "a\r\nSet-Cookie: b=c"),
    *("' OR 1=1 --", "%00", "%s%n{0}", "{{7*7}}", "../../etc/passwd", "a" * 5_000, "\U0010ffff", "İ", "ß@ß.example"),
    *("0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59", "10000-01-01T00:00:00Z"),
    *("1e400", "NaN", "-0", "9223372036854775808", "WyJ4Il0", "W10", "null", "[]", "9" * 4_400, "१२"),
    *("2026-02-30", "2026-W01", "24h", "999999999999d", "month", "-1d", "=HYPERLINK(1)", "@", "a@b", "@" * 300),
)
BAD_NUMBERS: Final = (0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**40, 1e308, -0.5)
BAD: Final[Sequence[Any]] = (*BAD_TEXTS, *BAD_NUMBERS, None, True, [], {}, [[[[]]]])


@dataclass
class Tally:
    """What happened."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")

    @property
    def total(self) -> int:
        return sum(self.cases.values())

    def lines(self) -> Iterator[str]:
        """The report."""
        for name, number in sorted(self.cases.items()):
            said = ", ".join(f"{s}: {n}" for (of, s), n in sorted(self.statuses.items()) if of == name)
            yield f"{number:6} {name}  ({said})"
        for (name, title), said in sorted(self.failures.items()):
            yield f"FAILED {name}: {title}\n{said}"
        errors = sum(n for (name, status), n in self.statuses.items() if status >= 500 and not _unready(name, status))
        yield f"slowest: {self.slowest[0]:.2f} s, {self.slowest[1]}"
        yield f"{self.total} cases, {len(self.cases)} operations, {errors} server errors, {len(self.failures)} failures"


def _unready(name: str, status: int) -> bool:
    """Readiness says with a 503 what it was asked for."""
    return name == "GET /health/ready" and status == 503


class Fuzz:
    """Sends, and keeps the tally."""

    def __init__(self, shelf: Shelf, seed: int, *, prepare: Callable[[Api], None] = lambda _: None) -> None:
        """``prepare``: may spoil the API, to show that it is noticed."""
        self.tally = Tally()
        self._shelf, self._seed, self._prepare = shelf, seed, prepare
        with shelf.take() as api:
            prepare(api)
            self.document: dict[str, Any] = api.app.openapi()
            self._known = _known(api, self.document)
        self._schema = schemathesis.openapi.from_dict(self.document)
        self.operations = [one.ok() for one in self._schema.get_all_operations()]

    def _send(self, client: ASGIClient, case: Any) -> Any:
        name = case.operation.label
        self.tally.cases[name] += 1
        began = time.perf_counter()
        try:
            response = case.call(base_url=LOCAL, session=client, headers=HEADERS, timeout=HANG)
        except UnicodeError:  # what no client can put on the wire reaches no server
            self.tally.cases[name] -= 1
            return None
        taken = time.perf_counter() - began
        if taken > self.tally.slowest[0]:
            self.tally.slowest = (taken, f"{name} {case.path_parameters} {case.query}"[:300])
        self.tally.statuses[name, response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS, transport_kwargs={"headers": HEADERS})
        except FailureGroup as group:
            for one in group.exceptions:
                self._failed(name, one, case, response)
        except Failure as one:
            self._failed(name, one, case, response)
        return response

    def _failed(self, name: str, failure: Any, case: Any, response: Any) -> None:
        if not _unready(name, response.status_code):
            said = f"  {failure.message}\n  {case.path_parameters} {case.query} {case.body!r}\n  {response.content!r}"
            self.tally.failures.setdefault((name, f"{failure.title} ({response.status_code})"), said[:3_000])

    def _client(self, api: Api) -> ASGIClient:
        self._prepare(api)
        api.app.openapi_schema = self.document  # making it takes longer than a hundred requests
        client = ASGIClient(api.app)
        client.headers.update(HEADERS)  # what a case says itself comes before; some leave it out on purpose
        return client

    def run(self, cases: int, *, turn: int = 40) -> Tally:
        """Send at least so many requests: ``turn`` to an operation, on a store of its own, and then to the next."""
        rounds, cases = 0, self.tally.total + cases
        drawn = cases - (cases - self.tally.total) // CHAINED
        while self.tally.total < drawn:
            rounds += 1
            for number, operation in enumerate(self.operations):
                with self._shelf.take() as api:
                    self._turn(operation, self._client(api), turn, hash_of(self._seed, rounds, number))
                if self.tally.total >= drawn:
                    break
        while self.tally.total < cases:
            rounds += 1
            with self._shelf.take() as api:
                self._chains(self._client(api), min(turn, cases - self.tally.total), hash_of(self._seed, rounds, -1))
        return self.tally

    def swept(self) -> Tally:
        """Each parameter, and each part of a body, with each bad value once; everything else as it should be."""
        for number, operation in enumerate(self.operations):
            with self._shelf.take() as api:
                self._sweep(operation, self._client(api), hash_of(self._seed, -2, number))
        return self.tally

    def _sweep(self, operation: Any, client: ASGIClient, seed: int) -> None:
        @seeded(seed)
        @settings(_SETTINGS, max_examples=1)
        @given(case=_strategy(operation, GenerationMode.POSITIVE), data=st.data())
        def sweep(case: Any, data: st.DataObject) -> None:
            case.headers = {}
            case.path_parameters = data.draw(known_of(case.path_parameters, self._known))
            case.query = {} if isinstance(case.query, NotSet) else data.draw(known_of(case.query, self._known))
            for place, names in _places(case):
                good = dict(place)
                for name in names:
                    for bad in BAD:
                        place.clear()
                        place.update(good)
                        place[name] = str(bad).replace("/", "%2F") if place is case.path_parameters else bad
                        self._send(client, case)
                place.clear()
                place.update(good)

        sweep()

    def mixed(self, cases: int) -> Tally:
        """A few requests to operations in turn, all on one store."""
        each = max(1, cases // len(self.operations))
        with self._shelf.take() as api:
            client = self._client(api)
            for number, operation in enumerate(self.operations):
                self._turn(operation, client, each, hash_of(self._seed, 0, number))
        return self.tally

    def _turn(self, operation: Any, client: ASGIClient, number: int, seed: int) -> None:
        strategy = cases_of(operation, self._known)

        @seeded(seed)
        @settings(_SETTINGS, max_examples=number)
        @given(case=strategy)
        def send(case: Any) -> None:
            self._send(client, case)

        send()

    def _chains(self, client: ASGIClient, number: int, seed: int) -> None:
        fuzz = self

        seen = {name: list(values) for name, values in self._known.items()}
        count = itertools.count()

        class Machine(self._schema.as_state_machine()):  # type: ignore[misc]
            def call(self, case: Any, **_: Any) -> Any:
                turn = next(count)
                if turn % 3 and isinstance(case.path_parameters, dict):  # what was listed before, the last first
                    case.path_parameters = {
                        name: seen[name][-1 - turn % len(seen[name])] if seen.get(name) else value
                        for name, value in case.path_parameters.items()
                    }
                response = fuzz._send(client, case)
                if response is None:
                    return _skip()
                if response.status_code < 300:
                    _note(seen, case.operation.path, response.content)
                return response

            def validate_response(self, *_: Any, **__: Any) -> None:
                """Done when it was sent."""

        seeded(seed)(Machine)
        how = settings(_SETTINGS, max_examples=max(1, number // CHAIN), stateful_step_count=CHAIN)
        Machine.run(settings=how)


def _skip() -> Any:
    from hypothesis import reject

    return reject()


_SETTINGS: Final = settings(
    database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def hash_of(*numbers: int) -> int:
    """One seed of several numbers, the same in every process."""
    found = 0
    for number in numbers:
        found = (found * 1_000_003 + number + 7) % 2**61
    return found


def _known(api: Api, document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What there is: parameter name → values, from the lists of the API."""
    known: dict[str, list[Any]] = {"name": ["hub", "chimp"], "connection": ["hub", "chimp"]}
    lists = [path for path, o in document["paths"].items() if "get" in o and "{" not in path]
    for path in lists:
        answer = api("GET", path, headers=HEADERS)
        _note(known, path, answer.content)
        if b'"next"' in answer.content:
            follow = api("GET", path, headers=HEADERS, params={"limit": 1}).json().get("next")
            known.setdefault("after", []).extend([follow] if follow is not None else [])
    return known


def _note(known: dict[str, list[Any]], path: str, content: bytes) -> None:
    """Keep what a list answered, under the names that parameters have."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return
    items = body.get("items") if isinstance(body, dict) else body
    for item in items if isinstance(items, list) else ():
        for key, value in item.items() if isinstance(item, dict) else ():
            for name in _names(path, key):
                if isinstance(value, str | int) and value not in known.setdefault(name, []):
                    known[name].append(value)


_ONES: Final = {
    "contacts": "contact_id",
    "companies": "company_id",
    "deals": "deal_id",
    "events": "event_id",
    "runs": "run_id",
    "dead": "letter_id",
    "conflicts": "conflict_id",
    "matches": "match_id",
    "versions": "version_id",
    "briefs": "brief_id",
    "tombstones": "tombstone_id",
}


def _names(path: str, key: str) -> list[str]:
    """How parameters call what a list calls ``key``."""
    if key != "id":
        return [key]
    one = _ONES.get(path.rpartition("/")[2])
    return [] if one is None else ["contact", one] if one == "contact_id" else [one]


def _places(case: Any) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Where values stand in a request, and how they are called there."""
    operation = case.operation
    yield case.query, sorted({one.name for one in operation.query} | set(case.query))
    if isinstance(case.path_parameters, dict):
        yield case.path_parameters, sorted(case.path_parameters)
    if isinstance(case.body, dict):
        said = operation.definition.raw.get("requestBody", {}).get("content", {}).get("application/json", {})
        schema = said.get("schema", {})
        for one in [schema, *schema.get("anyOf", ())]:
            if "$ref" in one:
                whole = operation.schema.raw_schema["components"]["schemas"][one["$ref"].rpartition("/")[2]]
                yield case.body, sorted(set(whole.get("properties", {})) | set(case.body))


@st.composite
def known_of(draw: st.DrawFn, values: Any, known: Mapping[str, list[Any]]) -> Any:
    """Values of things that are there."""
    return _set(draw, values, known, 1.0)


@st.composite
def cases_of(draw: st.DrawFn, operation: Any, known: Mapping[str, list[Any]]) -> Any:
    """A request to an operation."""
    mode = GenerationMode.POSITIVE if draw(st.integers(0, 2)) else GenerationMode.NEGATIVE
    case = draw(_strategy(operation, mode))
    if draw(st.integers(0, 9)):  # else what does not fit is the token more often than not
        case.headers = {}
    if draw(st.booleans()):  # about what there is
        case.path_parameters = _set(draw, case.path_parameters, known, 1.0)
        case.query = _set(draw, case.query, known, 0.7)
        if isinstance(case.body, dict):
            case.body = _set(draw, case.body, known, 0.7)
    if draw(st.integers(0, 3)) == 0:  # one value that breaks software
        bad = draw(st.sampled_from(BAD))
        places = [p for p in (case.query, case.body) if isinstance(p, dict) and p]
        if places:
            place = draw(st.sampled_from(places))
            place[draw(st.sampled_from(sorted(place)))] = bad
        elif isinstance(case.path_parameters, dict) and case.path_parameters and isinstance(bad, str | int):
            case.path_parameters = {name: str(bad).replace("/", "%2F") for name in case.path_parameters}
    return case


def _set(draw: st.DrawFn, values: Any, known: Mapping[str, list[Any]], share: float) -> Any:
    if isinstance(values, NotSet) or not isinstance(values, dict):
        return values
    return {
        name: draw(st.sampled_from(known[name])) if known.get(name) and draw(st.floats(0, 1)) <= share else value
        for name, value in values.items()
    }


_STRATEGIES: dict[tuple[int, GenerationMode], Any] = {}


def _strategy(operation: Any, mode: GenerationMode) -> Any:
    key = (id(operation), mode)
    if key not in _STRATEGIES:
        _STRATEGIES[key] = operation.as_strategy(generation_mode=mode)
    return _STRATEGIES[key]
