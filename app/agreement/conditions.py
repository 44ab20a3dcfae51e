"""Conditions of the agreement: checked when they are loaded, evaluated by a CEL engine.

In: the text of a condition and the facts that there are, by dotted name and type.  Out: a ``Condition``, or ``Wrong``
with the place.  A checked condition never fails while it is evaluated: a fact that is not known makes the part of the
condition that needs it unknown (CEL's own rule for errors in ``&&`` and ``||``), and a condition that is unknown is not
true.  ``has(contact.city)`` asks whether a fact is known.

``now`` is compared with moments only, with a constant length of time between: so each condition can say beforehand at
which moments it may turn (``flips``), and nobody has to look at the clock to find out.  Pure: no database, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final

from app.agreement._conditions_parse import (
    Binary,
    Call,
    Choice,
    Items,
    Literal,
    Macro,
    Node,
    Path,
    Unary,
    Wrong,
    alternatives,
    parse,
    spelled,
    within,
)

__all__ = ["Condition", "Flip", "Kind", "Wrong", "compiled"]


class Kind(StrEnum):
    """What a value is."""

    TRUTH = "truth value"
    WHOLE = "whole number"
    NUMBER = "number"
    TEXT = "text"
    MOMENT = "moment"
    SPAN = "length of time"
    LIST = "list of texts"


NOW: Final = "now"
_DAY: Final = 86_400_000
_SPAN: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NUMBERS: Final = frozenset({Kind.WHOLE, Kind.NUMBER})


@dataclass(frozen=True, slots=True)
class Flip:
    """A moment at which a condition may turn: ``after_ms`` after the fact ``path``."""

    path: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was checked."""

    text: str
    paths: frozenset[str]  # the facts that it reads, ``now`` aside
    flips: frozenset[Flip]
    parts: tuple[Condition, ...] = field(default=(), repr=False)  # what stands between its outermost ``||``
    asked: frozenset[str] = field(default=frozenset(), repr=False)  # those of ``paths`` that are asked for by has only
    moments: frozenset[str] = field(default=frozenset(), repr=False)  # those of ``paths`` that are moments
    reads: tuple[tuple[str, tuple[str, ...], str], ...] = field(default=(), repr=False)  # paths, taken apart
    program: Any = field(default=None, repr=False, compare=False)

    def holds(self, facts: Mapping[str, Any], now: int) -> bool:
        """Whether it is true.  ``facts``: dotted name → value, moments in ms; unknown ones are absent."""
        env: dict[str, Any] = {}
        if self.flips:
            env[NOW] = _moment(now)
        for path, (root, *roots), last in self.reads:
            at = env.setdefault(root, {})
            value = facts.get(path)
            if value is None:
                continue
            for name in roots:
                at = at.setdefault(name, {})
            at[last] = _moment(value) if path in self.moments else value
        try:
            return self.program.execute(env) is True
        except _UNKNOWN:
            return False

    def turns(self, facts: Mapping[str, Any], after: int) -> int | None:
        """The next moment later than ``after`` at which it may turn while the facts stay; None = never."""
        found = [
            moment
            for flip in self.flips
            if isinstance(value := facts.get(flip.path), int) and (moment := value + flip.after_ms) > after
        ]
        return min(found, default=None)

    def because(self, facts: Mapping[str, Any], now: int) -> dict[str, Any]:
        """The facts of those of its alternatives that are true; True for one that only has to be known."""
        held = [part for part in self.parts if part.holds(facts, now)] if self.parts else [self]
        names = {name for part in held for name in part.paths}
        found = {name: facts[name] for name in sorted(names) if facts.get(name) is not None}
        return {name: True if name in self.asked else value for name, value in found.items()}


# What the engine raises where a fact is not known, or a number leaves its range.
_UNKNOWN: Final = (KeyError, RuntimeError, TypeError, ValueError, ArithmeticError)


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def compiled(text: str, names: Mapping[str, Kind]) -> Condition:
    """The checked condition.  ``names``: the facts that there are, by dotted name.  Raises Wrong."""
    node = parse(text)
    check = _Check(names)
    kind = check.kind(node)
    if kind is not Kind.TRUTH:
        raise Wrong(node.at, f"a condition is true or false; this is a {kind}")
    parts = alternatives(node)
    return _condition(node, names, tuple(_condition(part, names) for part in parts) if len(parts) > 1 else ())


