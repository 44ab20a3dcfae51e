"""Every error is a problem document that helps and gives nothing away; every answer carries the security headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.db import Database
from app.ops.access.permissions import Permission
from app.ops.problems import BODY_LIMIT
from tests.apihelp import Api, new_database, token

PERSON = "annabel@example.org"


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes that tests add have no line in the table of permissions."""
    monkeypatch.setattr("app.ops.auth.needed", lambda *_: Permission.STATUS)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    yield from new_database(tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "says"),
    [
        pytest.param("GET", "/nowhere", {}, 404, "/openapi.json", id="no such path"),
        pytest.param("GET", "/ops/runs/", {}, 404, "/openapi.json", id="no redirect by the Host header"),
        pytest.param("PUT", "/ops/runs", {}, 405, "GET", id="no such method"),
        pytest.param("GET", "/ops/events/7", {}, 404, "no event 7", id="no such event"),
        pytest.param("POST", "/ops/events/7/replay", {}, 404, "no event 7", id="no such event to replay"),
        pytest.param("GET", "/ops/runs/7", {}, 404, "no run 7", id="no such run"),
        pytest.param("GET", "/ops/dead/7", {}, 404, "no dead letter 7", id="no such letter"),
        pytest.param("POST", "/ops/dead/7/retry", {}, 404, "no dead letter 7", id="no such letter to retry"),
        pytest.param("GET", "/contacts/7", {}, 404, "no contact 7", id="no such contact"),
        pytest.param("GET", "/contacts/7/history", {}, 404, "no contact 7", id="no history of nobody"),
        pytest.param("POST", "/ops/connections/x/pause", {}, 404, "hub, chimp, deaf", id="no such connection"),
        pytest.param("POST", "/ops/replay", {"json": {"connection": "x"}}, 404, "hub", id="to replay"),
        pytest.param("POST", "/ops/dead/retry", {"json": {"connection": "x"}}, 404, "hub", id="to retry"),
        pytest.param("GET", "/ops/events", {"params": {"limit": 201}}, 422, "200", id="limit too large"),
        pytest.param("GET", "/ops/events", {"params": {"limit": 0}}, 422, "limit", id="limit too small"),
        pytest.param("GET", "/ops/events", {"params": {"status": "gone"}}, 422, "'pending'", id="no such status"),
        pytest.param("GET", "/ops/events", {"params": {"since": "2026-01-01T00:00:00"}}, 422, "time", id="naive"),
        pytest.param("GET", "/ops/events", {"params": {"after": "x"}}, 422, "cursor", id="no cursor"),
        pytest.param("GET", "/ops/events", {"params": {"conection": "hub"}}, 422, "connection, status", id="misspelt"),
        pytest.param("POST", "/ops/events/1/replay", {"params": {"dry": "1"}}, 422, "none", id="none is known"),
        pytest.param("GET", "/ops/events/x", {}, 422, "integer", id="no number"),
        pytest.param("GET", f"/ops/events/{2**63}", {}, 422, "event_id", id="a number too large for the database"),
        pytest.param("GET", "/ops/events/0", {}, 422, "event_id", id="a number too small"),
        pytest.param("GET", "/contacts", {"params": {"email": "a\0"}}, 422, "email", id="no text for a database"),
        pytest.param("GET", "/ops/dead", {"params": {"code": "a\0"}}, 422, "code", id="no text for a database, code"),
        pytest.param("POST", "/ops/replay", {}, 422, "body", id="no body"),
        pytest.param(
            "POST",
            "/ops/replay",
            {"content": b"{", "headers": {"content-type": "application/json"}},
            422,
            "JSON",
            id="broken JSON",
        ),
        pytest.param("POST", "/ops/replay", {"json": []}, 422, "body", id="no object"),
        pytest.param("POST", "/ops/replay", {"json": {"conection": "hub"}}, 422, "conection", id="misspelt key"),
        pytest.param("POST", "/ops/replay", {"json": {"status": []}}, 422, "status", id="no status at all"),
        pytest.param("POST", "/ops/replay", {"json": {"status": ["pending"]}}, 422, "status.0", id="not replayable"),
        pytest.param(
            "POST",
            "/ops/replay",
            {"json": {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
            422,
            "before until",
            id="backwards",
        ),
        pytest.param("POST", "/ops/connections/hub/pause", {"json": {"reason": "a\0"}}, 422, "reason", id="NUL"),
        pytest.param(
            "POST",
            "/ops/replay",
            {"content": b" " * (BODY_LIMIT + 1), "headers": {"content-type": "application/json"}},
            413,
            str(BODY_LIMIT),
            id="too large",
        ),
    ],
)
def test_an_error_is_a_problem_that_says_what_would_be_right(
    database: Database, method: str, path: str, request_: dict[str, Any], status: int, says: str
) -> None:
    """RFC 9457: media type, status in the body as on the line, a title, and what to do."""
    answer = Api(database)(method, path, **request_)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"]
    assert says in json.dumps({k: problem[k] for k in ("detail", "errors") if k in problem}, ensure_ascii=False)


def test_a_wrong_method_names_the_right_ones(database: Database) -> None:
    """RFC 9110, 15.5.6: 405 carries Allow."""
    api = Api(database)
    assert api("PUT", "/ops/runs").headers["allow"] == "GET"
    assert api("PUT", "/ops/dead/retry").headers["allow"] == "POST"


def test_what_a_caller_sent_is_not_said_back(database: Database) -> None:
    """A refused value may be a person's: neither the answer nor the log repeats it."""
    api = Api(database)
    for answer in (
        api("GET", "/ops/events", params={"status": PERSON, "limit": PERSON}),
        api("GET", "/contacts", params={"updated_since": PERSON}),
        api("GET", "/contacts", params={PERSON: PERSON}),
        api("POST", "/ops/replay", json={"since": PERSON, "status": [PERSON]}),
        api("POST", "/ops/replay", content=PERSON, headers={"content-type": "application/json"}),
    ):
        assert answer.status_code == 422
        assert "annabel" not in answer.text


def with_defect(database: Database, error: Exception) -> Api:
    api = Api(database)

    @api.app.get("/broken")
    def broken() -> None:
        raise error

    return api


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(f"SELECT '{PERSON}'", {"email": PERSON}, psycopg.OperationalError("away")),
        InterfaceError(f"SELECT '{PERSON}'", {"email": PERSON}, psycopg.InterfaceError("closed")),
        PoolTimeout("no free connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_that_is_away_is_a_503(database: Database, error: Exception) -> None:
    """The caller reads that it is worth trying again, and nothing of the statement."""
    answer = with_defect(database, error)("GET", "/broken")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/problem+json"
    assert PERSON not in answer.text


def test_a_database_file_that_went_away(database: Database, tmp_path: Path) -> None:
    """The same, for real: a store without its tables."""
    api = Api(database)
    if database.dialect != "sqlite":
        pytest.skip("takes a file away")
    with database.write() as db:
        db.exec_driver_sql("DROP TABLE run")
    assert api("GET", "/ops/runs").status_code == 503


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"cannot handle {PERSON}"),
        IntegrityError(f"INSERT '{PERSON}'", {}, ValueError(PERSON)),
        ExceptionGroup(PERSON, [KeyError(PERSON)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_defect_is_answered_with_an_id_that_the_log_has(
    database: Database, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing of the exception's message goes out or into the log; its type and place do."""
    answer = with_defect(database, error)("GET", "/broken")
    logged = "".join(capfd.readouterr())
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    number = answer.json()["instance"].removeprefix("urn:uuid:")
    assert number in logged
    assert type(error).__name__ in logged
    assert "test_api_problems.py" in logged
    assert PERSON not in logged + answer.text


def test_a_defect_behind_the_first_bytes_breaks_the_line(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    """Half an answer cannot be taken back; the caller sees that it is not whole, and the log has no message."""
    api = Api(database)

    @api.app.get("/half")
    def half() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"one"
            raise ValueError(PERSON)

        return StreamingResponse(parts())

    with pytest.raises(RuntimeError, match="cut short") as caught:
        api("GET", "/half")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert PERSON not in "".join(capfd.readouterr())


@pytest.mark.parametrize("path", ["/health/live", "/ops/connections", "/contacts", "/nowhere", "/broken", "/metrics"])
@pytest.mark.parametrize("secret", [None, "a-token-of-some-length"], ids=["answered", "refused"])
def test_every_answer_is_shielded(database: Database, path: str, secret: str | None) -> None:
    """No store, no sniffing, no frame: on good answers, on errors and on refusals."""
    api = Api(database, token=token(secret) if secret is not None else None)

    @api.app.get("/broken")
    def broken() -> None:
        raise ValueError

    headers = api("GET", path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_page_may_say_its_own_headers(database: Database) -> None:
    """The shield adds what is missing and replaces nothing."""
    api = Api(database)

    @api.app.get("/page")
    def page() -> StreamingResponse:
        return StreamingResponse(iter([b""]), headers={"Content-Security-Policy": "default-src 'self'"})

    assert api("GET", "/page").headers["content-security-policy"] == "default-src 'self'"
