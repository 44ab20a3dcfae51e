"""``tandem.yml`` read within bounds.  In: text.  Out: plain data; or ConfigError, whatever the text is.

Anchors may be used, as people do for what several connections share; what they unpack to is counted before anything is
built, since a few lines of aliases of aliases stand for billions of values.  Mappings and the agreement are read by a
stricter reader (``app/sync/_mapping_yaml.py``).
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from app.core.errors import ConfigError

MAX_BYTES: Final = 256 * 1024  # hundreds of connections
MAX_DEPTH: Final = 12  # twice what the settings need
MAX_VALUES: Final = 50_000  # with every alias written out
MAX_DIGITS: Final = 100  # of a number: reading one costs the square of its length

_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})


def load(text: str, file: str) -> Any:
    """The data of a text; None for an empty one.  ConfigError with file and line for all that cannot be used."""
    size = len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise ConfigError(f"{file}: {size} bytes; at most {MAX_BYTES} are read")
    try:
        _shallow(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        _count(node, file, {}, set())
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None)
        said = problem if problem is not None else "it cannot be read"
        raise ConfigError(f"{_at(file, mark)}: not valid YAML: {said}") from None
    except ValueError as error:  # 30 February, a number of thousands of digits
        raise ConfigError(f"{file}: a value is none: {error}; put it in quotes if it is meant as text") from None


def _at(file: str, mark: Any) -> str:
    return file if mark is None else f"{file}:{mark.line + 1}"


def _shallow(text: str, file: str) -> None:
    """Before anything is built: the parser itself goes down as deep as the text does."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"{_at(file, event.start_mark)}: nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _count(node: yaml.Node, file: str, known: dict[int, int], open_: set[int]) -> int:
    """How many values a node stands for.  ConfigError for too many, for one inside itself, and for a key twice."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in open_:
        raise ConfigError(f"{_at(file, node.start_mark)}: an alias stands inside what it stands for")
    if node.tag in _NUMBERS and isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_DIGITS:
        raise ConfigError(f"{_at(file, node.start_mark)}: a number of more than {MAX_DIGITS} digits")
    open_.add(id(node))
    total = 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise ConfigError(f"{file}:{line}: {key.value[:80]!r} stands on line {seen[key.value]} already")
                seen[key.value] = line
            total += _count(key, file, known, open_) + _count(value, file, known, open_)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            total += _count(value, file, known, open_)
    if total > MAX_VALUES:
        raise ConfigError(f"{_at(file, node.start_mark)}: more than {MAX_VALUES} values with all aliases written out")
    open_.discard(id(node))
    known[id(node)] = total
    return total
