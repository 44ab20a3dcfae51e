"""Alarms reach people: what each sink is told, once, until it is over; to the one host that was named, about nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email import message_from_string
from email.message import Message as Letter
from email.policy import default as modern
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import update

from app.core import tables as t
from app.core._settings_alarms import AlarmsConfig, SinkConfig
from app.core.db import Database
from app.core.errors import ConfigError, NotFound
from app.core.retry import Schedule
from app.ops import sinks
from app.ops.sinks import Mail, Message, Sink, Slack, Unheard, Web
from app.ops.telling import AT_ONCE, Telling
from app.records import alarms, notices
from app.records.alarms import Kind
from app.records.notices import Notice, Says
from app.repair import standing
from app.repair.watch import Watch
from connectors.contract import TryLater
from tests.apihelp import Api, add, add_letters, new_connections, now, rows_of
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]

MINUTE, HOUR = 60_000, 3_600_000
HOOK = SinkConfig(name="ops", kind="webhook", host="hooks.example.com")
SECRET = "whsec_" + base64.b64encode(b"a key of some length").decode()
NOTICE = Notice(("silence", "hub", ""), Says.RAISED, "hub: no webhook for 40 minutes", 1_767_225_600_000)


class Ear(Sink):
    """Hears everything, unless ``deaf``."""

    def __init__(self, name: str = "ear", kinds: tuple[str, ...] = ()) -> None:
        super().__init__(SinkConfig(name=name, kind="webhook", host="ear.example.com", kinds=kinds))
        self.heard: list[Message] = []
        self.tries: list[str] = []
        self.deaf = False

    def send(self, message: Message) -> None:
        self.tries.append(message.id)
        if self.deaf:
            raise Unheard("ear.example.com: POST ***: 500")
        self.heard.append(message)

    def told(self) -> list[tuple[str, str]]:
        """What it was told since the last time: what is said, and of which kind."""
        found = [(str(n.says), n.key[0]) for message in self.heard for n in message.notices]
        self.heard.clear()
        return found


class Telltale:
    """Alarms on a real database, and a station that tells; time moves by hand."""

    def __init__(self, database: Database, *ears: Ear, **options: Any) -> None:
        self.database = database
        options = {"repeat": 4 * HOUR, "settle": 2 * MINUTE, **options}
        schedule = Schedule(random=lambda _a, b: b)
        self.telling = Telling(
            database, ears, "w", lease_ms=60_000, schedule=schedule, where="https://t.example", **options
        )

    def raised(self, kind: Kind, words: str = "look", subject: str = "", connection: str = "hub") -> None:
        with self.database.write() as db:
            alarms.raised(db, kind, connection, subject, words)

    def over(self, kind: Kind) -> None:
        with self.database.write() as db:
            alarms.cleared(db, kind, "hub")

    def later(self, ms: int) -> None:
        """So much time passes: everything that was noted is so much older."""
        a, n = t.alarm.c, t.alarm_notice.c
        with self.database.write() as db:
            db.execute(update(t.alarm).values(cleared_at=a.cleared_at - ms))
            db.execute(update(t.alarm_notice).values(told_at=n.told_at - ms, due_at=n.due_at - ms))

    def step(self) -> int:
        self.telling._next = 0.0
        return self.telling.step()


def test_an_alarm_is_told_once_until_it_is_over(database: Database) -> None:
    """Seen again it is no news; once it is over for a while, that is told, and nothing is kept."""
    ear = Ear()
    world = Telltale(database, ear)
    assert world.step() == 0
    world.raised(Kind.SILENCE, "no webhook")
    assert world.step() == 1
    (message,) = ear.heard
    assert message.title == "Tandem: 1 raised: hub: silence"
    assert ear.told() == [("raised", "silence")]
    for _ in range(3):
        world.raised(Kind.SILENCE, "no webhook for longer")
        assert world.step() == 0
    world.over(Kind.SILENCE)
    assert world.step() == 0, "it may come back"
    world.later(3 * MINUTE)
    assert world.step() == 1
    assert ear.told() == [("over", "silence")]
    assert rows_of(database, t.alarm_notice) == []
    assert world.step() == 0


def test_what_comes_and_goes_is_one(database: Database) -> None:
    """Back within two minutes it is the same alarm: nobody hears that it was over, nor that it is new."""
    ear = Ear()
    world = Telltale(database, ear)
    for _ in range(5):
        world.raised(Kind.FRESHNESS)
        world.step()
        world.over(Kind.FRESHNESS)
        world.later(MINUTE)
        world.step()
    assert ear.told() == [("raised", "freshness")]


def test_what_stays_is_told_again(database: Database) -> None:
    """After four hours, under an id of its own; never where that is off."""
    ear, once = Ear(), Ear("once")
    world = Telltale(database, ear)
    quiet = Telltale(database, once, repeat=None)
    world.raised(Kind.SLA)
    for hours, told in ((0, [("raised", "sla")]), (3, []), (1, [("still", "sla")]), (3, []), (1, [("still", "sla")])):
        world.later(hours * HOUR)
        world.step()
        assert ear.told() == told
    assert len(set(ear.tries)) == len(ear.tries) == 3
    quiet.step()
    quiet.later(100 * HOUR)
    assert quiet.step() == 0
    assert once.told() == [("raised", "sla")]


def test_what_was_not_heard_is_said_again(database: Database) -> None:
    """Under the same id, later and later, for as long as it is so; what was over before is never mentioned."""
    ear = Ear()
    ear.deaf = True
    world = Telltale(database, ear)
    world.raised(Kind.READ)
    assert world.step() == 1
    assert world.step() == 0, "not at once"
    delays = []
    for _ in range(15):
        (row,) = rows_of(database, t.alarm_notice)
        delays.append(row["due_at"] - now(database))
        assert row["told_at"] is None
        world.later(max(0, delays[-1]) + 1)
        assert world.step() == 1
    assert delays[0] < 10_000
    assert 3_500_000 < delays[-1] <= HOUR, "an hour at most, and never given up"
    assert len(set(ear.tries)) == 1
    world.over(Kind.READ)
    ear.deaf = False
    world.step()
    assert ear.told() == []
    assert rows_of(database, t.alarm_notice) == [], "what nobody heard is forgotten"


def test_sinks_are_told_apart(database: Database) -> None:
    """One that is deaf holds up no other; each hears what it asked for; many alarms are few messages."""
    deaf, few, all_ = Ear("deaf"), Ear("few", ("sla",)), Ear("all")
    deaf.deaf = True
    world = Telltale(database, deaf, few, all_)
    world.raised(Kind.SLA)
    for number in range(AT_ONCE + 4):
        world.raised(Kind.FIELD, subject=f"field{number}")
    world.step()
    world.step()
    assert [len(message.notices) for message in all_.heard] == [AT_ONCE, 5]
    assert few.told() == [("raised", "sla")]
    assert deaf.heard == []


def test_one_process_tells(database: Database) -> None:
    """Two that look at the same time say it once; a lease that was lost notes nothing."""
    ear, other = Ear(), Ear()
    first, second = Telltale(database, ear), Telltale(database, other)
    first.raised(Kind.SLA)

    class Slow(Ear):
        def send(self, message: Message) -> None:
            super().send(message)
            assert second.step() == 0

    slow = Slow()
    Telltale(database, slow).step()
    assert slow.told() == [("raised", "sla")]
    assert second.step() == 0
    assert other.heard == []


def test_a_sink_that_is_configured_no_more_is_owed_nothing(database: Database) -> None:
    """Its rows go with the next look, also where no sink is left."""
    world = Telltale(database, Ear("old"))
    world.raised(Kind.SLA)
    world.step()
    Telltale(database, Ear("new")).step()
    assert {row["sink"] for row in rows_of(database, t.alarm_notice)} == {"new"}
    Telltale(database).step()
    assert rows_of(database, t.alarm_notice) == []


# --- what goes out ---------------------------------------------------------------------------------------------------


class Wire:
    """What went out; answers with ``status``."""

    def __init__(self, status: int = 200, said: str = "ok") -> None:
        self.status, self.said = status, said
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        return httpx.Response(self.status, text=self.said)


def web(
    wire: Wire, kind: type[Web] = Web, secret: str | None = None, url: str = "https://hooks.example.com/T1/abcdef"
) -> Web:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return kind(HOOK, url, secret, lambda: moment, httpx.MockTransport(wire))


def test_a_webhook_is_signed(database: Database) -> None:
    """As https://www.standardwebhooks.com has it: id, time and the very bytes."""
    wire = Wire()
    web(wire, secret=SECRET).send(Message("m1", (NOTICE,), "https://t.example"))
    (request,) = wire.requests
    assert (request.method, str(request.url)) == ("POST", "https://hooks.example.com/T1/abcdef")
    said = b"m1.1767225600." + request.content
    proof = base64.b64encode(hmac.new(b"a key of some length", said, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{proof}"
    assert json.loads(request.content) == {
        "type": "alarms",
        "title": "Tandem: 1 raised: hub: silence",
        "installation": "https://t.example",
        "alarms": [
            {
                "status": "raised",
                "kind": "silence",
                "connection": "hub",
                "subject": "",
                "words": "hub: no webhook for 40 minutes",
                "since": "2026-01-01T00:00:00+00:00",
                "over_at": None,
            }
        ],
    }
    unsigned = Wire()
    web(unsigned).send(Message("m1", (NOTICE,)))
    assert "webhook-signature" not in unsigned.requests[0].headers


def test_a_chat_reads_plain_text(database: Database) -> None:
    """What would be markup is escaped; a test says that it is one."""
    wire = Wire()
    odd = Notice(("field", "hub", "a"), Says.STILL, "<!channel> & <@U1>", 0)
    web(wire, Slack).send(Message("m1", (odd, NOTICE), "https://t.example"))
    text = json.loads(wire.requests[0].content)["text"]
    assert text.splitlines() == [
        "*Tandem: 1 raised, 1 still open*",
        "• still open: &lt;!channel&gt; &amp; &lt;@U1&gt;",
        "• raised: hub: no webhook for 40 minutes",
        "https://t.example",
    ]
    web(wire, Slack).send(Message("m2", (), test=True))
    assert json.loads(wire.requests[1].content)["text"] == "*Tandem: this is a test, nothing is wrong*"


def letters_of(*notices_: Notice, kind: str = "webhook") -> str:
    """All that leaves for these, whatever the sink."""
    message = Message("m1", notices_, "https://t.example")
    wire = Wire()
    web(wire).send(message)
    web(wire, Slack).send(message)
    mail = SinkConfig(
        name="m", kind="email", host="localhost", sender="t@example.com", to=("o@example.com",), security="none"
    )
    body = Mail(mail, None).letter(message)
    return body["Subject"] + body.get_content() + "".join(r.content.decode() for r in wire.requests)


def test_nobody_is_named(database: Database) -> None:
    """Whatever wrote an address or a secret into an alarm: it does not leave."""
    person = "ann.example@mail.example.org"
    words = f"hub: {person} at https://x.example/?key=s3cr3t and postgresql://u:pa55word@db/x"
    found = letters_of(Notice(("field", "hub", person), Says.RAISED, words, 0))
    for secret in (person, "ann", "s3cr3t", "pa55word"):
        assert secret not in found
    assert "&lt;address&gt;" in found


def test_no_header_is_added(database: Database) -> None:
    """A subject that holds a line break stays one line."""
    mail = SinkConfig(
        name="m", kind="email", host="localhost", sender="t@example.com", to=("o@example.com",), security="none"
    )
    odd = Notice(("field", "hub", "a\r\nBcc: x@evil.example\r\n\r\nb"), Says.RAISED, "words\r\n.\r\nMAIL FROM:<x>", 0)
    letter = Mail(mail, None).letter(Message("m1", (odd,)))
    assert letter["Bcc"] is None
    assert "\n" not in letter["Subject"]


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500])
def test_why_a_message_was_not_taken_holds_no_secret(status: int) -> None:
    """The path of an incoming webhook is its key; a redirect is not followed."""
    wire = Wire(status, "T1/abcdef is revoked")
    sink = web(wire)
    sink._http._retrying.sleep = lambda _: None
    with pytest.raises(Unheard) as caught:
        sink.send(Message("m1", (NOTICE,)))
    assert str(status) in str(caught.value)
    assert "abcdef" not in str(caught.value) + repr(sink) + str(sink.__dict__["_http"])
    assert {request.url.host for request in wire.requests} == {"hooks.example.com"}


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com.evil.example/x",
        "https://evil.example/x",
        "https://hooks.example.com@evil.example/x",
        "https://user:pw@hooks.example.com/x",
        "http://hooks.example.com/x",
        "ftp://hooks.example.com/x",
        "hooks.example.com/x",
        "https://169.254.169.254/latest",
        "https://[::1/x",
        "",
    ],
)
def test_only_the_host_that_was_named_is_called(url: str) -> None:
    """What else the secret says is refused when it is read, without repeating it."""
    with pytest.raises(ConfigError, match="TANDEM_ALARMS_OPS_URL") as caught:
        web(Wire(), url=url)
    assert "/x" not in str(caught.value).replace("https://", "")
    assert "pw" not in str(caught.value)


