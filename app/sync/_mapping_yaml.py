"""Strict YAML for people who edit by hand: text in, plain data and the line of every key out.

A subset of YAML 1.2: no anchors, aliases, tags, merges or several documents; a key stands once; ``yes``, ``no``,
``on``, ``off`` and dates are text (Norway's country code is ``no``); size and depth are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import yaml

from app.core.errors import ConfigError

MAX_BYTES: Final = 256 * 1024  # a mapping of 2,000 fields; the parser is slow, and a mapping is read at every start
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml, where it is built in: twenty times as fast
MAX_DEPTH: Final = 12  # the grammar needs 6, examples a little more

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})\.[0-9]{1,30}", re.ASCII)
_WORDS: Final[Mapping[str, Any]] = {"": None, "~": None, "null": None, "true": True, "false": False}

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where.  ``valid``: what could stand there instead."""

    file: str
    line: int | None
    path: str  # dotted, "" for the whole file
    message: str
    valid: tuple[str, ...] = ()
    level: str = "error"  # or "warning": it works, but probably not as meant

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"
        return f"{text}; valid: {', '.join(self.valid)}" if self.valid else text


class MappingError(ConfigError):
    """The mapping cannot be used.  ``problems`` holds all that was found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line is None, p.line if p.line is not None else 0)))
        super().__init__("\n".join(str(p) for p in self.problems))


class Source:
    """The text of a mapping as data, and where in it things stand."""

    def __init__(self, file: str, data: Any, lines: Mapping[Path, int]) -> None:
        self.file = file
        self.data = data
        self._lines = lines

    def problem(self, path: Sequence[str | int], message: str, valid: Sequence[str] = ()) -> Problem:
        """A problem at a path; where the path does not exist, at the nearest thing above it."""
        at = tuple(path)
        while at and at not in self._lines:
            at = at[:-1]
        return Problem(self.file, self._lines.get(at), ".".join(map(str, path)), message, tuple(valid))

    def lines(self) -> dict[str, int]:
        """Dotted path → line, for problems that are found later."""
        return {".".join(map(str, path)): line for path, line in self._lines.items()}

    def known(self, path: Sequence[str | int]) -> Path:
        """The longest beginning of the path that stands in the file."""
        at = tuple(path)
        while at and at not in self._lines:
            at = at[:-1]
        return at


def parse(text: str, file: str) -> Source:
    """The data of a YAML text.  Raises MappingError."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # half of a pair, which no file in UTF-8 holds
        line = text.count("\n", 0, error.start) + 1
        raise MappingError([Problem(file, line, "", "not text: half of a character stands there")]) from None
    if size > MAX_BYTES:
        raise MappingError([Problem(file, None, "", f"{size} bytes; a mapping has at most {MAX_BYTES}")])
    try:
        problems = _scan(text, file)
        if problems:
            raise MappingError(problems)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None)
        message = f"not valid YAML: {problem if problem is not None else 'unreadable'}"
        raise MappingError([Problem(file, None if mark is None else mark.line + 1, "", message)]) from None
    lines: dict[Path, int] = {(): 1}
    data = None if node is None else _plain(node, (), file, lines, problems)
    if problems:
        raise MappingError(problems)
    return Source(file, data, lines)


def _scan(text: str, file: str) -> list[Problem]:
    """What the subset does not have, found before anything is built."""
    problems: list[Problem] = []
    depth = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark is not None else None
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                problems.append(Problem(file, line, "", "a second document; a mapping is one"))
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            problems.append(Problem(file, line, "", "anchors and aliases are not read; write it out"))
        elif getattr(event, "tag", None) is not None:
            problems.append(Problem(file, line, "", "tags are not read; quote text that looks like something else"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return [*problems, Problem(file, line, "", f"nested more than {MAX_DEPTH} deep")]
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return problems


def _plain(node: yaml.Node, path: Path, file: str, lines: dict[Path, int], problems: list[Problem]) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                problems.append(Problem(file, line, ".".join(map(str, path)), "a key has to be a text"))
                continue
            at = (*path, key.value)
            if key.value in found:
                first = lines[at]
                problems.append(
                    Problem(file, line, ".".join(map(str, at)), f"stands here again; first on line {first}")
                )
                continue
            lines[at] = line
            found[key.value] = _plain(value, at, file, lines, problems)
        return found
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
        return [_plain(item, (*path, i), file, lines, problems) for i, item in enumerate(node.value)]
    text: str = node.value
    if not isinstance(node, yaml.ScalarNode) or bool(node.style):  # quoted or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
