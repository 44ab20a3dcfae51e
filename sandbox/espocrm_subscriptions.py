"""EspoCRM's webhooks as records.  In: bodies and targets.  Out: targets, rows.  Refusals as EspoError.

Sources: github.com/espocrm/documentation, ``docs/administration/webhooks.md``; github.com/espocrm/espocrm,
``Espo/Classes/RecordHooks/Webhook/BeforeSave.php``, ``Espo/Classes/Record/Webhook/UpdateInputFilter.php`` (an API user
cannot change the event), ``entityDefs`` and ``entityAcl`` of ``Webhook``: the key is read only, and shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sandbox.espocrm_objects import NAMES
from sandbox.espocrm_store import FIELDS, EspoError
from sandbox.webhooks import Target

MOST: Final = 50  # webhookMaxCountPerUser
_URL_LENGTH: Final = 512
_ENTITIES: Final = frozenset({*FIELDS, *NAMES} - {"User"})
_TYPES: Final = frozenset({"create", "update", "delete"})
_FIELD: Final = "fieldUpdate"


def made(id_: str, secret: str, given: Mapping[str, Any], there: int) -> Target:
    """A new webhook.  ``there``: how many the user has.  Raises 400, 403."""
    event = given.get("event")
    if not isinstance(event, str) or not event:
        raise EspoError(403, "Event is empty.")
    entity, _, what = event.partition(".")
    if entity not in _ENTITIES:
        raise EspoError(403, "Entity type is not available for Webhooks.")
    if what not in _TYPES and not (what.startswith(f"{_FIELD}.") and what.count(".") == 1):
        raise EspoError(403, "Not supported event.")
    if there >= MOST:
        raise EspoError(403, "Webhook number per user exceeded the limit.")
    target = Target(id_, "", secret, events={event: True}, sources={"user": True, "api": True})
    change(target, {"url": None, **given})
    return target


def change(target: Target, given: Mapping[str, Any]) -> None:
    """Change where it leads, whether it is on, and whether it leaves out the API user's own changes.  Raises 400."""
    if "url" in given:
        url = given["url"]
        wrong = "required" if not url else "maxLength" if len(str(url)) > _URL_LENGTH else None
        if wrong is not None:
            raise EspoError(400, f"Field validation failure; entityType: Webhook, field: url, type: {wrong}.")
        target.url = str(url)
    if "isActive" in given:
        target.enabled = given["isActive"] is True
    if "skipOwn" in given:
        target.sources = {"user": True, "api": given["skipOwn"] is not True}


def row(target: Target) -> dict[str, Any]:
    """As JSON."""
    return {
        "id": target.id,
        "event": next(iter(target.events)) if target.events else None,
        "url": target.url,
        "isActive": target.enabled,
        "skipOwn": target.sources is not None and not target.sources.get("api", False),
        "secretKey": target.secret,
    }


def shown(targets: Mapping[str, Target], off: Collection[str]) -> list[dict[str, Any]]:
    """All that there are.  ``off``: the ids that somebody switched off; others that are off a 410 has removed."""
    return [row(target) for target in targets.values() if target.enabled or target.id in off]
