"""Where alarms are told: a webhook, a chat that takes Slack's incoming webhooks, a mailbox.

In: messages about alarms, which hold connections, fields and words of ours, never a person.  Out: they got through, or
``Unheard`` says why.  Each sink calls the one host that ``tandem.yml`` names for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import smtplib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from app import logs
from app.core._settings_alarms import AlarmsConfig, SinkConfig
from app.core.clock import Now, from_ms, to_ms
from app.core.clock import now as present
from app.core.errors import ConfigError
from app.core.settings import secret_of, variable_of
from app.records.alarms import Kind
from app.records.notices import Notice, Says
from connectors._http import Http
from connectors.contract import Limits, NeedsHuman, Rate, Refused, TryLater

SECONDS: Final = 10.0  # for one message: ours, a person waits for the test
HTTP_PORTS: Final = {"https": 443, "http": 80}
MAIL_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}  # RFC 6409 3.1, RFC 8314 3.3, RFC 5321 4.5.4.2
MARKS: Final = {Says.RAISED: "raised", Says.STILL: "still open", Says.OVER: "over"}
# A sink is asked for so little that no vendor minds: Slack takes one a second (its "Rate limits").
LIMITS: Final = Limits(rates=(Rate(60, 60.0),), concurrency=1)


class Unheard(Exception):
    """A message did not get through.  Says why, without the secret."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one sink is told at once."""

    id: str  # the same at each try, so that a receiver can know a second copy
    notices: Sequence[Notice]
    where: str = ""  # which installation speaks: public_url, or nothing
    test: bool = False

    @property
    def title(self) -> str:
        """One line."""
        if self.test:
            return "Tandem: this is a test, nothing is wrong"
        raised = sum(n.says is Says.RAISED for n in self.notices)
        still, over = (sum(n.says is says for n in self.notices) for says in (Says.STILL, Says.OVER))
        parts = [f"{n} {word}" for n, word in ((raised, "raised"), (still, "still open"), (over, "over")) if n]
        if len(self.notices) == 1:
            kind, connection, subject = self.notices[0].key
            parts = [": ".join(part for part in (parts[0], connection, kind, subject) if part)]
        return _line(f"Tandem: {', '.join(parts)}")

    def lines(self) -> Iterator[str]:
        """One for each alarm, with what to do."""
        for one in self.notices:
            yield _line(f"{MARKS[one.says]}: {one.words if one.words else ' '.join(one.key)}")

    def json(self) -> dict[str, Any]:
        """For programs."""
        alarms = [
            {
                "status": str(one.says),
                "kind": one.key[0],
                "connection": one.key[1],
                "subject": logs.clean(one.key[2]),
                "words": _line(one.words),
                "since": from_ms(one.since).isoformat(),
                "over_at": None if one.over_at is None else from_ms(one.over_at).isoformat(),
            }
            for one in self.notices
        ]
        return {
            "type": "alarms.test" if self.test else "alarms",
            "title": self.title,
            "installation": self.where,
            "alarms": alarms,
        }


def _line(text: str) -> str:
    """One line without anybody's address, whoever wrote it."""
    return " ".join(logs.clean(text).split())


class Sink(ABC):
    """One place.  ``send`` is for one thread at a time."""

    def __init__(self, config: SinkConfig) -> None:
        self.name = config.name
        self.kind = config.kind
        self.host = config.host
        self.kinds = config.kinds

    def __repr__(self) -> str:
        return f"<Sink {self.name}: {self.kind} {self.host}>"

    @abstractmethod
    def send(self, message: Message) -> None:
        """Tell it.  Raises Unheard."""

    def close(self) -> None:  # noqa: B027 - most keep none
        """Let go of connections."""