def _engine() -> Any:
    """The CEL engine, loaded where there is an agreement: it brings a terminal's tool kit, a tenth of the start."""
    import cel

    return cel


def _condition(node: Node, names: Mapping[str, Kind], parts: tuple[Condition, ...] = ()) -> Condition:
    check = _Check(names)
    check.kind(node)
    paths = frozenset(check.read | check.asked)
    moments = frozenset(p for p in paths if names[p] is Kind.MOMENT)
    asked = frozenset(check.asked - check.read)
    reads = tuple((p, tuple(p.split(".")[:-1]), p.rsplit(".", 1)[-1]) for p in sorted(paths))
    program = _engine().compile(spelled(node, engine=True))
    return Condition(spelled(node), paths, frozenset(check.flips), parts, asked, moments, reads, program)


class _Check:
    """Types of everything in a tree, by the rules of CEL; what it reads, and when it may turn."""

    def __init__(self, names: Mapping[str, Kind]) -> None:
        self._names = names
        self._variables: dict[str, Kind] = {}
        self.read: set[str] = set()
        self.asked: set[str] = set()
        self.flips: set[Flip] = set()

    def kind(self, node: Node) -> Kind:
        match node:
            case Literal():
                return _kind_of(node.value)
            case Items():
                self._all_text(node.items)
                return Kind.LIST
            case Path():
                return self._path(node)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Choice():
                self._need(node.test, Kind.TRUTH, "what stands before ?")
                yes, no = self.kind(node.yes), self.kind(node.no)
                if yes is not no:
                    raise Wrong(node.at, f"either way it has to be the same: a {yes} here, a {no} there")
                return yes
            case Macro():
                return self._macro(node)
            case Call():
                return self._call(node)

    def _need(self, node: Node, wanted: Kind, what: str) -> None:
        found = self.kind(node)
        if found is not wanted:
            raise Wrong(node.at, f"{what} has to be a {wanted}, not a {found}{_hint(node, found, wanted)}")

    def _all_text(self, items: tuple[Node, ...]) -> None:
        for item in items:
            self._need(item, Kind.TEXT, "an element of a list")

    def _path(self, node: Path) -> Kind:
        if node.name in self._variables:
            return self._variables[node.name]
        if node.name == NOW:
            raise Wrong(node.at, _NOW)
        if node.name not in self._names:
            raise Wrong(node.at, _unknown(node.name, self._names))
        self.read.add(node.name)
        return self._names[node.name]

    def _unary(self, node: Unary) -> Kind:
        if node.op == "!":
            self._need(node.of, Kind.TRUTH, "what ! turns round")
            return Kind.TRUTH
        found = self.kind(node.of)
        if found not in _NUMBERS:
            raise Wrong(node.of.at, f"only numbers have a sign, not a {found}")
        return found

    def _binary(self, node: Binary) -> Kind:
        if node.op in {"&&", "||"}:
            for side in (node.left, node.right):
                self._need(side, Kind.TRUTH, f"each side of {node.op}")
            return Kind.TRUTH
        if node.op == "in":
            self._need(node.left, Kind.TEXT, "what is looked for with `in`")
            self._need(node.right, Kind.LIST, "what stands after `in`")
            return Kind.TRUTH
        if node.op in _TURNED and any(isinstance(n, Path) and n.name == NOW for n in within(node)):
            self._time(node)
            return Kind.TRUTH
        left, right = self.kind(node.left), self.kind(node.right)
        if node.op in {"==", "!=", *_TURNED}:
            return self._comparison(node, left, right)
        return self._arithmetic(node, left, right)

    def _comparison(self, node: Binary, left: Kind, right: Kind) -> Kind:
        if left is not right and not {left, right} <= _NUMBERS:
            raise Wrong(node.at, f"a {left} and a {right} do not compare{_hint(node.right, right, left)}")
        if node.op in _TURNED and left in {Kind.LIST, Kind.TRUTH}:
            raise Wrong(node.at, f"a {left} is neither more nor less than another")
        return Kind.TRUTH

    def _arithmetic(self, node: Binary, left: Kind, right: Kind) -> Kind:
        found = _SUMS.get((left, node.op, right))
        if found is None:
            hint = "; CEL does not mix whole numbers with others: write 2.0" if {left, right} == _NUMBERS else ""
            raise Wrong(node.at, f"{node.op} does not work on a {left} and a {right}{hint}")
        return found

    def _time(self, node: Binary) -> None:
        """``now`` against a moment, in one of the shapes whose turn can be foreseen."""
        left, op, right = node.left, node.op, node.right
        if _mentions_now(right):
            left, op, right = right, _TURNED[op], left
        # now - FACT op SPAN
        if isinstance(left, Binary) and left.op == "-" and _is_now(left.left) and (span := _span(right)) is not None:
            self._flip(left.right, span, op)
        # now op FACT, now op FACT + SPAN, now op FACT - SPAN
        elif _is_now(left) and isinstance(right, Binary) and (span := _span(right.right)) is not None:
            self._flip(right.left, span if right.op == "+" else -span, op)
        elif _is_now(left):
            self._flip(right, 0, op)
        else:
            raise Wrong(node.at, _NOW)

    def _flip(self, fact: Node, span: int, op: str) -> None:
        if not isinstance(fact, Path) or fact.name in self._variables or self.kind(fact) is not Kind.MOMENT:
            raise Wrong(fact.at, _NOW)
        # At the span itself now - fact >= span turns; one moment later now - fact > span.
        self.flips.add(Flip(fact.name, span + (op in {">", "<="})))

    def _macro(self, node: Macro) -> Kind:
        self._need(node.on, Kind.LIST, f"what stands before .{node.name}")
        if any(isinstance(n, Macro) for n in within(node.body)):
            raise Wrong(node.body.at, "no .exists or .all within another")
        if node.variable == NOW or any(n.split(".", 1)[0] == node.variable for n in self._names):
            raise Wrong(node.at, f"{node.variable!r} is the name of facts; call the element otherwise")
        self._variables[node.variable] = Kind.TEXT
        self._need(node.body, Kind.TRUTH, f"what .{node.name} asks")
        del self._variables[node.variable]
        return Kind.TRUTH

    def _call(self, node: Call) -> Kind:
        if node.on is not None:
            return self._method(node, node.on)
        if node.name not in _FUNCTIONS or len(node.arguments) != 1:
            raise Wrong(node.at, f"there is no {node.name}(…) with {len(node.arguments)} values; {_KNOWN}")
        (of,) = node.arguments
        if node.name == "has":
            if not isinstance(of, Path) or of.name in self._variables or "." not in of.name:
                raise Wrong(of.at, "has(…) asks for a fact, such as has(contact.city)")
            before = set(self.read)
            self._path(of)
            self.read = before
            self.asked.add(of.name)
            return Kind.TRUTH
        if node.name == "size":
            return self._size(of)
        if node.name == "timestamp":
            if not isinstance(of, Literal) or not isinstance(of.value, str) or not _is_moment(of.value):
                raise Wrong(of.at, "timestamp('2026-01-31T00:00:00Z') takes a moment in this form")
            return Kind.MOMENT
        if _span(node) is None:
            raise Wrong(of.at, "a length of time is days(30) or duration('36h30m')")
        return Kind.SPAN

    def _size(self, of: Node) -> Kind:
        found = self.kind(of)
        if found not in {Kind.TEXT, Kind.LIST}:
            raise Wrong(of.at, f"a {found} has no size")
        return Kind.WHOLE

    def _method(self, node: Call, on: Node) -> Kind:
        if node.name == "size" and not node.arguments:
            return self._size(on)
        if node.name not in _METHODS or len(node.arguments) != 1:
            raise Wrong(node.at, f"there is no .{node.name}(…) with {len(node.arguments)} values; {_KNOWN}")
        self._need(on, Kind.TEXT, f"what stands before .{node.name}")
        (of,) = node.arguments
        self._need(of, Kind.TEXT, f"what .{node.name}(…) looks for")
        if node.name == "matches":
            if not isinstance(of, Literal) or not isinstance(of.value, str):
                raise Wrong(of.at, ".matches(…) takes a pattern between quotes")
            try:  # the engine's own word: its patterns take time in proportion to the text, whatever they are
                _engine().evaluate(f"'a'.matches({spelled(of)})")
            except _UNKNOWN:
                raise Wrong(of.at, "not a pattern that RE2 understands") from None
        return Kind.TRUTH


