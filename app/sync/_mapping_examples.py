"""The examples of a mapping file, run whenever it is loaded: what they promise and the mapping does not keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app.core.fields import Unfit
from app.core.words import MISSING, Claim, Value
from app.sync._mapping_grammar import Parsed
from app.sync._mapping_yaml import Problem

if TYPE_CHECKING:
    from app.sync.mapping import Map


def broken(parsed: Parsed, map_: Map) -> Iterator[Problem]:
    """What the examples promise and the mapping does not keep."""
    for index, example in enumerate(parsed.spec.examples):
        at = ("examples", index)
        unknown = sorted(set(example.ours) - map_.in_fields - map_.out_fields)
        if unknown:
            yield parsed.source.problem((*at, "ours", unknown[0]), "not under `fields`", sorted(map_.entries))
            continue
        try:
            ours = {n: None if v is None else _normal(map_, n, v) for n, v in example.ours.items()}
        except Unfit as error:
            yield parsed.source.problem((*at, "ours"), f"not in canonical form: {error}")
            continue
        if example.only != "write":
            reading = map_.read(example.theirs, all=True)
            wanted = {n: v for n, v in ours.items() if n in map_.entries}
            if reading.claim != wanted:
                yield parsed.source.problem((*at, "theirs"), f"reads {_unlike(reading.claim, wanted)}")
        if example.only != "read":
            writing = map_.write(ours)
            targets = {map_.entries[n].theirs for n in map_.out_fields if n in map_.entries} | set(map_.composed)
            expected = {n: v for n, v in example.theirs.items() if n in targets}
            if writing.fields != expected:
                yield parsed.source.problem((*at, "ours"), f"writes {_unlike(writing.fields, expected)}")


def _normal(map_: Map, name: str, value: Any) -> Value:
    entry = map_.entries.get(name)
    return value if entry is None else entry.normal(value)


def _unlike(got: Claim, wanted: Claim) -> str:
    """Where two mappings differ, for people."""
    names = [n for n in {**wanted, **got} if got.get(n, MISSING) != wanted.get(n, MISSING)]
    return "; ".join(f"{n}: {got.get(n, 'nothing')!r} instead of {wanted.get(n, 'nothing')!r}" for n in names)
