"""Vendors.  Each module here without a leading underscore that holds a Connector is one; a new file is enough."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from connectors.contract import Connector

_NOT_VENDORS = {"contract"}


def find() -> dict[str, type[Connector]]:
    """Every connector of this package by its name, sorted."""
    return dict(sorted((kind.name, kind) for module in _modules() for kind in _kinds(module)))


def named(name: str) -> type[Connector] | None:
    """The connector of that name, None where there is none.

    A module that is called like its connector is the only one that is loaded: a service between two vendors does not
    carry the other ones.
    """
    kinds = _kinds(name) if name in _modules() else ()
    return next((kind for kind in kinds if kind.name == name), None) or find().get(name)


def _modules() -> list[str]:
    names = (info.name for info in pkgutil.iter_modules(__path__))
    return [name for name in names if not name.startswith("_") and name not in _NOT_VENDORS]


def _kinds(module: str) -> Iterator[type[Connector]]:
    loaded = importlib.import_module(f"{__name__}.{module}")
    for value in vars(loaded).values():
        if isinstance(value, type) and issubclass(value, Connector) and value.__module__ == loaded.__name__:
            yield value