_NOW: Final = (
    "now is compared with a fact that is a moment: now - engagement.last > days(90), "
    "or now < lead.since + duration('48h')"
)
_METHODS: Final = ("startsWith", "endsWith", "contains", "matches")
_FUNCTIONS: Final = ("has", "size", "days", "duration", "timestamp")
_KNOWN: Final = f"there are {', '.join(_FUNCTIONS)}, and of texts .{', .'.join(_METHODS)}, of lists .exists, .all"
_SUMS: Final = {
    **{(k, op, k): k for k in (Kind.WHOLE, Kind.NUMBER) for op in "+-*/"},
    (Kind.WHOLE, "%", Kind.WHOLE): Kind.WHOLE,
    (Kind.TEXT, "+", Kind.TEXT): Kind.TEXT,
    (Kind.MOMENT, "-", Kind.MOMENT): Kind.SPAN,
    (Kind.MOMENT, "+", Kind.SPAN): Kind.MOMENT,
    (Kind.MOMENT, "-", Kind.SPAN): Kind.MOMENT,
    (Kind.SPAN, "+", Kind.SPAN): Kind.SPAN,
    (Kind.SPAN, "-", Kind.SPAN): Kind.SPAN,
}


def _kind_of(value: bool | int | float | str) -> Kind:
    if isinstance(value, bool):
        return Kind.TRUTH
    if isinstance(value, int):
        return Kind.WHOLE
    return Kind.NUMBER if isinstance(value, float) else Kind.TEXT


