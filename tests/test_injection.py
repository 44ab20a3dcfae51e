"""What is said by strangers stays a value: in lines of the log, in headers of answers, in paths."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from starlette.types import ASGIApp

from app import logs
from app.console.pages import console
from tests.apihelp import Api, new_connections, new_database

ACTING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\u200e\u200f\ud800-\udfff]")
BAD = [
    "Ann\nINFO tandem.started",
    'Ann\r\n{"event": "tandem.started"}',
    "\x1b[2J\x1b[31mAnn",
    "\x9b31mAnn",
    "Ann\x07\x08\x00",
    "Ann \u202eeelguM",
    "Ann\u2066\u2069\u200f",
    "Ann\u2028INFO\u2029x\x85y\x0bz\x0c",
    "\ud800Ann",
]


@pytest.fixture(params=[True, False], ids=["json", "console"])
def written(request: pytest.FixtureRequest) -> Iterator[io.TextIOWrapper]:
    """What the log wrote, as the bytes of a real stream."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    logs.set_up("DEBUG", json=request.param, stream=stream)
    yield stream
    logs.set_up("WARNING")


def text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


@pytest.mark.parametrize("bad", BAD)
def test_a_value_is_one_line_of_the_log(bad: str, written: io.TextIOWrapper) -> None:
    """As event, field, name of a field, inside of others, from a library, whatever renders it."""
    # Reports of tests hold what was logged, and cannot be sent from process to process with half a character in them.
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if not type(h).__module__.startswith("_pytest")]
    ours = structlog.get_logger("ours")
    ours.info(bad)
    ours.info("a.b", reason=bad, deep={bad: [bad, {"x": (bad,)}]}, other=ValueError(bad))
    ours.info("a.b", **{bad: 1})
    logging.getLogger("theirs").warning("for %s", bad)
    said = text(written)
    assert len(said.splitlines()) == said.count("\n") == 4
    assert ACTING.search(said) is None
    assert "Ann" in said


def test_a_message_in_a_traceback_begins_no_line(written: io.TextIOWrapper) -> None:
    """A traceback has several lines; none of them looks like another entry."""
    try:
        raise ValueError("first\n2026-01-01T00:00:00Z [info] tandem.forged\x1b[2J")
    except ValueError:
        structlog.get_logger("ours").exception("a.b")
    said = text(written)
    assert "forged" in said
    assert "\x1b" not in said
    assert not any(re.match(r"(2026-01-01T|\{\"event\": \"tandem)", line) for line in said.splitlines())


def test_lines_that_are_not_made_visible_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur: the readable log without the precaution."""
    monkeypatch.setattr(logs, "visible", lambda value: value)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    logs.set_up("DEBUG", stream=stream)
    with pytest.raises(AssertionError):
        test_a_value_is_one_line_of_the_log(BAD[0], stream)
    logs.set_up("WARNING")


# --- headers and paths ------------------------------------------------------------------------------------------------


Headers = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """The API and the pages; nothing here changes anything."""
    made = new_database(tmp_path_factory.mktemp("injection"))
    database = next(made)
    api = Api(database).app
    api.include_router(console(database, new_connections(), demo=False))
    yield api
    made.close()  # type: ignore[attr-defined]


def asked(app: ASGIApp, method: str, path: bytes, query: bytes, **headers: str) -> tuple[int, Headers, bytes]:
    """An answer to a request whose bytes no client library had a hand in."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    lines = [
        (b"host", b"127.0.0.1"),
        *((k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()),
    ]
    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "headers": lines,
        "client": ("127.0.0.1", 50_000),
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "http_version": "1.1",
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(one.get("body", b"") for one in sent[1:])
    return sent[0]["status"], sent[0]["headers"], body


