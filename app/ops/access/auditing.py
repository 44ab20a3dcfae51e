"""Writing the audit log: what counts as an act, and what of a request may stand in it.

Ids and names of connections only, by a list of what is known to be one: a request can hold anything about anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from starlette.requests import Request

from app.core.db import BIGGEST, Database
from app.ops.access.permissions import Permission
from app.ops.access.principal import Kind, Principal
from app.records import audit

log = structlog.get_logger(__name__)

HOLDER: Final = "tandem.audit"  # in the scope: what the gate found, for the middleware around it
_IDS: Final = frozenset(["contact", "contact_id", "run", "merge", "older", "newer", "event", "id", "token", "erasure"])
_NAMES: Final = frozenset(["connection", "field", "clock", "team", "choose", "decision", "status", "kind", "name"])
_NAME: Final = re.compile(r"[a-z][a-z0-9_.:-]{0,60}")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")  # no id is longer, and a number of thousands of digits is none to Python
_READS: Final = frozenset({Permission.EXPORT, Permission.CONNECT, Permission.AUDIT})  # looked at, and still an act
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def ids(values: Mapping[str, Any]) -> dict[str, str | int]:
    """What of these may stand in the log."""
    found: dict[str, str | int] = {}
    for key, value in values.items():
        if key in _IDS or key.endswith("_id"):
            number = int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
            if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= BIGGEST:
                found[key] = number
        elif key in _NAMES and isinstance(value, str) and _NAME.fullmatch(value):
            found[key] = value
    return found


def document(body: bytes) -> dict[str, Any]:
    """A JSON object; empty where it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


class Auditing:
    """Enters acts into the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_act(self, method: str, permission: Permission) -> bool:
        """Whether it changes something, or takes something away."""
        return method not in _SAFE or permission in _READS

    def begin(
        self, request: Request, caller: Principal, permission: Permission, path: str, sent: Mapping[str, Any]
    ) -> None:
        """Enter an act that is about to be carried out.  ``path``: as the route writes it; ``sent``: body or form."""
        # Of what is sent, ``name`` may be anybody's; in a path it is a connection's.
        target = ids(dict(request.path_params)) | ids({key: sent[key] for key in sent if key != "name"})
        by = sent.get("by")
        # Several people share what opened the door: the name they give is all there is.
        who = caller.name if caller.name is not None else by if isinstance(by, str) and by.isprintable() else None
        number = self.enter(caller, str(permission), f"{request.method} {path}", target, who)
        request.scope[HOLDER]["act"] = number

    def enter(
        self, caller: Principal, act: str, what: str, target: Mapping[str, str | int], who: str | None = None
    ) -> int:
        """Enter an act; its id."""
        who = who if who is not None else caller.name
        number = self._database.transact(lambda db: audit.act(db, str(caller.kind), who, caller.key, act, what, target))
        log.info("audit.act", id=number, kind=str(caller.kind), key=caller.key, act=act, what=what, target=dict(target))
        return number

    def end(self, number: int, outcome: str, answer: bytes = b"") -> None:
        """Enter how it ended; ``answer``: what was answered, for the ids of what was made."""
        self._database.transact(lambda db: audit.end(db, number, outcome, ids(document(answer))))
        log.info("audit.end", id=number, outcome=outcome)

    def login(self, outcome: str, *, kind: Kind = Kind.NOBODY, name: str | None = None, key: int | None = None) -> None:
        """Enter a login or its refusal; a name only where it is an account's."""

        def enter(db: Any) -> None:
            audit.end(db, audit.act(db, str(kind), name, key, "login", "POST /login", {}), outcome)

        self._database.transact(enter)
