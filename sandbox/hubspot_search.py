"""HubSpot's search of contacts.  In: the body of a search.  Out: one page of matches, or the reason of a refusal.

Sources: developers.hubspot.com, "CRM search" (limits, operators, index lag; mirror of April 2026); the published
contract asks for all of ``after, limit, sorts, properties, filterGroups``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sandbox.hubspot_rules import EMAIL, ID, MODIFIED, MORE_EMAILS, bad, millis
from sandbox.hubspot_store import Contact, Portal

LIMIT = 200  # rows of a page
CAP = 10_000  # results of a query
_GROUPS, _FILTERS, _ALL_FILTERS = 5, 6, 18
_BODY = 3000  # characters
_KEYS = ("after", "limit", "sorts", "properties", "filterGroups")
_TEXT_IN = (EMAIL, "firstname", "lastname", "phone", "company", MORE_EMAILS)  # what `query` looks in

_Test = Callable[[Contact], bool]
_Key = tuple[int, float | str]


class Search:
    """Searches in one account."""

    def __init__(self, portal: Portal, now: Callable[[], int], *, strict: bool, lag: float) -> None:
        """``strict``: all keys of the contract are required.  ``lag``: seconds until a change shows in searches."""
        self._portal = portal
        self._now = now
        self._strict = strict
        self._lag = int(lag * 1000)

    def run(self, body: object, size: int) -> dict[str, Any]:
        """The answer.  ``size``: characters of the body as sent."""
        if not isinstance(body, Mapping):
            raise bad("Invalid input JSON")
        if size > _BODY:
            raise bad(f"The request body is {size} characters long; at most {_BODY} are allowed")
        if self._strict and (missing := [k for k in _KEYS if k not in body]):
            raise bad(f"Some required fields were not set: [{', '.join(missing)}]")
        limit, after = _number(body.get("limit", 10), "limit"), _number(body.get("after", 0) or 0, "after")
        if not 0 < limit <= LIMIT:
            raise bad(f"limit must be between 1 and {LIMIT}")
        if after + limit > CAP:
            raise bad(f"The maximum number of results of a query is {CAP}; offset {after} and limit {limit} exceed it")
        groups = self._groups(body.get("filterGroups") or [])
        tests = [[self._test(f) for f in group] for group in groups]
        query = str(body.get("query") or "").lower()
        until = self._now() - self._lag
        found = [
            c
            for c in self._candidates(groups)
            if c.updated <= until
            and (not tests or any(all(test(c) for test in group) for group in tests))
            and (not query or any(query in c.values.get(n, "").lower() for n in _TEXT_IN))
        ]
        self._sort(found, body.get("sorts") or [])
        names = body.get("properties") or None
        answer: dict[str, Any] = {
            "total": len(found),
            "results": [self._portal.show(c, names) for c in found[after : after + limit]],
        }
        if after + limit < len(found):
            answer["paging"] = {"next": {"after": str(after + limit)}}
        return answer

    def _groups(self, given: object) -> list[list[Mapping[str, Any]]]:
        if not isinstance(given, list) or not all(isinstance(g, Mapping) for g in given):
            raise bad("filterGroups must be an array of objects")
        groups = [list(g.get("filters") or []) for g in given]
        if len(groups) > _GROUPS or any(len(g) > _FILTERS for g in groups) or sum(map(len, groups)) > _ALL_FILTERS:
            raise bad(
                f"At most {_GROUPS} groups of {_FILTERS} filters each and {_ALL_FILTERS} filters in all are allowed"
            )
        return groups

    def _candidates(self, groups: list[list[Mapping[str, Any]]]) -> Iterable[Contact]:
        """A superset of the matches that is cheap to find."""
        if len(groups) != 1:
            return self._portal.live()
        for given in groups[0]:
            name, operator = given.get("propertyName"), given.get("operator")
            if operator in {"EQ", "IN"} and name in {ID, EMAIL, MORE_EMAILS}:
                wanted = given.get("values") if operator == "IN" else [given.get("value")]
                look = self._portal.exact if name == ID else self._portal.holder
                found = (look(str(v)) for v in dict.fromkeys(map(str, wanted or [])))
                return {c.id: c for c in found if c is not None}.values()
            if name == MODIFIED and operator in {"GT", "GTE", "BETWEEN"}:
                return self._since(millis(str(given.get("value"))))
        return self._portal.live()

    def _since(self, at: int | None) -> Iterator[Contact]:
        return (self._portal.contacts[i] for i in self._portal.journal.since(at))

    def _sort(self, found: list[Contact], sorts: object) -> None:
        if not isinstance(sorts, list):
            raise bad("sorts must be an array")
        found.sort(key=lambda c: c.id)
        for given in reversed(sorts):
            if isinstance(given, Mapping):
                name, down = str(given.get("propertyName", "")), given.get("direction") == "DESCENDING"
            else:
                name, down = str(given).lstrip("-"), str(given).startswith("-")
            if name not in self._portal.schema:
                raise bad(f"There was a problem with the request: unknown property {name} in sorts")
            key = self._ordered(name)
            present = [c for c in found if name in c.values]
            absent = [c for c in found if name not in c.values]
            present.sort(key=lambda c: key(c.values[name]), reverse=down)
            found[:] = [*present, *absent]

    def _ordered(self, name: str) -> Callable[[str], _Key]:
        """How values of this property compare."""
        match self._portal.schema[name].type:
            case "number":
                return _as_number
            case "date" | "datetime":
                return _as_time
        return _as_text

    def _test(self, given: Mapping[str, Any]) -> _Test:
        name, operator = str(given.get("propertyName", "")), given.get("operator")
        known = self._portal.schema.get(name)
        if known is None:
            raise bad(f"There was a problem with the request: unknown property {name} in filters")
        if operator == "HAS_PROPERTY":
            return lambda c: name in c.values
        if operator == "NOT_HAS_PROPERTY":
            return lambda c: name not in c.values
        if operator in {"IN", "NOT_IN"}:
            values = given.get("values")
            if not isinstance(values, list) or not values:
                raise bad(f"{operator} needs values")
            # Text is kept in lower case in the index, and is not folded here: "Lisbon" finds nothing ("CRM search").
            among = _among({str(v) for v in values}, many=known.many, fold=known.type == "string")
            if operator == "IN":
                return lambda c: name in c.values and among(c.values[name])
            return lambda c: name in c.values and not among(c.values[name])
        if given.get("value") is None:
            raise bad(f"{operator} needs a value")
        value = str(given["value"])
        if operator in {"CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"}:
            holds = operator == "CONTAINS_TOKEN"
            return lambda c: name in c.values and _has_tokens(c.values[name], value) is holds
        key = self._ordered(name)
        if operator in {"EQ", "NEQ"}:
            equal = operator == "EQ"
            if known.many:
                return lambda c: name in c.values and (value in c.values[name].split(";")) is equal
            wanted = key(value)
            return lambda c: name in c.values and (key(c.values[name]) == wanted) is equal
        return self._range(name, str(operator), key, value, given.get("highValue"))

    def _range(self, name: str, operator: str, key: Callable[[str], _Key], value: str, high: object) -> _Test:
        low = key(value)
        match operator:
            case "LT":
                return lambda c: name in c.values and key(c.values[name]) < low
            case "LTE":
                return lambda c: name in c.values and key(c.values[name]) <= low
            case "GT":
                return lambda c: name in c.values and key(c.values[name]) > low
            case "GTE":
                return lambda c: name in c.values and key(c.values[name]) >= low
            case "BETWEEN" if high is not None:
                top = key(str(high))
                return lambda c: name in c.values and low <= key(c.values[name]) <= top
        raise bad(f"There was a problem with the request: operator {operator}")


def _number(value: object, name: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise bad(f"{name} must be a number") from None


def _as_number(text: str) -> _Key:
    try:
        return (0, float(text))
    except ValueError:
        raise bad(f"{text} is not a number") from None


def _as_time(text: str) -> _Key:
    if (ms := millis(text)) is None:
        raise bad(f"{text} is not a time")
    return (0, float(ms))


def _as_text(text: str) -> _Key:
    return (1, text.lower())


def _among(wanted: set[str], *, many: bool, fold: bool) -> Callable[[str], bool]:
    if many:
        return lambda text: not wanted.isdisjoint(text.split(";"))
    if fold:
        return lambda text: text.lower() in wanted
    return lambda text: text in wanted


def _has_tokens(text: str, pattern: str) -> bool:
    """Whole words in any order, ``*`` for any characters."""
    text, pattern = text.lower(), pattern.lower()
    if "*" in pattern and fnmatchcase(text, pattern):
        return True
    words = re.findall(r"\w+", text)
    wanted = re.findall(r"[\w*]+", pattern)
    return bool(wanted) and all(any(fnmatchcase(word, w) for word in words) for w in wanted)
