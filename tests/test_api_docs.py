"""docs/api.md and the OpenAPI document say the same, and both say what the API does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from pydantic import SecretStr
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.words import Writes
from app.ops import paging, shapes
from app.ops.problems import BODY_LIMIT, Problem
from app.push import brake
from app.records import suspended, tombstones
from app.repair import erasing, runs
from app.repair.connecting import Connecting
from connectors.contract import Can
from tests.agreed import put_in_force
from tests.apihelp import Api, Reader, add, add_contacts, add_events, add_letters, new_database
from tests.authority import PUBLIC, Acme

DOC = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^`(GET|POST) (/[^`]*)`:", DOC, re.MULTILINE)
CURLS = [
    line.replace("\\\n", " ")
    for block in re.findall(r"```console\n(.*?)```", DOC, re.DOTALL)
    for line in re.findall(r"^curl .*?[^\\]$", block, re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    yield from new_database(tmp_path)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The description of the API; nobody changes it."""
    for database in new_database(tmp_path_factory.mktemp("document")):
        yield Api(database).get("/openapi.json")


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, found in document["paths"].items()
        for method, operation in found.items()
    }


def test_every_endpoint_is_documented_and_exists(document: dict[str, Any]) -> None:
    """Neither says more than the other; an empty search must not pass."""
    assert len(DOCUMENTED) == len(set(DOCUMENTED)) > 15
    assert set(DOCUMENTED) == set(operations(document))


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    """By software that this project did not write."""
    validate(document)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """What it does, what it answers, what each of its parameters means."""
    for (method, path), operation in operations(document).items():
        assert operation["description"].strip(), path
        assert operation["tags"], path
        good = [s for s in operation["responses"] if s < "300"]
        assert len(good) == 1, path
        assert "content" in operation["responses"][good[0]], path
        assert ("security" in operation) == (not path.startswith("/health/")), path
        for parameter in operation.get("parameters", []):
            assert parameter["description"], f"{method} {path} {parameter['name']}"


@pytest.mark.parametrize(("secret", "needed"), [(None, False), (SecretStr("a-token-of-some-length"), True)])
def test_the_description_says_whether_a_token_is_needed(
    database: Database, secret: SecretStr | None, needed: bool
) -> None:
    """As it is configured; the document itself asks, too."""
    headers = {"authorization": f"Bearer {secret.get_secret_value()}"} if secret is not None else {}
    found = operations(Api(database, token=secret)("GET", "/openapi.json", headers=headers).json())
    asked = [o["security"] for o in found.values() if "security" in o]
    assert asked
    assert all(one == ([{"token": []}] if needed else [{"token": []}, {}]) for one in asked)


