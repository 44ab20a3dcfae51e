"""The migrations lead to the tables that the code declares, once, whoever starts first."""

from __future__ import annotations

import ast
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.core import tables
from app.core._tables_base import CONVENTION
from app.core.db import Database
from app.records import migrate
from migrations import new

VERSIONS = sorted(p for p in (Path(migrate.migrations.__file__).parent / "versions").glob("*.py") if p.stem[0] != "_")


def described(db: sa.Connection) -> dict[str, Any]:
    """The schema as the database tells it, in an order that does not depend on how it was made."""
    look = sa.inspect(db)
    found = {}
    for table in sorted(look.get_table_names()):
        if table == "alembic_version":
            continue
        found[table] = {
            "columns": {
                c["name"]: (str(c["type"]), c["nullable"], c["default"], c.get("autoincrement"))
                for c in look.get_columns(table)
            },
            "order": [c["name"] for c in look.get_columns(table)],
            "key": look.get_pk_constraint(table),
            "indexes": sorted(map(_index, look.get_indexes(table))),
            "unique": sorted(map(str, look.get_unique_constraints(table))),
            "foreign": sorted(map(str, look.get_foreign_keys(table))),
            "checks": sorted(map(str, look.get_check_constraints(table))),
        }
    return found


def _index(index: Any) -> str:
    where = {k: str(v) for k, v in index.get("dialect_options", {}).items() if k.endswith("_where")}
    return f"{index['name']} {index['column_names']} unique={bool(index['unique'])} {where}"


def empty(database: Database) -> None:
    """Drop everything."""
    with database.write() as db:
        everything = sa.MetaData()
        everything.reflect(db)
        everything.drop_all(db)


def test_migrations_make_the_declared_tables(database: Database) -> None:
    """Alembic finds no difference, and the database describes the same tables as when they are made directly."""
    with database.read() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
        migrated = described(db)
    assert set(migrated) == set(tables.metadata.tables)
    assert sum("_where" in index for table in migrated.values() for index in table["indexes"]) >= 3
    empty(database)
    with database.write() as db:
        tables.metadata.create_all(db)
    with database.read() as db:
        assert migrated == described(db)


@pytest.mark.parametrize(
    "spoil",
    [
        "ALTER TABLE contact ADD COLUMN mood TEXT",
        "DROP INDEX uq_contact_key_strong",
        "DROP INDEX uq_contact_key_strong; CREATE UNIQUE INDEX uq_contact_key_strong ON contact_key (key, value)",
        "DROP INDEX ix_work_due; CREATE INDEX ix_work_due ON work (connection, due_at, lane)",
        "DROP TABLE run",
    ],
)
def test_a_difference_is_seen(database: Database, spoil: str) -> None:
    """Guards the guard: the description tells a column, an index, its condition and its order."""
    with database.read() as db:
        before = described(db)
    with database.write() as db:
        for statement in spoil.split("; "):
            db.exec_driver_sql(statement)
    with database.read() as db:
        assert described(db) != before


def test_every_upgrade_but_the_first_changes_nothing(database: Database) -> None:
    """Upgrading an up-to-date database is harmless, and so is upgrading one with people in it."""
    assert migrate.current(database) == migrate.head()
    with database.write() as db:
        db.execute(sa.insert(tables.lease).values(name="poll", token="t", until=1))
        before = described(db)
    migrate.upgrade(database)
    with database.read() as db:
        assert described(db) == before
        assert db.execute(sa.select(tables.lease.c.name)).scalars().all() == ["poll"]


def test_replicas_that_start_together_migrate_once(database: Database) -> None:
    """Four processes' worth of stores upgrade one empty database at the same moment, and none fails."""
    url = database.url.render_as_string(hide_password=False)
    if database.dialect == "sqlite":
        url += ".new"  # a file that is not there yet: they also switch it to WAL together
    else:
        empty(database)
    stores = [Database(url, pool=1) for _ in range(4)]
    together = threading.Barrier(len(stores))
    problems: list[Exception] = []

    def start(store: Database) -> None:
        together.wait()
        try:
            migrate.upgrade(store)
        except Exception as problem:  # noqa: BLE001 - told below
            problems.append(problem)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [migrate.current(store) for store in stores] == [migrate.head()] * len(stores)
    with stores[0].read() as db:
        assert set(described(db)) == set(tables.metadata.tables)
    for store in stores:
        store.close()


