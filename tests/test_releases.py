"""Two releases on one database: what a migration may do, and how processes of either side of it behave."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from app.core import tables
from app.core.db import Database
from app.core.errors import ConfigError
from app.ops.health import Examiner
from app.ops.metrics import Metrics
from app.records import migrate
from connectors.contract import Side
from migrations import lint
from tests.world import World

HEAD = """
from alembic import op
import sqlalchemy as sa
revision = {revision!r}
down_revision = {down!r}
{more}

def upgrade():
    {does}
"""
EXPAND = "op.add_column('contact', sa.Column('mood', sa.Text(), nullable=True))"
CONTRACT = "op.drop_table('brake_count')"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes the code one of a later release: with further migrations beside those that are here."""
    first = tmp_path / "migrations"
    shutil.copytree(migrate.FOLDER, first, ignore=shutil.ignore_patterns("__pycache__"))
    ours = migrate.FOLDER
    down = migrate.head()

    def made(*further: tuple[str, str, str | None]) -> None:
        folder = tmp_path / f"release{len(list(tmp_path.iterdir()))}"
        shutil.copytree(first, folder)
        before = down
        for revision, does, contract in further:
            more = f"contract = {contract!r}" if contract is not None else ""
            text = HEAD.format(revision=revision, down=before, does=does, more=more)
            (folder / "versions" / f"{revision}.py").write_text(text, encoding="utf-8")
            before = revision
        monkeypatch.setattr(migrate, "FOLDER", folder if further else ours)

    return made


TWO = ("0002_mood", EXPAND, None)
THREE = ("0003_less", CONTRACT, "0002_mood")
FOUR = ("0004_more", "op.add_column('contact', sa.Column('zeal', sa.Text(), nullable=True))", None)


def looked_at(database: Database) -> Any:
    w = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    Metrics(database, w.connections)
    return Examiner(database, w.connections, worker_expected=False).examine()


def works(database: Database) -> None:
    """The whole journey, there and back."""
    w = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    w.vendors["hub"].put(None, {"mail": "ann@example.org", "first": "Ann", "town": "Bonn"})
    w.settle()
    w.vendors["chimp"].put("chimp1", {"town": "Ulm"})
    w.settle()
    assert w.people("hub") == w.people("chimp")
    assert w.people("hub")["ann@example.org"]["town"] == "Ulm"
    w.vendors["hub"].remove("hub1")
    w.settle()


def test_older_code_works_with_newer_tables(database: Database, release: Any) -> None:
    """The next release added a nullable column to every table, one with a default, a table and an index: we go on."""
    with database.write() as db:
        for table in tables.metadata.sorted_tables:
            db.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD COLUMN next_release TEXT')
        db.exec_driver_sql("ALTER TABLE contact ADD COLUMN counted BIGINT NOT NULL DEFAULT 0")
        db.exec_driver_sql("CREATE TABLE novelty (id BIGINT PRIMARY KEY, what TEXT NOT NULL)")
        db.exec_driver_sql("CREATE INDEX ix_next ON contact (next_release)")
        db.execute(sa.text("UPDATE alembic_version SET version_num = '0002_next'"))
    found = migrate.upgrade(database)
    assert found.usable
    assert found.current == "0002_next"
    assert found.why is not None
    assert "newer version" in found.why
    assert looked_at(database).database.migrated
    works(database)
    assert migrate.current(database) == "0002_next", "nobody took it back"


def test_a_rolling_upgrade(database: Database, release: Any) -> None:
    """New code migrates, old code goes on; what takes away waits until it is asked for, and then old code says so."""
    release(TWO, THREE)
    found = migrate.upgrade(database)
    assert (found.current, found.usable, found.waiting) == ("0002_mood", True, ("0003_less",))
    assert "--contract" in str(found.why)
    works(database)
    release()
    assert migrate.upgrade(database).usable, "the old release, started again"
    assert looked_at(database).database.migrated
    release(TWO, THREE)
    assert migrate.upgrade(database, contract=True) == migrate.Standing("0003_less", "0003_less", usable=True)
    release(TWO)
    assert migrate.upgrade(database).usable, "the release that contract names"
    release()
    with pytest.raises(ConfigError, match="cannot work with them any more: install the newer Tandem"):
        migrate.upgrade(database)
    seen = looked_at(database)
    assert (seen.status, seen.database.migrated) == ("down", False)


def test_older_tables_are_not_worked_with(database: Database, release: Any) -> None:
    """Until somebody migrates, with the command to use."""
    release(TWO)
    found = migrate.standing(database)
    assert not found.usable
    assert found.why == (
        f"its tables are of an older version ({found.current}; this one needs 0002_mood): run `tandem migrate`"
    )
    assert "run `tandem migrate`" in looked_at(database).problems[0]


def test_what_takes_away_is_never_skipped(database: Database, release: Any) -> None:
    """Two releases at once: where something to take away comes before what the code needs, it has to be asked for."""
    release(TWO, THREE, FOUR)
    with pytest.raises(ConfigError, match="stop every older process, then run `tandem migrate --contract`"):
        migrate.upgrade(database)
    assert migrate.current(database) == migrate._chain(migrate.FOLDER)[0][0], "nothing happened"
    assert migrate.upgrade(database, contract=True).current == "0004_more"


