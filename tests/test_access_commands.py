"""``tandem user``, ``token`` and ``audit``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from typer.testing import CliRunner, Result

from app.cli import app
from app.core.db import Database
from app.ops.access import passwords
from app.records import accounts
from tests import migrated

PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passwords, "_HASHER", CHEAP)
    monkeypatch.setenv("TANDEM_DATABASE", f"sqlite:///{tmp_path / 'tandem.db'}")
    (tmp_path / "tandem.yml").write_text("connections: []\n", encoding="utf-8")
    migrated.put(tmp_path / "tandem.db")

    def command(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(words), input=stdin)
        assert result.exit_code == code, result.output
        return result

    return command


def test_accounts_from_the_shell(run: object) -> None:
    """Added, listed, given a role and a password, disabled; each by somebody, each in the audit log."""
    assert callable(run)
    run("user", "add", "Ann", "--role", "steward", "--by", "Kim", "--password-stdin", stdin=PASSWORD + "\n")
    run("user", "add", "ann", "--role", "admin", "--by", "Kim", "--password-stdin", code=1, stdin=PASSWORD + "\n")
    run("user", "add", "bo", "--role", "admin", "--by", "Kim", "--password-stdin", code=1, stdin="short\n")
    run("user", "add", "bo", "--role", "king", "--by", "Kim", code=2)
    run("user", "role", "ann", "admin", "--by", "Kim")
    run("user", "password", "ann", "--by", "Kim", stdin=f"{PASSWORD}!\n{PASSWORD}!\n")
    run("user", "password", "ann", "--by", "Kim", code=1, stdin=f"{PASSWORD}!\n{PASSWORD}?\n")
    (found,) = json.loads(run("user", "list", "--json").stdout)
    assert (found["name"], found["role"], found["by"], found["disabled_at"]) == ("ann", "admin", "password", None)
    run("user", "disable", "ann", "--by", "Kim")
    assert json.loads(run("user", "list", "--json").stdout)[0]["disabled_at"] is not None
    run("user", "disable", "ann", "--undo", "--by", "Kim")
    run("user", "disable", "nobody", "--by", "Kim", code=2)
    run("user", "disable", "ann", "--by", " ", code=2)
    log = json.loads(run("audit", "--json").stdout)
    assert [(a["what"], a["who"], a["kind"], a["outcome"]) for a in log] == [
        ("tandem user disable", "Kim", "shell", "failed"),
        ("tandem user disable", "Kim", "shell", "done"),
        ("tandem user disable", "Kim", "shell", "done"),
        ("tandem user password", "Kim", "shell", "failed"),
        ("tandem user password", "Kim", "shell", "done"),
        ("tandem user role", "Kim", "shell", "done"),
        ("tandem user add", "Kim", "shell", "failed"),
        ("tandem user add", "Kim", "shell", "failed"),
        ("tandem user add", "Kim", "shell", "done"),
    ]
    assert PASSWORD not in json.dumps(log)


def test_the_password_is_kept_as_a_hash_and_never_shown(run: object, tmp_path: Path) -> None:
    """argon2id; neither output nor store have the text."""
    assert callable(run)
    done = run("user", "add", "ann", "--role", "viewer", "--by", "Kim", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert PASSWORD not in done.output
    database = Database(f"sqlite:///{tmp_path / 'tandem.db'}")
    with database.read() as db:
        kept = str(accounts.known(db, "ann")["password"])
    database.close()
    assert kept.startswith("$argon2id$")
    assert passwords.fits(kept, PASSWORD)


def test_tokens_from_the_shell(run: object) -> None:
    """The token alone on stdout, once; then only what it is."""
    assert callable(run)
    made = run("token", "new", "prometheus", "--role", "viewer", "--scope", "status", "--by", "Kim")
    secret = made.stdout.strip()
    assert secret.startswith("tandem_")
    assert len(secret) == 50
    run("token", "new", "prometheus", "--role", "viewer", "--by", "Kim", code=1)
    run("token", "new", "greedy", "--role", "viewer", "--scope", "operate", "--by", "Kim", code=1)
    (found,) = json.loads(run("token", "list", "--json").stdout)
    assert (found["name"], found["role"], found["scopes"]) == ("prometheus", "viewer", ["status"])
    assert secret not in run("token", "list").output
    run("token", "revoke", str(found["id"]), "--by", "Kim")
    run("token", "revoke", "99", "--by", "Kim", code=2)
    assert json.loads(run("token", "list", "--json").stdout)[0]["revoked_by"] == "Kim"
    assert secret not in run("audit", "--json").output
