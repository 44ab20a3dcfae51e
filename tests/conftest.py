"""What every test finds: no network, a clean environment, and a database of each kind."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg
import pytest
import structlog
from hypothesis import settings

pytest.register_assert_rewrite("tests.conformance", "tests.promise", "tests.world")

from app import logs  # noqa: E402
from app.core.db import Database  # noqa: E402
from app.records.migrate import upgrade  # noqa: E402
from tests import emptied, lookedat, migrated, postgres, unsynced  # noqa: E402

# The same examples each time where it is to be said whether a change is good; elsewhere new ones are looked for.
SAME = bool(os.environ.get("CI")) or os.environ.get("TANDEM_TEST_DRAWS") == "same"
settings.register_profile("tandem", deadline=None, derandomize=SAME)
settings.load_profile("tandem")
lookedat.begin()
unsynced.begin()

# What whoever runs the tests has set for a Tandem of their own is no business of the tests.
_OURS = ("TANDEM_TEST_", "TANDEM_SPECS", "TANDEM_DATA")
for _name in [n for n in os.environ if n.startswith("TANDEM_") and not n.startswith(_OURS)]:
    del os.environ[_name]
DIALECTS = os.environ.get("TANDEM_TEST_DATABASES", "sqlite postgresql").replace(",", " ").split()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is heavy is slow with PostgreSQL: the way through the engine is run there by others, too.

    Of the API's tests one in three runs there, always the same ones: it is thin over functions with tests of their own.
    What is given more time than usual comes first: begun last, it would leave the other cores idle.
    """
    for item in items:
        if "postgresql" not in item.name:
            continue
        thin = item.path.name.startswith("test_api_") and crc32(item.nodeid.encode()) % 3
        if thin or item.get_closest_marker("heavy") is not None:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


class Network(Exception):
    """A test called out of this machine."""


def _at_home(host: Any) -> bool:
    if host in {None, "", "localhost"}:
        return True
    try:
        address = ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches beyond this machine, not even to resolve a name."""
    for owner, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, _guarded(getattr(owner, name)))


def _guarded(real: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(first: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(first, socket.socket):
            if first.family in {socket.AF_INET, socket.AF_INET6} and not _at_home(rest[0][0]):
                raise Network(f"a test tried to reach {rest[0][0]}")
        elif not _at_home(first):
            raise Network(f"a test tried to resolve {first}")
        return real(first, *rest, **options)

    return guarded


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that sets up logging leaves nothing of it to the next."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs._QUIET}
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server of this worker's own, with a migrated database to clone from."""
    try:
        with postgres.server() as url:
            with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
                db.execute(f"CREATE DATABASE {emptied.TEMPLATE}")
            database = Database(f"{url}/{emptied.TEMPLATE}", pool=1)
            upgrade(database)
            database.close()
            yield url
    except postgres.Missing as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(problem))


@pytest.fixture(params=[pytest.param(d, marks=pytest.mark.postgres if d == "postgresql" else ()) for d in DIALECTS])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty, migrated database: SQLite and PostgreSQL in turn."""
    with fresh(request.param, request) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_shape(postgres_url: str) -> str:
    """What the migration makes of a database."""
    with psycopg.connect(f"{postgres_url}/{emptied.TEMPLATE}", autocommit=True) as db:
        return emptied.shape_of(db)


@contextmanager
def fresh(dialect: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty, migrated database of one kind."""
    if dialect == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        file = folder / "tandem.db"
        file = file if not file.exists() else folder / f"tandem{next(_numbers)}.db"
        made = migrated.new(file)
        try:
            yield made
        finally:
            made.close()
        return
    url = request.getfixturevalue("postgres_url")
    shape = request.getfixturevalue("postgres_shape")
    name = emptied.take(url)
    made = Database(f"{url}/{name}")
    try:
        yield made
    finally:
        made.close()
        emptied.give(url, name, shape)


def _count() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_numbers = _count()
