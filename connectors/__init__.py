"""Vendors.  Each module here without a leading underscore that holds a Connector is one; a new file is enough."""

from __future__ import annotations

import importlib
import pkgutil

from connectors.contract import Connector

_NOT_VENDORS = {"contract"}


def find() -> dict[str, type[Connector]]:
    """Every connector of this package by its name, sorted."""
    found: dict[str, type[Connector]] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_") or info.name in _NOT_VENDORS:
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Connector) and value.__module__ == module.__name__:
                found[value.name] = value
    return dict(sorted(found.items()))
