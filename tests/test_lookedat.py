"""What the tests remember of FastAPI's work changes nothing but the time."""

from __future__ import annotations

import dataclasses
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.dependencies.models import Dependant
from sqlalchemy import literal, select

from app.core import tables as t
from tests import lookedat
from tests.apihelp import Api, add_contacts, new_database


def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were the first API of the process."""
    for name in ("_dependants", "_returns", "_fields"):
        monkeypatch.setattr(lookedat, name, {})


def bound_to_the_first(one: Dependant, call: object) -> Dependant:
    """A memory that keeps whose endpoint it was."""
    return dataclasses.replace(one)


@pytest.mark.parametrize(
    ("copied", "right"),
    [
        pytest.param(lookedat._copied, True, id="as it is"),
        pytest.param(bound_to_the_first, False, id="saboteur: the first test's endpoints"),
    ],
)
def test_an_api_that_is_remembered_is_that_of_its_own_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: Callable[..., Dependant], right: bool
) -> None:
    """The second API has the same description and shows the second database, where nothing was found out anew."""
    forgotten(monkeypatch)
    monkeypatch.setattr(lookedat, "_copied", copied)
    seen, described = [], []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        for database in new_database(folder):
            add_contacts(database, *({} for _ in range(number)))
            api = Api(database)
            seen.append(len(api.get("/contacts")["items"]))
            described.append(api.get("/openapi.json"))
    assert described[0] == described[1]
    assert (seen == [1, 2]) is right


def test_something_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second API asks FastAPI about no signature: a new FastAPI that is asked elsewhere is noticed."""
    asked: list[object] = []
    for database in new_database(tmp_path):
        Api(database)("GET", "/nowhere")
        monkeypatch.setattr(lookedat, "_asked", lambda **how: asked.append(how))
        monkeypatch.setattr(lookedat, "_returned", asked.append)
        Api(database)("GET", "/nowhere")
        assert asked == []


def test_a_statement_is_written_once_for_all_databases_of_a_kind(tmp_path: Path) -> None:
    """The second database finds its text, and has its own rows."""
    found = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        for database in new_database(folder):
            add_contacts(database, *({} for _ in range(number)))
            with database.read() as db:
                found.append(len(db.execute(select(t.contact.c.id, literal("nobody else asks this"))).all()))
            written = [key for key in lookedat._texts if "nobody else asks this" in str(lookedat._texts[key].params)]
            assert len(written) == 1
    assert found == [1, 2]


def test_certificates_are_checked_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared asks for a certificate in the host's name; whoever wants something else is not given that."""
    shared = lookedat._trusted()
    assert shared is lookedat._trusted()
    assert (shared.verify_mode, shared.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert lookedat._trusted(verify=False).verify_mode == ssl.CERT_NONE
    monkeypatch.setenv("SSL_CERT_DIR", "/")
    assert lookedat._trusted() is not shared


def test_what_differs_is_not_remembered() -> None:
    """A default that was made by the test, an annotation that is no text, something that is no function."""

    def made(value: object = time) -> None: ...

    def plain(value: int = 1, *, other: str | None = None) -> None: ...

    said = Callable[[], None]

    def annotated(value): ...  # type: ignore[no-untyped-def]

    annotated.__annotations__["value"] = said
    assert [lookedat._alike(one) for one in (plain, made, annotated, Path)] == [True, False, False, False]