INJECTED = "x\r\nSet-Cookie: a=b\r\n\r\n<script>\x00\x1b[2J"
SPOTS: list[tuple[str, bytes, bytes, dict[str, str]]] = [
    ("POST", b"/ops/connections/x\r\nSet-Cookie: a=b/pause", b"", {}),
    ("GET", b"/connections/x\r\nSet-Cookie: a=b/callback", b"state=x%0d%0aSet-Cookie:%20a=b&code=y%0d%0a", {}),
    ("GET", b"/connections/hub/authorize", b"by=x%0d%0aSet-Cookie:%20a=b", {}),
    ("GET", b"/scorecard/export/x\r\nSet-Cookie: a=b", b"", {}),
    ("GET", b"/ops/runs", b"after=x%0d%0aSet-Cookie:%20a=b", {}),
    ("GET", b"/nowhere\r\nSet-Cookie: a=b", b"", {}),
    ("PUT\r\nSet-Cookie: a=b", b"/ops/runs", b"", {}),
    ("GET", b"/contacts", b"", {"accept": INJECTED, "origin": INJECTED, "x_request_id": INJECTED}),
    ("GET", b"/contacts", b"", {"traceparent": INJECTED, "authorization": f"Bearer {INJECTED}", "cookie": INJECTED}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "query", "headers"), SPOTS)
def test_no_header_of_an_answer_holds_what_was_asked(
    method: str, path: bytes, query: bytes, headers: dict[str, str], app: ASGIApp
) -> None:
    """Neither a line's end nor anything else from the request comes back in a header."""
    status, answered, _ = asked(app, method, path, query, **headers)
    assert status < 500
    for name, value in answered:
        assert re.fullmatch(rb"[\x20-\x7e]*", value), (name, value)
        assert b"set-cookie: a=b" not in value.lower()
        assert b"a=b" not in value or name.lower() != b"set-cookie"


CLIMBS = [
    *(b"/static/../pages.py", b"/static/..%2fpages.py", b"/static/%2e%2e/pages.py", b"/static/....//pages.py"),
    *(b"/static/..\\pages.py", b"/static//etc/passwd", b"/static/%2fetc%2fpasswd", b"/static/console.css%00.py"),
    *(b"/static/console.css/../../pages.py", b"/static/", b"/static/.", b"/static/file:///etc/passwd"),
    *(b"/static/\xc0\xae\xc0\xae/pages.py", b"/static/CONSOLE.CSS", b"/static/console.css.", b"/docs/../etc/passwd"),
    *(b"/../../etc/passwd", b"/openapi.json/../../etc/passwd", b"/static/../../../../../../../../etc/passwd"),
]  # fmt: skip


@pytest.mark.parametrize("path", CLIMBS)
def test_no_path_leads_out_of_what_is_served(path: bytes, app: ASGIApp) -> None:
    """Static files are a fixed list, read at the start; there is no way from a path to a file."""
    for whole in (path, b"/console" + path):
        status, _, body = asked(app, "GET", whole, b"")
        assert status in {401, 404, 405, 422}
        assert b"root:" not in body
        assert b"import" not in body


def test_what_is_served_is_served(app: ASGIApp) -> None:
    """Guards the guard."""
    assert asked(app, "GET", b"/static/console.css", b"")[0] == 200


def test_a_name_in_a_header_is_caught(app: ASGIApp) -> None:
    """A saboteur: an answer that names what was asked for."""

    async def chatty(scope: Any, receive: Any, send: Any) -> None:
        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-asked", scope["path"].encode())]}
            await send(message)

        await app(scope, receive, named)

    with pytest.raises(AssertionError):
        test_no_header_of_an_answer_holds_what_was_asked("GET", b"/nowhere\r\nSet-Cookie: a=b", b"", {}, chatty)


def test_json_lines_stay_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, whatever is in it."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    logs.set_up("DEBUG", json=True, stream=stream)
    for bad in BAD:
        structlog.get_logger("ours").info("a.b", reason=bad)
    logs.set_up("WARNING")
    found = [json.loads(line) for line in text(stream).split("\n")[:-1]]
    assert [one["event"] for one in found] == ["a.b"] * len(BAD)
    assert capsys.readouterr().err == ""
