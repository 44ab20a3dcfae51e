"""What people ask of the agreement and its leads: versions, what differs, the facts that there are.  Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.agreement.load import Agreement
from app.core.fields import CUSTOM_PREFIX, Type
from app.sync.mapping import Map


def customs_of(map_: Map) -> dict[str, Type]:
    """The custom fields of a mapping, without their prefix."""
    return {
        name.removeprefix(CUSTOM_PREFIX): entry.field.type
        for name, entry in map_.entries.items()
        if name.startswith(CUSTOM_PREFIX)
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two versions say differently.  None: only the other one has it."""

    path: str
    before: Any
    after: Any


def differences(before: Agreement, after: Agreement) -> list[Difference]:
    """What the second says that the first does not, and the other way round, in the order of the file."""
    return list(_walk((), _plain(before), _plain(after)))


def _plain(agreement: Agreement) -> dict[str, Any]:
    return agreement.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _walk(path: tuple[str, ...], before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from _walk((*path, name), before.get(name), after.get(name))
        if [n for n in before if n in after] != [n for n in after if n in before]:
            yield Difference(".".join((*path, "(order)")), ", ".join(before), ", ".join(after))
    elif before != after:
        yield Difference(".".join(path), before, after)
