"""The log names nobody: a journey at level DEBUG, with everything that goes wrong on it, and every line searched.

The vendors are the simulators, whose errors quote addresses as the real ones do; the door, the API and the stations are
put together as in a service.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import structlog
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from app import logs
from app.core import tables as t
from app.core.settings import Config, Settings
from app.main import Tandem
from app.repair import erasing
from app.sync import chain
from connectors.contract import NeedsHuman
from sandbox.serve import Sandbox
from tests import sandboxed
from tests.test_erasure_sandbox import settle

running, sandbox, hs, mc, members = (
    sandboxed.running,
    sandboxed.sandbox,
    sandboxed.hs,
    sandboxed.mc,
    sandboxed.members,
)

ANN = "annegret.lindqvist@mail.example.org"
FAKE = "bartholomew@fake.com"  # Mailchimp refuses it, and quotes it
PERSON = {"firstname": "Annegret", "lastname": "Lindqvist", "phone": "+49 30 90182000", "city": "Wolkenkuckucksheim"}
SECRETS = {
    "TANDEM_HUBSPOT_CLIENT_SECRET": "client-secret-of-hubspot",
    "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret-of-mailchimp",
    "TANDEM_ALARMS_OPS_URL": "http://127.0.0.1:1/T123/path-secret-of-a-hook",
}


def unsaid(sandbox: Sandbox) -> list[str]:
    """What must be in no line, in any spelling."""
    people = [ANN, FAKE, "annegret", "lindqvist", "bartholomew", "wolkenkuckucksheim", "9018200", "90182000"]
    people += [sandboxed.md5(ANN), sandboxed.md5(FAKE), quote(ANN, safe="")]
    keys = [
        sandbox.hubspot.token,
        sandbox.mailchimp.key,
        "path-secret-of-a-hook",
        *SECRETS.values(),
        "a-guessed-secret",
    ]
    return people + [key for key in keys if not key.startswith("http")]


def found(text_: str, words: list[str]) -> list[str]:
    """Those of the words that a log holds."""
    flat = re.sub(r"[\s()./-]", "", text_).lower()
    return [word for word in words if word.lower() in text_.lower() or re.sub(r"[\s()./-]", "", word).lower() in flat]


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    logs.set_up("DEBUG", json=True, stream=stream)
    return stream


@pytest.fixture
def tandem(sandbox: Sandbox, log: io.StringIO, tmp_path: Path) -> Iterator[Tandem]:
    """Everything, live at both, stepped by hand; the door's writer runs."""
    hub = {"name": "hubspot", "connector": "hubspot", "mode": "live", "settings": {"base_url": sandbox.hubspot_url}}
    list_ = {"base_url": sandbox.mailchimp_url, "list_id": sandbox.mailchimp.audience.id}
    chimp = {"name": "mailchimp", "connector": "mailchimp", "mode": "live", "settings": list_}
    sinks = {"sinks": [{"name": "ops", "kind": "slack", "host": "127.0.0.1"}]}
    config = Config.model_validate({"connections": [hub, chimp], "alarms": sinks})
    keys = {"TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token, "TANDEM_MAILCHIMP_API_KEY": sandbox.mailchimp.key}
    made = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, {**SECRETS, **keys})
    made.prepare()
    made.writer.start()
    yield made
    made.writer.stop()
    made.close()


