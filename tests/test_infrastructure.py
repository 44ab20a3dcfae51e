"""What the tests themselves stand on: no network, no settings of whoever runs them, a server of their own."""

from __future__ import annotations

import logging
import os
import socket
import stat
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text

from app import logs
from app.core.db import Database
from app.core.settings import Settings
from tests import postgres
from tests.conftest import Network


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("call", ["connect", "connect_ex"])
def test_nobody_outside_is_reached(address: tuple[str, int], call: str) -> None:
    """A test that calls out fails, before anything is sent."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as ours, pytest.raises(Network):
        getattr(ours, call)(address)


def test_no_name_is_looked_up() -> None:
    """A question to a name server is a call as well."""
    with pytest.raises(Network):
        socket.getaddrinfo("vendor.example", 443)


def test_this_machine_is_reached() -> None:
    """Simulators, PostgreSQL and the service itself answer on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]) as ours:
        assert ours.getpeername() == server.getsockname()


def test_settings_of_the_person_who_tests_are_gone() -> None:
    """A token or a database of their own Tandem changes no test."""
    assert [
        n for n in os.environ if n.startswith("TANDEM_") and not n.startswith(("TANDEM_TEST_", "TANDEM_SPECS"))
    ] == []
    assert Settings(_env_file=None).database == "sqlite:///tandem.db"


@pytest.mark.parametrize("turn", [1, 2])
def test_logging_is_as_it_was(turn: int) -> None:
    """Whoever set it up, the next test finds it untouched."""
    assert not structlog.is_configured()
    before = logging.getLogger().handlers[:]
    logs.set_up("DEBUG", json=True)
    assert structlog.is_configured()
    assert logging.getLogger().handlers != before


def test_the_server_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is named, then the one on the path, then the usual folders, then the wheel."""

    def put(name: str, *programs: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for program in ("initdb", "postgres", *programs):
            (folder / program).touch(0o755)
        return folder

    named, pathed = put("named"), put("pathed", "pg_ctl")
    (tmp_path / "half").mkdir()
    monkeypatch.setenv("PATH", str(pathed))
    assert postgres.binaries() == pathed
    monkeypatch.setenv("TANDEM_TEST_PG_BIN", str(named))
    assert postgres.binaries() == named
    monkeypatch.setenv("TANDEM_TEST_PG_BIN", str(tmp_path / "half"))  # no programs there
    assert postgres.binaries() == pathed


def test_without_a_server_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be done about it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter(()))
    with pytest.raises(postgres.Missing, match="TANDEM_TEST_PG_BIN"):
        postgres.binaries()


def test_a_closed_installation_is_copied_whole(tmp_path: Path) -> None:
    """The server's user may not enter root's home; a wheel's libraries come along."""
    programs = tmp_path / "closed/package/install/bin"
    programs.mkdir(parents=True)
    (programs / "initdb").touch()
    (tmp_path / "closed/package.libs").mkdir()
    (tmp_path / "closed/package.libs/libpq.so").touch()
    (tmp_path / "closed").chmod(stat.S_IRWXU)
    assert not postgres._open_to_all(programs)
    copy = postgres._copied(programs, tmp_path / "copy")
    assert (copy / "initdb").exists()
    assert (copy.parents[2] / "package.libs/libpq.so").exists()


def test_a_database_is_empty_and_up_to_date(database: Database) -> None:
    """Every test finds its own."""
    with database.write() as db:
        assert db.execute(text("SELECT count(*) FROM contact")).scalar() == 0
        db.execute(text("INSERT INTO lease (name, token, until) VALUES ('mine', 't', 1)"))


@pytest.mark.parametrize("turn", [1, 2])
def test_nothing_is_left_of_the_test_before(database: Database, turn: int) -> None:
    """What one test writes the next does not see."""
    with database.write() as db:
        assert db.execute(text("SELECT count(*) FROM lease")).scalar() == 0
        db.execute(text("INSERT INTO lease (name, token, until) VALUES ('mine', 't', 1)"))
