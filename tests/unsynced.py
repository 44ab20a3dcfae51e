"""The SQLite databases that tests open do not wait for the disk: they die with the test.

A commit that is not synced is as good as a synced one for all that a test can do, a killed process included; only the
power that fails makes the difference.  What runs in a process of its own has the settings of the real thing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from app.core.db import Database

_real = Database._sqlite


def begin() -> None:
    """From now on."""
    Database._sqlite = _unsynced  # type: ignore[method-assign]


def _unsynced(self: Database, begin: str, **how: Any) -> Engine:
    engine = _real(self, begin, **how)
    event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA synchronous = OFF").close())
    return engine