def test_an_upgrade_happens_wholly_or_not_at_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that breaks in the middle leaves the database as it was."""
    empty(database)
    real = command.upgrade

    def broken(*args: Any) -> None:
        real(*args)
        raise RuntimeError("the power went out")

    monkeypatch.setattr(command, "upgrade", broken)
    with pytest.raises(RuntimeError, match="power"):
        migrate.upgrade(database)
    assert migrate.current(database) is None
    with database.read() as db:
        assert described(db) == {}


@pytest.mark.parametrize("path", VERSIONS, ids=lambda p: p.stem)
def test_a_migration_is_named_and_told(path: Path) -> None:
    """``0001_word``, numbered without a gap; the revision is the file's name; a docstring; forward only."""
    assert re.fullmatch(r"\d{4}(_[a-z0-9]+)+", path.stem)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {
        t.id: ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and _plain(n)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    number = VERSIONS.index(path) + 1
    assert path.stem.startswith(f"{number:04d}_")
    assert said["revision"] == path.stem
    assert said["down_revision"] == (VERSIONS[number - 2].stem if number > 1 else None)
    assert ast.get_docstring(tree)
    assert {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} >= {"upgrade"}
    assert "downgrade" not in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def _plain(node: ast.Assign) -> bool:
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return True


def test_there_are_migrations() -> None:
    """Guards the guard."""
    assert VERSIONS
    assert migrate.head() == VERSIONS[-1].stem


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_hot_tables_are_vacuumed_by_number(database: Database) -> None:
    """``work`` and ``inbox`` are vacuumed after so many dead rows, and ``work`` leaves room for updates in place."""
    with database.read() as db:
        options = dict(
            db.exec_driver_sql("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL").all()
        )
    by_number = {"autovacuum_vacuum_scale_factor=0", "autovacuum_vacuum_threshold=5000"}
    assert set(options["inbox"]) == by_number
    assert set(options["work"]) == by_number | {"fillfactor=70", "autovacuum_vacuum_cost_delay=0"}


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A copy of the migrations to write into."""
    folder = tmp_path / "100% ours" / "migrations"
    shutil.copytree(Path(new.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_new_migration_holds_the_difference(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``make migration`` numbers it, names it after the sentence, and writes what was declared meanwhile."""
    declared = sa.MetaData(naming_convention=CONVENTION)
    for table in tables.metadata.sorted_tables:
        table.to_metadata(declared)
    declared.tables["contact"].append_column(sa.Column("zone", tables.Big, nullable=True))
    sa.Index("ix_contact_zone", declared.tables["contact"].c.zone)
    monkeypatch.setattr(tables, "metadata", declared)
    path = new.write("Contacts know their time zone.", workshop)
    assert path == workshop / "versions" / f"{len(VERSIONS) + 1:04d}_contacts_know_their_time_zone.py"
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""Contacts know their time zone."""')
    assert f'down_revision = "{migrate.head()}"' in text.replace("'", '"')
    assert re.search(r"add_column\(sa\.Column\(.zone., sa\.BigInteger\(\)\.with_variant", text)
    assert "create_index('ix_contact_zone'" in text.replace('"', "'").replace("batch_op.f(", "").replace("op.f(", "")
    assert "drop_" not in text
    compile(text, path.name, "exec")


def test_without_a_difference_there_is_nothing_to_do(workshop: Path) -> None:
    """What is declared is what the migrations make, so that a new one is empty."""
    text = new.write("Nothing", workshop).read_text(encoding="utf-8")
    assert "pass" in text
    assert "op." not in text.split("def upgrade", 1)[1]


@pytest.mark.parametrize("message", ["", "…", "  "])
def test_a_migration_needs_a_name(message: str) -> None:
    """A sentence without a word names no file."""
    with pytest.raises(ValueError, match="few words"):
        new.revision_of(message, 2)
