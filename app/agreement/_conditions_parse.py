"""The text of a condition as a tree.  In: a condition.  Out: nodes that know where they stand, or ``Wrong``.

A condition is written in the Common Expression Language (https://github.com/google/cel-spec/blob/master/doc/langdef.md).
What is read here is the part of it that an agreement needs, with CEL's own precedences; all of it is CEL, so that the
engine that evaluates it reads the same.  Left out, with a message that says what to write instead: null, maps, bytes,
unsigned numbers, raw and long strings, and macros inside macros.  Length and depth are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_LENGTH: Final = 2_000  # characters of one condition
MAX_DEPTH: Final = 24
MACROS: Final = ("exists", "all")

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<number>\d+\.\d+(?:[eE][+-]?\d+)?|\d+)
    |(?P<string>'(?:[^'\\\n]|\\['"\\n])*'|"(?:[^"\\\n]|\\['"\\n])*")
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:.,()\[\]])""",
    re.VERBOSE,
)
_ESCAPES = {"\\n": "\n", "\\'": "'", '\\"': '"', "\\\\": "\\"}
_LEVELS: Final = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


class Wrong(Exception):
    """A condition that cannot be used: what is wrong, and at which character (from 0)."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text or truth value."""

    at: int
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Items:
    """A list that is written out."""

    at: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """A dotted name."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """``!`` or ``-``."""

    at: int
    op: str
    of: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """Two sides and what stands between them."""

    at: int
    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Choice:
    """``test ? yes : no``."""

    at: int
    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function, with what stands before the dot as ``on``."""

    at: int
    name: str
    on: Node | None
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Macro:
    """``list.exists(name, condition)`` and ``list.all(…)``."""

    at: int
    name: str
    on: Node
    variable: str
    body: Node