def test_every_error_is_described_as_a_problem(document: dict[str, Any]) -> None:
    """Media type and schema; and the schema is the one of the code."""
    seen = 0
    for (_, path), operation in operations(document).items():
        for status, answer in operation["responses"].items():
            if status < "400" or path == "/health/ready":
                continue
            seen += 1
            assert list(answer["content"]) == ["application/problem+json"], f"{path} {status}"
            assert answer["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    assert seen > 50
    assert set(document["components"]["schemas"]["Problem"]["properties"]) == set(Problem.model_fields)
    assert "HTTPValidationError" not in json.dumps(document)


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    """An example of the wrong type misleads; an empty search must not pass."""
    types = {"string": str, "integer": int, "boolean": bool, "number": (int, float), "array": list, "object": dict}
    seen = 0
    for schema in document["components"]["schemas"].values():
        for name, about in schema.get("properties", {}).items():
            kinds = [about.get("type"), *(one.get("type") for one in about.get("anyOf", []))]
            for example in about.get("examples", []):
                seen += 1
                assert any(isinstance(example, types[kind]) for kind in kinds if kind in types), name
    assert seen > 40


def test_every_endpoint_has_a_curl_line() -> None:
    """To be copied."""
    assert len(CURLS) > 20
    asked = {curl_of(line)[:2] for line in CURLS}
    for method, path in DOCUMENTED:
        pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
        assert any(m == method and pattern.fullmatch(p.partition("?")[0]) for m, p in asked), path


def curl_of(line: str) -> tuple[str, str, str | None]:
    """Method, path and body of a curl line."""
    path = re.search(r"\$TANDEM(/[^\s\"]*)", line)
    assert path is not None, line
    body = re.search(r"-d '([^']*)'", line)
    return "POST" if "-X POST" in line else "GET", path[1], body[1] if body is not None else None


def add_merges(database: Database, winner: int) -> None:
    """Three merges into one contact, as far as a split needs them."""
    usual = {"winner": winner, "by": "hub", "before": {}, "links": [], "at": 1_000}
    add(database, t.merge, *({**usual, "loser": n} for n in (1, 2, 3)))
    with database.write() as db:
        db.execute(t.contact.update().where(t.contact.c.id.in_([1, 2, 3])).values(merged_into=winner))


def add_proposals(database: Database, contact: int) -> None:
    """Three proposals about a contact; the third can be decided."""
    row = {"older": contact, "score": 1.0, "reasons": [], "source": "record", "status": "open", "at": 1_000}
    add(database, t.proposal, *({**row, "newer": newer} for newer in (40, 41, 58)))


def stocked(database: Database) -> Api:
    """Something of everything that the lines name."""
    api = Api(database, connecting=Connecting(database, {"hub": Acme(database).access}, public_url=PUBLIC))
    add_events(database, *({"status": "dead"} for _ in range(7)))
    add_letters(database, *({} for _ in range(4)))
    add_contacts(database, *({} for _ in range(41)), {"values": {"email": "ann@example.org"}})
    add_merges(database, 42)
    add_contacts(database, {"id": 57}, {"id": 58, "values": {"city": "Bonn"}})
    add_proposals(database, 42)
    stamps = {"created_at": 1_000, "updated_at": 1_000, "version": 1, "facts": {}}
    add(database, t.company, {"id": 7, **stamps})
    add(database, t.deal, {"id": 9, "status": "open", **stamps})
    put_in_force(database, api.connections, 42)
    for _ in range(3):
        api.replay.start()
    conflict = {"contact_id": 42, "field": "city", "connection": "chimp", "ours": None, "theirs": "Bonn", "at": 1_000}
    add(database, t.conflict, conflict)
    add(database, t.ruling, {"connection": "chimp", "field": "job_title", "choice": "ours", "by": "Kim", "at": 1_000})
    run = {"id": 7, "kind": runs.KIND, "params": asdict(runs.Plan("chimp")), "status": "running", "started_at": 1}
    add(database, t.run, run)
    with database.write() as db:
        db.execute(update(t.connection_state).values(walked_at=1))
        suspended.suspend(db, "hub", {"jobtitle": "gone"})
    with database.write() as db:
        erasing.start(db, api.connections, "somebody@example.org", "Kim")
        for n in range(7):
            tombstones.bury(db, reason="deleted", actor="hub", now=n, key_hash=None, connection="hub", remote_id=str(n))
        brake.put_on(db, "chimp", [brake.Stop(kind, 9, 9, "too many") for kind in (Writes.CREATES, Writes.DELETES)])
    return api


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """For all lines that only look."""
    for database in new_database(tmp_path_factory.mktemp("curl")):
        yield stocked(database)


@pytest.mark.parametrize("line", CURLS, ids=lambda line: " ".join(curl_of(line)[:2]))
def test_the_curl_lines_are_answered(
    request: pytest.FixtureRequest, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what they say, but for the names of the connections here."""
    monkeypatch.setattr(Reader, "can", Reader.can | {Can.CHANGED})
    method, path, body = curl_of(line.replace("hubspot", "hub").replace("mailchimp", "chimp"))
    looks = method == "GET"
    api = request.getfixturevalue("shelf") if looks else stocked(request.getfixturevalue("database"))
    headers = {"content-type": "application/json"} if body is not None else {}
    if path.startswith("/briefs/"):
        for _ in range(3):
            api.post("/brief", {"by": "Kim"}, 200)
    if path.startswith("/tokens/"):
        api.post("/tokens", {"by": "Kim", "name": "n8n", "role": "viewer"}, 201)
    if path.endswith("/resume") and path.startswith("/sla/"):
        api.post("/sla/42/pause", {"by": "Kim", "reason": "asked to wait"}, 200)
    answer = api(method, path, content=body, headers=headers)
    # No migration has been applied to this database where it was made from the tables alone.
    assert answer.status_code in ({200, 503} if path == "/health/ready" else {200, 201, 202}), answer.text


def test_figures_in_the_text_are_those_of_the_code() -> None:
    """Bounds and limits."""
    assert f"more than {paging.MOST:,} rows" in DOC
    assert f"Counts stop\nat {shapes.COUNTED:,}" in DOC
    assert f"larger than {BODY_LIMIT // 1024} KiB" in DOC
    for status in re.findall(r"^\| (\d{3}) \|", DOC, re.MULTILINE):
        assert HTTPStatus(int(status))
