"""What every test finds: no network, a clean environment, and a database of each kind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.conformance", "tests.promise", "tests.world")

from app.core.db import Database  # noqa: E402
from app.records.migrate import upgrade  # noqa: E402
from tests import postgres  # noqa: E402

settings.register_profile("tandem", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tandem")

DIALECTS = os.environ.get("TEST_DATABASES", "sqlite postgresql").split()
for _name in [n for n in os.environ if n.startswith("TANDEM_") and n != "TANDEM_SPECS"]:
    del os.environ[_name]


class Network(Exception):
    """A test called out of this machine."""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise Network(f"a test tried to reach {address[0]}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server of this worker's own, with a migrated database to clone from."""
    try:
        with postgres.server() as url:
            with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
                db.execute("CREATE DATABASE template_tandem")
            database = Database(f"{url}/template_tandem", pool=1)
            upgrade(database)
            database.close()
            yield url
    except postgres.Missing as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(problem))


@pytest.fixture(params=[pytest.param(d, marks=pytest.mark.postgres if d == "postgresql" else ()) for d in DIALECTS])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database: SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'tandem.db'}")
        upgrade(made)
        yield made
        made.close()
        return
    url = request.getfixturevalue("postgres_url")
    name = f"t{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
        db.execute(f'CREATE DATABASE "{name}" TEMPLATE template_tandem')
    made = Database(f"{url}/{name}")
    yield made
    made.close()
    with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
        db.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _count() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_numbers = _count()