Node: TypeAlias = Literal | Items | Path | Unary | Binary | Choice | Call | Macro


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """The tree of a condition.  Raises Wrong."""
    if len(text) > MAX_LENGTH:
        raise Wrong(0, f"{len(text)} characters; a condition has at most {MAX_LENGTH}")
    return _Parser(text).whole()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            what = text[at]
            hint = "; text stands between quotes and ends on its line" if what in "'\"" else ""
            hint = "; `&&` is and, `||` is or" if what in "&|" else "; `==` compares" if what == "=" else hint
            raise Wrong(at, f"{what!r} is not understood here{hint}")
        kind = str(found.lastgroup)
        if kind != "space":
            yield _Token(kind, found.group(), at)
        at = found.end()
    yield _Token("end", "", len(text))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._i = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._i]

    def _take(self) -> _Token:
        token = self._tokens[self._i]
        self._i += 1
        return token

    def _expect(self, text: str) -> None:
        if self._next.text != text or self._next.kind == "string":
            raise Wrong(self._next.at, f"{text!r} is expected here, not {self._shown()}")
        self._take()

    def _shown(self) -> str:
        return "the end" if self._next.kind == "end" else repr(self._next.text)

    def _is(self, *texts: str) -> bool:
        return self._next.kind in {"op", "name"} and self._next.text in texts

    def whole(self) -> Node:
        node = self._choice()
        if self._next.kind != "end":
            hint = "; `&&` is and, `||` is or" if self._next.text in {"and", "or"} else ""
            hint = "; `!` is not" if self._next.text == "not" else hint
            raise Wrong(self._next.at, f"{self._shown()} is not understood here{hint}")
        return node

    def _choice(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Wrong(self._next.at, f"nested more than {MAX_DEPTH} deep")
        test = self._binary(0)
        if self._is("?"):
            self._take()
            yes = self._binary(0)
            self._expect(":")
            no = self._choice()
            test = Choice(test.at, test, yes, no)
        self._depth -= 1
        return test

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._is(*_LEVELS[level]):
            op = self._take()
            right = self._binary(level + 1)
            left = Binary(left.at, op.text, left, right)
        return left

    def _unary(self) -> Node:
        if self._is("!", "-"):
            op = self._take()
            if self._is("!", "-"):
                raise Wrong(self._next.at, "one sign is enough")
            return Unary(op.at, op.text, self._member())
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while self._is("."):
            self._take()
            name = self._take()
            if name.kind != "name":
                raise Wrong(name.at, "a name is expected after the dot")
            if self._is("("):
                node = self._called(node.at, name.text, node)
            elif isinstance(node, Path):
                node = Path(node.at, f"{node.name}.{name.text}")
            else:
                raise Wrong(name.at, "only names have parts")
        if self._is("["):
            raise Wrong(self._next.at, "no element is picked out; ask with `in`, or with .exists(x, …)")
        return node

    def _primary(self) -> Node:
        token = self._take()
        if token.kind == "number":
            return Literal(token.at, float(token.text) if "." in token.text else int(token.text))
        if token.kind == "string":
            text = re.sub(r"\\.", lambda m: _ESCAPES[m.group()], token.text[1:-1])
            return Literal(token.at, text)
        if token.kind == "name":
            if token.text in {"true", "false"}:
                return Literal(token.at, token.text == "true")
            if token.text == "null":
                raise Wrong(token.at, "there is no null; ask whether a fact is known with has(…)")
            if self._is("("):
                return self._called(token.at, token.text, None)
            return Path(token.at, token.text)
        if token.text == "(":
            node = self._choice()
            self._expect(")")
            return node
        if token.text == "[":
            return Items(token.at, self._list("]"))
        self._i -= 1
        raise Wrong(token.at, f"a value is expected here, not {self._shown()}")

    def _list(self, close: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._is(close):
            items.append(self._choice())
            if not self._is(close):
                self._expect(",")
        self._take()
        return tuple(items)

    def _called(self, at: int, name: str, on: Node | None) -> Node:
        self._expect("(")
        if on is None or name not in MACROS:
            return Call(at, name, on, self._list(")"))
        variable = self._take()
        if variable.kind != "name":
            raise Wrong(variable.at, f".{name}(x, …) needs a name for the element first")
        self._expect(",")
        body = self._choice()
        self._expect(")")
        return Macro(at, name, on, variable.text, body)


def alternatives(node: Node) -> list[Node]:
    """What stands between the outermost ``||``."""
    if isinstance(node, Binary) and node.op == "||":
        return [*alternatives(node.left), *alternatives(node.right)]
    return [node]


def spelled(node: Node, *, engine: bool = False) -> str:
    """The condition of a tree, as CEL.  ``engine``: with ``duration(…)`` for ``days(…)``, which CEL does not have."""

    def inner(of: Node, level: int) -> str:
        """A part, in brackets where it binds less than ``level``."""
        text = spelled(of, engine=engine)
        return f"({text})" if _level(of) < level else text

    match node:
        case Literal():
            return _literal(node.value)
        case Items():
            return f"[{', '.join(inner(n, 0) for n in node.items)}]"
        case Path():
            return node.name
        case Unary():
            return node.op + inner(node.of, _MEMBER)
        case Binary():
            level = _level(node)
            return f"{inner(node.left, level)} {node.op} {inner(node.right, level + 1)}"
        case Choice():
            return f"{inner(node.test, 1)} ? {inner(node.yes, 1)} : {inner(node.no, 0)}"
        case Call():
            if engine and node.name == "days" and isinstance(node.arguments[0], Literal):
                return f"duration('{int(node.arguments[0].value) * 24}h')"
            on = "" if node.on is None else f"{inner(node.on, _MEMBER)}."
            return f"{on}{node.name}({', '.join(inner(n, 0) for n in node.arguments)})"
        case Macro():
            return f"{inner(node.on, _MEMBER)}.{node.name}({node.variable}, {inner(node.body, 0)})"


_MEMBER: Final = len(_LEVELS) + 2


def _level(node: Node) -> int:
    """How strongly it binds."""
    if isinstance(node, Binary):
        return next(n for n, ops in enumerate(_LEVELS, 1) if node.op in ops)
    return 0 if isinstance(node, Choice) else _MEMBER - 1 if isinstance(node, Unary) else _MEMBER


def _literal(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{text}'"
    return repr(value)


def within(node: Node) -> Iterator[Node]:
    """The node and everything in it."""
    yield node
    match node:
        case Items():
            inner: tuple[Node, ...] = node.items
        case Unary():
            inner = (node.of,)
        case Binary():
            inner = (node.left, node.right)
        case Choice():
            inner = (node.test, node.yes, node.no)
        case Call():
            inner = (*(() if node.on is None else (node.on,)), *node.arguments)
        case Macro():
            inner = (node.on, node.body)
        case _:
            inner = ()
    for one in inner:
        yield from within(one)
