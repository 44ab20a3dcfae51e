"""The part of SOQL that clients of contacts and leads use.  In: a query's text.  Out: what it asks, as functions.

``SELECT`` fields or ``COUNT()``, ``FROM``, ``WHERE`` with ``AND``, ``OR``, brackets, comparisons and ``IN``,
``ORDER BY``, ``LIMIT``, and the days of ``= LAST_N_DAYS:n``.  Texts are compared without case, ids with it.

Source: developer.salesforce.com, "SOQL and SOSL Reference".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:\\.|[^'\\])*')|(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<days>LAST_N_DAYS:\d+)|(?P<word>[A-Za-z][\w.]*)|(?P<mark><=|>=|!=|[=<>(),]))"
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class SoqlError(Exception):
    """A query that makes no sense: MALFORMED_QUERY."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a query asks.  ``names``: its fields; empty = COUNT()."""

    names: tuple[str, ...]
    entity: str
    test: Test
    used: tuple[str, ...]  # fields of conditions and order
    order: tuple[tuple[str, bool], ...]  # (field, descending)
    limit: int | None


def parse(text: str, now: datetime | None = None) -> Query:
    """The query.  ``now``: what its days count from.  Raises SoqlError."""
    return _Parser(text, datetime.now(UTC) if now is None else now).query()


class _Parser:
    def __init__(self, text: str, now: datetime) -> None:
        self._now = now
        self._tokens: list[tuple[str, str]] = []
        self._used: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise SoqlError(f"unexpected token at {at}")
            kind = str(found.lastgroup)
            self._tokens.append((kind, found[kind]))
            at = found.end()
        self._at = 0

    def query(self) -> Query:
        self._need("SELECT")
        names = self._names()
        self._need("FROM")
        entity = self._take("word")
        test: Test = lambda _row: True  # noqa: E731
        if self._is("WHERE"):
            test = self._either()
        order: list[tuple[str, bool]] = []
        if self._is("ORDER"):
            self._need("BY")
            while True:
                name = self._field()
                descending = self._is("DESC")
                if not descending:
                    self._is("ASC")
                order.append((name, descending))
                if not self._is(","):
                    break
        limit = int(self._take("number")) if self._is("LIMIT") else None
        if self._at != len(self._tokens):
            raise SoqlError(f"unexpected token: {self._tokens[self._at][1]}")
        return Query(names, entity, test, tuple(self._used), tuple(order), limit)

    def _names(self) -> tuple[str, ...]:
        names = [self._take("word")]
        if names[0].upper() == "COUNT" and self._is("("):
            self._need(")")
            return ()
        while self._is(","):
            names.append(self._take("word"))
        return tuple(names)

    def _either(self) -> Test:
        tests = [self._both()]
        while self._is("OR"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._is("AND"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._is("("):
            inner = self._either()
            self._need(")")
            return inner
        name = self._field()
        exact = name == "Id" or name.endswith("Id")
        if self._is("IN"):
            self._need("(")
            wanted = {_key(self._value(), exact=exact)}
            while self._is(","):
                wanted.add(_key(self._value(), exact=exact))
            self._need(")")
            return lambda row: _key(row.get(name), exact=exact) in wanted
        mark = self._take("mark")
        if mark == "=" and self._at < len(self._tokens) and self._tokens[self._at][0] == "days":
            since = self._now - timedelta(days=int(self._take("days").partition(":")[2]))
            return lambda row: isinstance(own := row.get(name), str) and moment(own) >= since
        value = self._value()
        return lambda row: _compare(row.get(name), mark, value, exact=exact)

    def _field(self) -> str:
        name = self._take("word")
        self._used.append(name)
        return name

    def _value(self) -> Any:
        kind, text = self._next()
        if kind == "text":
            return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])
        if kind == "time":
            return moment(text)
        if kind == "number":
            return float(text)
        words = {"true": True, "false": False, "null": None}
        if kind == "word" and text.lower() in words:
            return words[text.lower()]
        raise SoqlError(f"unexpected token: {text}")

    def _next(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise SoqlError("unexpected end of the query")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise SoqlError(f"unexpected token: {text}")
        return text

    def _is(self, word: str) -> bool:
        here = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        if here[0] in {"word", "mark"} and here[1].upper() == word:
            self._at += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._is(word):
            raise SoqlError(f"expecting {word}")


def moment(text: str) -> datetime:
    """A time of a query or of a record."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise SoqlError(f"no time: {text}") from None


def _key(value: Any, *, exact: bool) -> Any:
    if isinstance(value, str):
        return value[:15] if exact else value.lower()
    return value


def _compare(own: Any, mark: str, value: Any, *, exact: bool) -> bool:
    if isinstance(value, datetime) and isinstance(own, str):
        own = moment(own)
    left, right = _key(own, exact=exact), _key(value, exact=exact)
    if mark in {"=", "!="}:
        return (left == right) is (mark == "=")
    if left is None or right is None:
        return False
    result = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}.get(mark)
    if result is None:
        raise SoqlError(f"unexpected token: {mark}")
    return bool(result)