BASE: Mapping[str, Any] = {
    "name": "m",
    "kind": "email",
    "host": "mail.example.com",
    "from": "t@example.com",
    "to": "o@example.com",
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"to": []}, "from and to"),
        ({"from": "t@example.com\r\nBcc: x@example.com"}, "plain address"),
        ({"to": ["Kim <o@example.com>"]}, "plain address"),
        ({"security": "none"}, "on this machine"),
        ({"host": "https://mail.example.com"}, "without scheme"),
        ({"host": "mail.example.com/x"}, "without scheme"),
        ({"name": "A"}, "lower-case"),
        ({"kind": "slack"}, "are for e-mail"),
        ({"kind": "pager"}, "webhook"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_sink_that_cannot_be_used_is_refused(change: Mapping[str, Any], why: str) -> None:
    """When the file is read, with what would be valid."""
    SinkConfig.model_validate(BASE)
    with pytest.raises(ValidationError, match=why):
        SinkConfig.model_validate({**BASE, **change})


def test_the_environment_holds_the_secrets() -> None:
    """Each is named where it lacks; an unknown kind of alarm is refused; two of one name are, too."""
    made = sinks.of(AlarmsConfig(sinks=(HOOK,)), {"TANDEM_ALARMS_OPS_URL": "https://hooks.example.com/x"})
    assert [(s.name, s.host) for s in made] == [("ops", "hooks.example.com")]
    with pytest.raises(ConfigError, match="not set: TANDEM_ALARMS_OPS_URL"):
        sinks.of(AlarmsConfig(sinks=(HOOK,)), {"TANDEM_ALARMS_OPS_URL": ""})
    with pytest.raises(ConfigError, match="TANDEM_ALARMS_M_PASSWORD"):
        sinks.of(AlarmsConfig(sinks=(SinkConfig.model_validate({**BASE, "user": "kim"}),)), {})
    with pytest.raises(ConfigError, match=r"no kinds of alarms: fire; valid: .*sla"):
        sinks.of(AlarmsConfig(sinks=(HOOK.model_copy(update={"kinds": ("fire",)}),)), {})
    with pytest.raises(ConfigError, match="rename the sink"):
        sinks.of(AlarmsConfig(sinks=(HOOK,)), {}, ["alarms_ops"])
    with pytest.raises(ValidationError, match="used twice: ops"):
        AlarmsConfig(sinks=(HOOK, HOOK))


class Post(socketserver.StreamRequestHandler):
    """A mail server, as far as a letter needs one."""

    def handle(self) -> None:
        server: Any = self.server
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.split(b" ")[0].strip().upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    text += part
                server.letters.append(text.decode())
            if word == b"RCPT" and server.refuses:
                self.wfile.write(b"550 no such person o@example.com\r\n")
                continue
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@pytest.fixture
def post() -> Iterator[Any]:
    """The server on this machine."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post) as server:
        server.daemon_threads = True
        server.letters, server.refuses = [], False  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_letter_arrives(post: Any) -> None:
    """By SMTP; what the server says of a person is not repeated, nor is a server that is away a crash."""
    port = post.server_address[1]
    config = SinkConfig.model_validate({**BASE, "host": "127.0.0.1", "port": port, "security": "none"})
    sink = Mail(config, None)
    sink.send(Message("m1", (NOTICE,), "https://t.example"))
    letter: Letter = message_from_string(post.letters[0], policy=modern)
    assert letter["Subject"] == "Tandem: 1 raised: hub: silence"
    assert (letter["From"], letter["To"], letter["Auto-Submitted"]) == (
        "t@example.com",
        "o@example.com",
        "auto-generated",
    )
    assert "hub: no webhook for 40 minutes" in letter.get_payload()
    post.refuses = True
    with pytest.raises(Unheard) as caught:
        sink.send(Message("m2", (NOTICE,)))
    assert "o@example.com" not in str(caught.value)
    post.server_close()
    closed = Mail(config.model_copy(update={"port": 1}), None)
    with pytest.raises(Unheard, match=r"127\.0\.0\.1: ConnectionRefusedError"):
        closed.send(Message("m3", (NOTICE,)))


# --- what is wrong is an alarm -------------------------------------------------------------------------------------


def test_what_stands_wrong_reaches_a_person(database: Database) -> None:
    """A connection that rests, a vendor that fails, a brake, a backlog, what was given up, an objection that waits."""
    api = Api(database)
    at = now(database)
    c = t.connection_state.c
    with database.write() as db:
        assert standing.judge(db, api.connections) == []
        db.execute(update(t.connection_state).where(c.name == "hub").values(failing_since=at - HOUR, failure="Ann: no"))
        rests = {"paused": 1, "paused_by": "tandem", "paused_at": at, "paused_why": "Ann's key is refused"}
        db.execute(update(t.connection_state).where(c.name == "chimp").values(**rests))
        db.execute(update(t.connection_state).where(c.name == "deaf").values(**{**rests, "paused_by": "Kim"}))
    add(database, t.work, {"connection": "hub", "contact_id": 1, "lane": 0, "gen": 1, "due_at": 0, "since": at - HOUR})
    add(database, t.work, {"connection": "deaf", "contact_id": 1, "lane": 0, "gen": 1, "due_at": 0, "since": at - HOUR})
    add(database, t.brake, {"connection": "hub", "kind": "creates", "since": at, "why": "w", "seen": 1, "known": 1})
    add_letters(database, {"at": at}, {"at": at}, {"connection": "chimp", "at": at - 48 * HOUR})
    from tests.apihelp import add_events

    for name in ("hub", "chimp"):
        add_events(database, {"connection": name, "status": "pending", "received_at": at - HOUR})
    with database.write() as db:
        new = standing.judge(db, api.connections)
        assert set(new) == {
            ("vendor", "hub"),
            ("rest", "chimp"),
            ("withdrawal", "hub"),
            ("brake", "hub"),
            ("dead", "hub"),
            ("backlog", "hub"),
        }
        assert standing.judge(db, api.connections) == []
        words = " ".join(row["words"] for row in alarms.listed(db))
    assert "Ann" not in words
    assert "2 given up" in words
    assert "tandem resume chimp" in words
    ready = api.get("/health/ready")
    assert not any("given up" in problem for problem in ready["problems"])
    with database.write() as db:
        for table in (t.work, t.brake, t.dead, t.inbox):
            db.execute(table.delete())
        db.execute(update(t.connection_state).values(failing_since=None, paused=0))
        assert standing.judge(db, api.connections) == []
        assert alarms.listed(db) == []


def test_a_lost_token_is_one_alarm_not_two(database: Database) -> None:
    """It says more than that the connection rests; one of a connection that is gone ends."""
    api = Api(database)
    with database.write() as db:
        db.execute(update(t.connection_state).values(paused=1, paused_by="tandem", paused_at=now(database)))
        alarms.raised(db, Kind.ACCESS, "hub", "", "connect again")
        alarms.raised(db, Kind.DRIFT, "former", "", "drift")
        assert set(standing.judge(db, api.connections)) == {("rest", "chimp"), ("rest", "deaf")}
        assert ("drift", "former") not in alarms.counts(db)


def test_the_watch_looks(database: Database) -> None:
    """With the other looks of its round."""
    from app.repair.freshness import Recorder

    connections = new_connections()
    Api(database, connections)
    with database.write() as db:
        db.execute(update(t.connection_state).where(t.connection_state.c.name == "hub").values(failing_since=0))
    Watch(database, connections, Recorder()).step()
    with database.read() as db:
        assert alarms.counts(db)[("vendor", "hub")] == 1


# --- the button ------------------------------------------------------------------------------------------------------


def test_the_button(database: Database) -> None:
    """Every sink is tried, or one; what failed before is due at once where it gets through; nothing counts as told."""
    ear, deaf = Ear("ear"), Ear("deaf")
    world = Telltale(database, ear, deaf)
    deaf.deaf = ear.deaf = True
    world.raised(Kind.SLA)
    world.step()
    ear.deaf = False
    api = Api(database, telling=world.telling)
    listed = api.get("/ops/alarms/sinks")["items"]
    assert [(s["name"], s["failing"], s["knows"]) for s in listed] == [("ear", True, 1), ("deaf", True, 1)]
    assert "500" in listed[0]["why"]
    answer = api.post("/ops/alarms/test", {}, 200)["items"]
    assert [(one["sink"], one["sent"]) for one in answer] == [("ear", True), ("deaf", False)]
    assert ear.heard.pop().test
    assert world.step() == 1
    assert ear.told() == [("raised", "sla")]
    assert [s["failing"] for s in api.get("/ops/alarms/sinks")["items"]] == [False, True]
    assert len(api.post("/ops/alarms/test", {"sink": "ear"}, 200)["items"]) == 1
    assert "there are: ear, deaf" in api.post("/ops/alarms/test", {"sink": "nobody"}, 404)["detail"]
    assert Api(database).post("/ops/alarms/test", {}, 200)["items"] == []
    with pytest.raises(NotFound):
        world.telling.test("nobody")


def test_on_the_command_line(shell: Shell, store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told at first; then a sink that does not answer says so."""
    from pathlib import Path

    assert "told nobody" in shell("alarms", "sinks")
    assert "told nobody" in shell("alarms", "test", code=1)
    file = Path("tandem.yml")
    file.write_text(
        file.read_text()
        + "\nalarms:\n  repeat: 1h\n  sinks:\n    - {name: ops, kind: slack, host: 127.0.0.1, kinds: [sla]}\n"
    )
    shell("alarms", "test", code=2)
    assert "TANDEM_ALARMS_OPS_URL" in shell.told
    monkeypatch.setenv("TANDEM_ALARMS_OPS_URL", "http://127.0.0.1:1/T1/abcdef")
    (sink,) = shell.json("alarms", "sinks")
    assert (sink["name"], sink["kinds"], sink["failing"]) == ("ops", ["sla"], False)
    (tried,) = shell.json("alarms", "test", "--sink", "ops", code=1)
    assert (tried["sent"], "abcdef" in tried["why"]) == (False, False)
    shell("alarms", "test", "--sink", "nobody", code=2)


# --- saboteurs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["forgets", "repeats", "gives up", "says it was over at once"])
def test_a_teller_that_breaks_its_promise_is_caught(
    database: Database, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the guards: each of these fails one of the tests above."""
    plan, failed = notices.plan, notices.failed
    test = {
        "forgets": test_what_stays_is_told_again,
        "repeats": test_an_alarm_is_told_once_until_it_is_over,
        "gives up": test_what_was_not_heard_is_said_again,
        "says it was over at once": test_what_comes_and_goes_is_one,
    }[broken]

    def altered(db: Any, wishes: Any, limit: int) -> Any:
        from dataclasses import replace

        changes = {"forgets": {"repeat": None}, "repeats": {"repeat": 0}, "says it was over at once": {"settle": 0}}
        return plan(db, [replace(wish, **changes[broken]) for wish in wishes], limit)

    if broken == "gives up":
        monkeypatch.setattr(notices, "failed", lambda db, sink, of, _ms, why: failed(db, sink, of, 10**12, why))
    else:
        monkeypatch.setattr(notices, "plan", altered)
    with pytest.raises(AssertionError):
        test(database)


def test_a_client_that_raises_something_else_is_no_crash(database: Database) -> None:
    """What Http raises is all that a sink has to expect."""

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    sink = web(Wire())
    sink._http._client = httpx.Client(transport=httpx.MockTransport(away))
    sink._http._retrying.sleep = lambda _: None
    with pytest.raises(Unheard, match="ConnectError"):
        sink.send(Message("m1", (NOTICE,)))
    assert issubclass(TryLater, Exception)
