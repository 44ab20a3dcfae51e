"""EspoCRM's webhook events: what a change is told as, and how a delivery is written and signed.

Sources: github.com/espocrm/documentation, ``docs/administration/webhooks.md``; the code of the queue and the sender
(``Espo/Core/Webhook``): portions, time-outs, which answers are tried again.  Seen of version 9.1.7: an update carries
what changed and ``modifiedById``, no time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from sandbox.webhooks import Happening, Policy, Target

POLICY = Policy(
    batch=50,
    window=0.05,  # a scheduled job every few minutes at the real one; here as fast as the others
    timeout=10.0,
    waits=(600, 600, 600),  # four tries in all
    final=frozenset({410}),  # removes the webhook
    retried=frozenset({401, 403, 404, 405, 408, 500, 503}),  # everything else, 429 and 502 too, is lost
)
KINDS = ("create", "update", "delete")
_QUIET = frozenset(
    {"modifiedAt", "modifiedById", "createdAt", "streamUpdatedAt"}
)  # changes of these alone tell nothing


def created(entity: str, row: Mapping[str, Any], source: str) -> Happening:
    """All that there is of a new record."""
    return Happening(f"{entity}.create", source, {k: v for k, v in row.items() if v is not None})


def updated(
    entity: str, before: Mapping[str, Any], row: Mapping[str, Any], source: str, who: str
) -> Iterator[Happening]:
    """What changed, and for each field that did its own event; nothing where nothing did."""
    changed = {k: v for k, v in row.items() if k not in _QUIET and before.get(k) != v}
    if not changed:
        return
    yield Happening(f"{entity}.update", source, {"id": row["id"], **changed, "modifiedById": who})
    for name in changed:
        yield Happening(f"{entity}.fieldUpdate.{name}", source, {"id": row["id"], name: row[name]})


def removed(entity: str, id_: str, source: str) -> Happening:
    """The id is all that is told."""
    return Happening(f"{entity}.delete", source, {"id": id_})


def encode(target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """A list of records, signed in both ways."""
    body = orjson.dumps([h.data for h in happenings])
    digest = hmac.digest(target.secret.encode(), body, hashlib.sha256)
    name = target.id.encode()
    return body, {
        "content-type": "application/json",
        "signature": base64.b64encode(name + b":" + digest.hex().encode()).decode(),
        "x-signature": base64.b64encode(name + b":" + digest).decode(),
    }