def knock(tandem: Tandem, *requests: tuple[str, str, dict[str, Any]]) -> list[int]:
    """Requests to door and API; their statuses."""

    async def send() -> list[int]:
        transport = httpx.ASGITransport(tandem.app(workers=False), client=("127.0.0.1", 5), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            return [(await http.request(method, path, **more)).status_code for method, path, more in requests]

    return asyncio.run(send())


def test_a_journey_names_nobody(
    tandem: Tandem,
    sandbox: Sandbox,
    log: io.StringIO,
    hs: httpx.Client,
    mc: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is read, written, refused, pushed at the door, asked of the API, decided, broken and erased."""
    sandboxed.create(hs, email=ANN, **PERSON)
    sandboxed.create(hs, email=FAKE, firstname="Bartholomew")
    settle(tandem)
    with tandem.database.read() as db:
        (why,) = db.execute(text("SELECT code FROM dead")).scalars()
        contact = db.execute(text("SELECT min(id) FROM contact")).scalar_one()
    assert why, "Mailchimp quoted the address that it refused"

    # The door: a guessed secret, no signature, what cannot be read, and too much.
    body = json.dumps([{"email": ANN, "objectId": 1}])
    hook = SECRETS["TANDEM_MAILCHIMP_WEBHOOK_SECRET"]
    assert knock(
        tandem,
        ("POST", "/webhooks/hubspot", {"content": body, "headers": {"x-hubspot-signature-v3": "a-guessed-secret"}}),
        ("POST", f"/webhooks/mailchimp?secret=a-guessed-secret&email={ANN}", {"content": f"data[email]={ANN}"}),
        (
            "POST",
            f"/webhooks/mailchimp?secret={hook}",
            {"content": f"{ANN} \xff", "headers": {"content-type": "text/x"}},
        ),
        ("POST", f"/webhooks/{ANN}", {"content": body}),
    ) == [401, 401, 400, 404]

    # The API: what is looked for, what cannot be read, what a named operator decides, and a defect.
    consent = {"channel": "email", "status": "withdrawn", "by": "Kim", "evidence": f"by mail from {ANN}"}

    def defect(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{ANN} {PERSON['firstname']}")

    answers = knock(
        tandem,
        ("GET", f"/contacts?key=email:{quote(ANN)}", {}),
        ("GET", f"/contacts/{ANN}", {}),
        ("GET", f"/contacts/{contact}", {}),
        ("POST", f"/contacts/{contact}/consent", {"json": consent}),
        ("POST", "/erasures", {"content": f"{{{ANN}"}),
        ("POST", "/ops/alarms/test", {"json": {}}),
    )
    assert set(answers) <= {200, 202, 400, 404, 422}
    with monkeypatch.context() as patch:
        patch.setattr(type(tandem.database), "read", defect)
        assert knock(tandem, ("GET", f"/contacts/{contact}", {})) == [500]

    # A defect while a batch is read, and the database's own words, which hold the values.
    with monkeypatch.context() as patch:
        absorb = chain.absorb
        patch.setattr(chain, "absorb", lambda *given: defect() if given[3] else absorb(*given))
        hs.patch(
            f"{sandboxed.CONTACTS}/{sandboxed.create(hs, email='x@mail.example.org', **PERSON)}",
            json={"properties": {}},
        )
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(poll_due_at=0, next_at=0))
        tandem.poll.step()
        tandem.fetch.step()

    def broken() -> int:
        tandem.workers._stop.set()
        raise IntegrityError("INSERT INTO contact", {"email": ANN, "name": PERSON["lastname"]}, RuntimeError(ANN))

    tandem.workers._run("fetch", broken)
    tandem.workers._stop.clear()

    # A vendor that takes our key no more, in words of its own.
    def locked(*_: Any, **__: Any) -> Any:
        raise NeedsHuman(f"the user {ANN} is locked")

    with monkeypatch.context() as patch:
        patch.setattr(tandem.connections["hubspot"].connector, "changed", locked)
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(poll_due_at=0, next_at=0))
        for _ in range(3):
            tandem.poll.step()
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(paused=0, paused_by=None))
    tandem.watch.step()
    tandem.telling.step()
    tandem.database.transact(lambda db: erasing.start(db, tandem.connections, ANN, "Kim"))
    settle(tandem)
    tandem.prune.step()

    said = log.getvalue()
    lines = [json.loads(line) for line in said.splitlines()]
    events = {line["event"] for line in lines}
    wanted = {"delivery.untrusted", "delivery.unreadable", "worker.step_failed", "sync.batch_failed", "api.failed"}
    assert wanted | {"alarms.not_heard", "alarms.tested", "operator.consent", "erase.done"} <= events, events
    assert all(line["level"] and line["timestamp"] for line in lines)
    assert found(said, unsaid(sandbox)) == []


@pytest.mark.parametrize("word", [ANN, "Annegret", "+49 (30) 901 820-00", "hook-secret-of-mailchimp"])
def test_who_is_named_is_found(word: str, sandbox: Sandbox) -> None:
    """Guards the guard, also for a phone number that is written otherwise."""
    assert found(json.dumps({"event": "x", "reason": f"about {word}."}), unsaid(sandbox))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reason", f"no such user {ANN}"),
        ("url", "https://api.example/x?apikey=s3cr3t"),
        ("database", "postgresql://tandem:s3cr3t@db/x"),
        ("password", "s3cr3t"),
        ("body", b"s3cr3t"),
        ("error", ValueError(ANN)),
        ("several", [ANN, {"token": "s3cr3t"}]),
    ],
)
def test_what_somebody_writes_is_cleaned(name: str, value: Any) -> None:
    """Whoever logs it, a library included: addresses, secrets in URLs, fields with telling names."""
    stream = io.StringIO()
    logs.set_up("DEBUG", json=True, stream=stream)
    structlog.get_logger("x").info("happened", **{name: value})
    import logging

    logging.getLogger("somebody.else").warning("about %s", value if name in {"reason", "url", "database"} else ANN)
    written = stream.getvalue()
    assert ANN not in written
    assert "s3cr3t" not in written


def test_no_library_tells_what_it_does_at_debug(log: io.StringIO, tandem: Tandem) -> None:
    """Statements with their values, requests with their headers: their own loggers stay quiet at our DEBUG."""
    import logging

    for name in ("sqlalchemy.engine.Engine", "sqlalchemy.pool", "httpx", "httpcore.http11", "alembic", "asyncio"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO), name