def _span(node: Node) -> int | None:
    """The ms of a constant length of time; None for everything else."""
    if not isinstance(node, Call) or node.on is not None or len(node.arguments) != 1:
        return None
    (of,) = node.arguments
    if not isinstance(of, Literal) or isinstance(of.value, bool):
        return None
    if node.name == "days" and isinstance(of.value, int) and of.value <= 36_500:
        return of.value * _DAY
    if node.name == "duration" and isinstance(of.value, str) and of.value and (found := _SPAN.fullmatch(of.value)):
        hours, minutes, seconds = (int(n) if n is not None else 0 for n in found.groups())
        return ((hours * 60 + minutes) * 60 + seconds) * 1000
    return None


def _is_moment(text: str) -> bool:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", text, re.ASCII) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_now(node: Node) -> bool:
    return isinstance(node, Path) and node.name == NOW


def _mentions_now(node: Node) -> bool:
    return any(_is_now(n) for n in within(node))


def _unknown(name: str, names: Mapping[str, Kind]) -> str:
    close = get_close_matches(name, names, n=1)
    if close:
        return f"there is no fact {name!r}, did you mean {close[0]!r}?"
    roots = sorted({n.split(".", 1)[0] for n in names})
    below = sorted(n for n in names if n.startswith(name.split(".", 1)[0] + "."))
    if below:
        return f"there is no fact {name!r}; there are: {', '.join(below)}"
    return f"there is no fact {name!r}; facts begin with {', '.join(roots)}"


def _hint(node: Node, found: Kind, wanted: Kind) -> str:
    """What a frequent slip should have been."""
    if found is Kind.TEXT and wanted in _NUMBERS:
        return "; numbers stand without quotes"
    if {found, wanted} == {Kind.LIST, Kind.TEXT}:
        return "; ask with `in`"
    if isinstance(node, Path) and wanted is Kind.TRUTH:
        return f"; has({node.name}) asks whether it is known"
    return ""
