"""Whom alarms are told: the part ``alarms`` of ``tandem.yml``.

What opens a sink is a secret (an incoming webhook's whole URL is one) and stands in the environment; the file names the
one host that it may lead to.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.core._lengths import Span

HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))*|\[[0-9a-f:.]{2,45}\]")
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}")
MAILBOX: Final = re.compile(r"[^\s<>@,;:\"()\[\]\\]{1,64}@[a-zA-Z0-9.-]{1,253}")  # so that no header can be added
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class SinkConfig(BaseModel):
    """One place where alarms are told."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str
    kind: Literal["webhook", "slack", "email"]
    host: str  # the only one that is called
    internal: bool = False  # it is in a private network: addresses there may be called
    port: int | None = Field(default=None, ge=1, le=65535)  # of the mail server; None = what ``security`` usually has
    kinds: tuple[str, ...] = ()  # of alarms that are told here; () = all
    sender: str | None = Field(default=None, alias="from")
    to: tuple[str, ...] = ()
    user: str | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("a sink's name is lower-case letters, digits, - and _, and begins with a letter")
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        if not HOST.fullmatch(value.lower()):
            raise ValueError("a host is a name like hooks.example.com: without scheme, user, port and path")
        return value.lower()

    @field_validator("to", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> SinkConfig:
        mail = self.kind == "email"
        if mail and (self.sender is None or not self.to):
            raise ValueError(f"sink {self.name}: e-mail needs from and to")
        if mail and (odd := [a for a in (str(self.sender), *self.to) if not MAILBOX.fullmatch(a)]):
            raise ValueError(f"sink {self.name}: no plain address like ops@example.com: {len(odd)} of from and to")
        if not mail and (self.sender is not None or self.to or self.user is not None or self.port is not None):
            raise ValueError(f"sink {self.name}: from, to, user and port are for e-mail")
        if mail and self.security == "none" and self.host not in LOOPBACK:
            raise ValueError(f"sink {self.name}: security none is for a mail server on this machine")
        return self


class AlarmsConfig(BaseModel):
    """When and whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeat: Span = 4 * 3_600_000  # what is still open is told again after this; None = never
    settle: Span = 120_000  # so long an alarm has to be over before that is told: one that comes and goes is one
    sinks: tuple[SinkConfig, ...] = ()

    @field_validator("sinks")
    @classmethod
    def _unique(cls, value: tuple[SinkConfig, ...]) -> tuple[SinkConfig, ...]:
        names = [s.name for s in value]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"each sink needs its own name; used twice: {', '.join(twice)}")
        return value