class Web(Sink):
    """By HTTP: JSON as it is, signed where there is a secret (https://www.standardwebhooks.com)."""

    def __init__(
        self,
        config: SinkConfig,
        url: str,
        secret: str | None,
        now: Now = present,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises ConfigError where the URL leads elsewhere than to the host of the configuration, or not safely."""
        super().__init__(config)
        variable = variable_of(f"alarms_{config.name}", "url")
        try:
            parts = urlsplit(url)
            port = parts.port if parts.port is not None else HTTP_PORTS.get(parts.scheme)
            host = parts.hostname if parts.hostname is not None else ""
        except ValueError:
            raise ConfigError(f"{variable}: is no URL") from None
        if f"[{host}]" == config.host:
            host = config.host
        if host != config.host or port is None or parts.username is not None or parts.fragment:
            raise ConfigError(f"{variable}: has to be https://{config.host}/…, the host that tandem.yml names for it")
        self._path = (parts.path if parts.path else "/") + (f"?{parts.query}" if parts.query else "")
        try:
            self._http = Http(
                base_url=f"{parts.scheme}://{host}:{port}",
                hosts=(),
                internal=config.internal,
                limits=LIMITS,
                share=1.0,
                reserve=0.0,
                auth=None
                if secret is None
                else _Signed(_key(variable_of(f"alarms_{config.name}", "secret"), secret), now),
                headers={"User-Agent": "Tandem"},
                timeout=SECONDS,
                patience=SECONDS,
                retries=1,
                transport=transport,
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise ConfigError(f"{variable}: {error}") from None

    def body(self, message: Message) -> dict[str, Any]:
        """What is sent."""
        return message.json()

    def send(self, message: Message) -> None:
        """Tell it.  Raises Unheard."""
        try:
            # A second copy is known by its id; a lost alarm is worse than one told twice.
            self._http.send("POST", self._path, json=self.body(message), headers={"webhook-id": message.id}, safe=True)
        except (TryLater, Refused, NeedsHuman) as problem:
            # The path is the secret of an incoming webhook.
            raise Unheard(re.sub(r"POST \S+", "POST ***", str(problem))[:300]) from None

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()


class Slack(Web):
    """Slack's incoming webhooks, which Mattermost, Rocket.Chat, Zulip and Discord (``…/slack``) take as well."""

    def body(self, message: Message) -> dict[str, Any]:
        """Plain text: https://docs.slack.dev/messaging/formatting-message-text says what has to be escaped."""
        text = "\n".join([f"*{_escaped(message.title)}*", *(f"• {_escaped(line)}" for line in message.lines())])
        return {"text": text + (f"\n{_escaped(message.where)}" if message.where else "")}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Signed(httpx.Auth):
    """Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, in base64."""

    requires_request_body = True

    def __init__(self, key: bytes, now: Now) -> None:
        self._key = key
        self._now = now

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]  # a generator
        """Sign at the moment of sending, so that a try that comes late is not taken for a replay."""
        stamp = str(to_ms(self._now()) // 1000)
        said = f"{request.headers['webhook-id']}.{stamp}.".encode() + request.content
        proof = base64.b64encode(hmac.new(self._key, said, hashlib.sha256).digest()).decode("ascii")
        request.headers["webhook-timestamp"] = stamp
        request.headers["webhook-signature"] = f"v1,{proof}"
        yield request


def _key(variable: str, secret: str) -> bytes:
    """``whsec_`` and base64, as the standard has it, or the text's own bytes.  Raises ConfigError."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ConfigError(f"{variable}: what follows whsec_ is not base64") from None


class Mail(Sink):
    """By SMTP, encrypted unless the server is on this machine."""

    def __init__(self, config: SinkConfig, password: str | None, now: Now = present) -> None:
        """Raises ConfigError for a user without a password, or the other way round."""
        super().__init__(config)
        if (config.user is None) != (password is None):
            variable = variable_of(f"alarms_{config.name}", "password")
            raise ConfigError(f"alarms: sink {config.name}: user and {variable} go together")
        self._config = config
        self._password = password
        self._now = now
        self._port = config.port if config.port is not None else MAIL_PORTS[config.security]

    def letter(self, message: Message) -> EmailMessage:
        """The e-mail."""
        letter = EmailMessage()
        letter["Subject"] = message.title
        letter["From"] = str(self._config.sender)
        letter["To"] = ", ".join(self._config.to)
        letter["Date"] = format_datetime(self._now())
        letter["Message-ID"] = f"<{message.id}@{self.host.strip('[]')}>"
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: nobody's holiday answers it
        footer = f"\n\n{message.where}" if message.where else ""
        letter.set_content("\n\n".join([message.title, *message.lines()]) + footer + "\n")
        return letter

    def send(self, message: Message) -> None:
        """Tell it.  Raises Unheard."""
        config, host = self._config, self.host.strip("[]")
        context = ssl.create_default_context()
        try:
            made = (
                smtplib.SMTP_SSL(host, self._port, timeout=SECONDS, context=context)
                if config.security == "tls"
                else smtplib.SMTP(host, self._port, timeout=SECONDS)
            )
            with made as server:
                if config.security == "starttls":
                    server.starttls(context=context)
                if config.user is not None and self._password is not None:
                    server.login(config.user, self._password)
                server.send_message(self.letter(message))
        except smtplib.SMTPResponseException as error:  # the server's words may quote addresses
            raise Unheard(f"{self.host}: {type(error).__name__} {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unheard(f"{self.host}: {type(error).__name__}") from None


def of(config: AlarmsConfig, env: Mapping[str, str], connections: Collection[str] = ()) -> list[Sink]:
    """The sinks of a configuration.  Raises ConfigError where one cannot be used.  No call goes out."""
    made: list[Sink] = []
    for one in config.sinks:
        odd = sorted(set(one.kinds) - {str(kind) for kind in Kind})
        if odd:
            valid = ", ".join(sorted(Kind))
            raise ConfigError(f"alarms: sink {one.name}: no kinds of alarms: {', '.join(odd)}; valid: {valid}")
        if f"alarms_{one.name}" in connections:
            raise ConfigError(f"alarms: sink {one.name}: a connection has the name alarms_{one.name}; rename the sink")
        secret: Callable[[str], str | None] = lambda what, one=one: secret_of(f"alarms_{one.name}", what, env)  # type: ignore[misc]  # noqa: E731
        if one.kind == "email":
            made.append(Mail(one, secret("password")))
            continue
        url = secret("url")
        if url is None:
            raise ConfigError(f"alarms: sink {one.name}: not set: {variable_of(f'alarms_{one.name}', 'url')}")
        kind = Slack if one.kind == "slack" else Web
        made.append(kind(one, url, secret("secret")))
    return made
