"""`tandem backup` and `tandem restore`, as people and programs use them."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from app.core import leases
from app.core import tables as t
from app.core.db import Database
from app.records import migrate
from app.records.state import behind
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]
NAMES = ["hubspot", "mailchimp"]


def add_contact(database: Database) -> None:
    with database.write() as db:
        db.execute(insert(t.contact).values(version=1, facts={}, created_at=1, updated_at=1))


def contacts(database: Database) -> int:
    with database.read() as db:
        return len(db.execute(select(t.contact.c.id)).all())


def test_there_and_back(shell: Shell, store: Database) -> None:
    """Copied, looked at, put back: what was added in between is gone, and every connection is read first."""
    add_contact(store)
    made = shell.json("backup", "monday.db")
    assert (made["contacts"], made["version"], made["newest_event"]) == (1, migrate.head(), None)
    assert shell.json("backup", "monday.db", "--check") == made
    assert "1 contacts" in shell("backup", "monday.db", "--check")
    add_contact(store)
    store.close()
    assert shell.json("restore", "monday.db", "--dry-run")["dry_run"] is True
    assert contacts(store) == 2, "a dry run changes nothing"
    store.close()
    assert shell.json("restore", "monday.db")["contacts"] == 1
    assert "nothing is written to a vendor until every connection was read" in shell.told
    assert contacts(store) == 1
    with store.read() as db:
        assert behind(db, NAMES) == (NAMES, True)


def test_restored_by_other_means(shell: Shell, store: Database) -> None:
    """``--done`` marks the store; with ``--dry-run`` it only looks."""
    assert shell.json("restore", "--done", "--dry-run") == {"dry_run": True, "done": False}
    with store.read() as db:
        assert behind(db, NAMES) == ([], False)
    assert shell.json("restore", "--done") == {"dry_run": False, "done": True}
    with store.read() as db:
        assert behind(db, NAMES) == (NAMES, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backup", "tandem.db"], "is there already"),
        (["backup", "--check", "nowhere.db"], "nowhere.db: is not there"),
        (["backup", "--check", "tandem.yml"], "tandem.yml: is no backup of Tandem"),
        (["restore"], "say which file"),
        (["restore", "nowhere.db", "--done"], "say which file"),
        (["restore", "nowhere.db"], "nowhere.db: is not there"),
    ],
)
def test_what_cannot_be_done_is_said(shell: Shell, store: Database, words: list[str], told: str) -> None:
    """With exit code 2, and nothing changed."""
    shell(*words, code=2)
    assert told in shell.told


def test_a_running_process_is_named(shell: Shell, store: Database) -> None:
    """Before anything happens, in a dry run too."""
    shell("backup", "monday.db")
    with store.write() as db:
        leases.register(db, "somebody")
    for words in (["monday.db"], ["monday.db", "--dry-run"], ["--done"]):
        shell("restore", *words, code=2)
        assert "works on this database: stop it first" in shell.told


def test_migrate_says_what_waits(shell: Shell, store: Database) -> None:
    """As JSON, too."""
    assert shell.json("migrate") == {"before": migrate.head(), "after": migrate.head(), "changed": False, "waiting": []}
    assert "already at" in shell("migrate", "--contract")
