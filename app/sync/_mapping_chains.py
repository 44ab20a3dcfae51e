"""Functions made of functions: chains of transforms, value maps, cutting.  Built once, when a mapping is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.fields import Form, Type, Unfit, as_text
from app.sync.transforms import TRANSFORMS, Function, Shape


def lists(names: Sequence[str]) -> bool:
    """Whether a reading chain makes the list itself."""
    return any(
        (t := TRANSFORMS.get(name)) is not None and t.read is not None and t.read.gives is Type.LIST for name in names
    )


def fits(wanted: Shape, given: Shape) -> bool:
    """Whether what a step gives is what the next one (or the field) wants: every form is also a text."""
    return wanted == given or (wanted is Type.TEXT and isinstance(given, Form))


def chain(functions: Sequence[Function]) -> Function:
    """One function for several, without a loop for the usual lengths."""
    if not functions:
        return _same
    if len(functions) == 1:
        return functions[0]
    if len(functions) == 2:
        first, second = functions
        return lambda value: second(first(value))
    if len(functions) == 3:
        one, two, three = functions
        return lambda value: three(two(one(value)))
    rest = chain(functions[3:])
    head = chain(functions[:3])
    return lambda value: rest(head(value))


def _same(value: Any) -> Any:
    return value


def each(function: Function) -> Function:
    """The function on each element of a list; nulls in it are left out."""

    def on_each(items: Any) -> list[Any]:
        if not isinstance(items, (list, tuple)):
            raise Unfit("not_list", "not a list")
        return [function(item) for item in items if item is not None]

    return on_each


def value_map(forth: Mapping[str, Any], *, keep: bool) -> tuple[Function, Function]:
    """Their word → ours and back.  ``keep``: a word that is on neither side passes as it is."""
    back = {ours: theirs for theirs, ours in forth.items()}

    def read(value: Any) -> Any:
        word = as_text(value)
        if word in forth:
            return forth[word]
        if keep and word not in back:
            return word
        raise _unmapped()

    def write(value: Any) -> Any:
        if value in back:
            return back[value]
        if keep and value not in forth:
            return value
        raise _unmapped()

    return read, write


def _unmapped() -> Unfit:
    return Unfit("unmapped", "a value that the mapping's `values` does not list")


def shortened(text: str, limit: int, *, cut: bool) -> str:
    """At most ``limit`` bytes of UTF-8, whole characters, no blank at the end."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    if not cut:
        raise Unfit("too_long", f"more than {limit} bytes, and not a text that may be cut")
    short = raw[:limit].decode(errors="ignore").rstrip()
    if not short:
        raise Unfit("too_long", f"nothing is left of it in {limit} bytes")
    return short