def test_an_empty_store_gets_everything(database: Database, release: Any) -> None:
    """Nobody older works there; older code that comes later is told."""
    with database.write() as db:
        everything = sa.MetaData()
        everything.reflect(db)
        everything.drop_all(db)
    release(TWO, THREE)
    assert migrate.upgrade(database).current == "0003_less"
    with database.read() as db:
        kept = db.execute(select(tables.meta.c.value).where(tables.meta.c.key == migrate.NEEDS)).scalar()
    assert kept == "0002_mood"
    release()
    assert not migrate.standing(database).usable


@pytest.fixture
def reader(database: Database) -> Iterator[Any]:
    """A long query of somebody else on a table."""
    with database.read() as db:
        db.execute(select(tables.contact).limit(1)).all()
        yield db


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_a_migration_holds_nobody_up(
    database: Database, release: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a long query it gives way instead of letting everybody wait behind it, and comes through afterwards."""
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "10ms")
    tries = []

    def give_way(_state: Any) -> float:
        tries.append(1)
        if len(tries) == 2:
            reader.rollback()
        return 0

    monkeypatch.setattr(migrate, "wait_random", lambda *_: give_way)
    release(TWO)
    assert migrate.upgrade(database).current == "0002_mood"
    assert len(tries) == 2


# --- the lint ---------------------------------------------------------------------------------------------------------

VERSIONS = sorted((migrate.FOLDER / "versions").glob("[0-9]*.py"))


def test_migrations_only_add() -> None:
    """Or say that they take away."""
    assert {p.stem: lint.problems(p.read_text(encoding="utf-8")) for p in VERSIONS[1:]} == {
        p.stem: [] for p in VERSIONS[1:]
    }


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("op.drop_table('a')", "drops a table"),
        ("op.drop_column('a', 'b')", "drops a column"),
        ("op.rename_table('a', 'b')", "renames a table"),
        ("op.alter_column('a', 'b', new_column_name='c')", "renames a column"),
        ("op.alter_column('a', 'b', nullable=False)", "makes a column NOT NULL"),
        ("op.alter_column('a', 'b', type_=sa.Text())", "changes the type"),
        ("op.alter_column('a', 'b', server_default=None)", "takes a default away"),
        ("op.add_column('a', sa.Column('b', sa.Text(), nullable=False))", "cannot fill"),
        ("op.add_column('a', sa.Column('b', sa.Text()))", "cannot fill"),
        ("op.create_index('i', 'a', ['b'], unique=True, if_not_exists=True)", "uniqueness"),
        ("op.create_index('i', 'a', ['b'])", "if_not_exists"),
        ("op.create_unique_constraint('u', 'a', ['b'])", "uniqueness"),
        ("op.create_foreign_key('f', 'a', 'b', ['c'], ['d'])", "reference"),
        ("op.execute('ALTER TABLE a DROP COLUMN b')", "takes away: DROP COLUMN"),
        ("op.execute('ALTER TABLE a RENAME TO b')", "takes away: RENAME"),
        ("op.execute(f'UPDATE contact SET {x} = 1')", "changes rows"),
        ("with op.batch_alter_table('a') as batch_op:\n        batch_op.drop_column('b')", "drops a column"),
    ],
)
def test_the_lint_bites(does: str, told: str) -> None:
    """Each way of breaking older code is found, with its line; marked as a contraction it is allowed."""
    text = HEAD.format(revision="0002_x", down="0001_first", more="", does=does)
    (problem,) = lint.problems(text)
    assert told in problem
    assert problem.startswith("line ")
    assert lint.problems(text.replace("down_revision", 'contract = "0001_first"\ndown_revision', 1)) == []


@pytest.mark.parametrize(
    "does",
    [
        EXPAND,
        "op.add_column('a', sa.Column('b', sa.Text(), nullable=False, server_default=''))",
        "op.create_table('a', sa.Column('b', sa.Text(), nullable=False))",
        "op.create_index('i', 'a', ['b'], if_not_exists=True)",
        "op.alter_column('a', 'b', nullable=True)",
        "op.execute('ALTER TABLE work SET (fillfactor = 70)')",
    ],
)
def test_adding_is_allowed(does: str) -> None:
    """What older code does not notice."""
    assert lint.problems(HEAD.format(revision="0002_x", down="0001_first", more="", does=does)) == []


def test_a_contraction_names_a_release() -> None:
    """``contract`` is an earlier revision that exists."""
    chain = migrate._chain(migrate.FOLDER)
    for at, (revision, contract) in enumerate(chain):
        assert contract is None or contract in dict(chain[:at]), revision


def test_the_command_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File and line; the first migration, which makes an empty store, is left out."""
    (tmp_path / "0001_first.py").write_text(HEAD.format(revision="a", down="", more="", does=CONTRACT))
    assert lint.main(tmp_path) == 0
    (tmp_path / "0002_next.py").write_text(HEAD.format(revision="a", down="", more="", does=CONTRACT))
    assert lint.main(tmp_path) == 1
    assert capsys.readouterr().out == "0002_next.py: line 9: drops a table\n"
