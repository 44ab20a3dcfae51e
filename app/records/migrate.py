"""Bring the database up to date.  One chain of migrations for both databases."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import migrations
from app.core.db import Database

# Replicas that start together take turns (PostgreSQL's advisory lock; SQLite has one writer anyway).
_LOCK = 0x7A4D_0001


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).resolve().parent))
    return config


def head() -> str:
    """The newest revision of the code."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("no migration found: the installation is incomplete")
    return revision


def current(database: Database) -> str | None:
    """The revision of the database; None for an empty one."""
    with database.read() as db:
        return MigrationContext.configure(db).get_current_revision()


def upgrade(database: Database) -> None:
    """Apply what is missing, in one transaction."""
    if current(database) == head():
        return
    with database.write() as db:
        if database.dialect == "postgresql":
            db.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config = _config()
        config.attributes["connection"] = db
        command.upgrade(config, "head")
