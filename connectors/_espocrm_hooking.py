"""EspoCRM's webhooks as subscriptions: which there are, making, completing and removing them.

One for each event, each with a secret key that EspoCRM makes.  An API user sees its own webhooks only, and their keys,
so a key that reached nobody is told at the next ``install``.

Sources: github.com/espocrm/documentation, ``docs/administration/webhooks.md`` (making and removing); the product's
code, github.com/espocrm/espocrm (the rest): ``Espo/Classes/RecordHooks/Webhook/BeforeSave.php`` (what is refused),
``Espo/Classes/Select/Webhook`` (whose are listed), ``entityDefs`` and ``entityAcl`` of ``Webhook`` (attributes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from connectors._espocrm_calls import Records, forbidden
from connectors._espocrm_hooks import PARAMETER, about
from connectors._espocrm_wire import is_id, refusal
from connectors.contract import Hook, Hooked, Kind, Refused

PATH: Final = "/Webhook"
SETTING: Final = "webhook_secrets"
_EVENTS: Final = ("create", "update", "delete")
_SHOWN: Final = ("event", "url", "isActive")
_KEY: Final = "secretKey"
_REFUSED: Final = (
    "the role of the API user needs Webhooks, and reading what they tell of; a user has at most fifty of them "
    "(webhookMaxCountPerUser)"
)


def listed(records: Records, kinds: Mapping[str, Kind]) -> tuple[Hook, ...]:
    """All webhooks of the API user.  ``kinds``: the entities that are to be told of, and what they stand for."""
    return _hooks(_rows(records), kinds)


def install(records: Records, url: str, kinds: Mapping[str, Kind], secrets: Sequence[str]) -> Hooked:
    """One webhook for each event of these entities, switched on, without what the API user did itself.

    ``secrets``: the keys that are known; where there is another one, all of them are told.  Refused where EspoCRM does
    not take the URL or the role does not allow it; what was made until then is found by the next call.
    """
    here = [row for row in _rows(records) if _url(row) == url and isinstance(row.get("event"), str)]
    told: list[Any] = []
    for event in dict.fromkeys([*_wanted(kinds), *(row["event"] for row in here)]):
        body = {"url": f"{url}?{PARAMETER}={event}", "skipOwn": True}
        same = sorted((row for row in here if row["event"] == event), key=lambda row: row.get("isActive") is not True)
        for row in same[:1]:
            _send(records, "PUT", f"{PATH}/{row.get('id')}", {**body, "isActive": True})
        for row in same[1:]:
            drop(records, str(row.get("id")))  # each would tell everything once more
        if not same:
            made = records.json(_send(records, "POST", PATH, {"event": event, **body}))
            told.append(made.get(_KEY) if isinstance(made, Mapping) else None)
    now = [row for row in _rows(records, _KEY) if _url(row) == url]
    keys = [key for key in (*told, *(row.get(_KEY) for row in now)) if isinstance(key, str) and key]
    unknown = [key for key in dict.fromkeys(keys) if key not in secrets]
    return Hooked(_hooks(now, kinds), ",".join([*secrets, *unknown]) if unknown else None, SETTING)


def drop(records: Records, id_: str) -> None:
    """Remove one; one that is not there is removed already."""
    if is_id(id_):
        records.send("DELETE", f"{PATH}/{id_}", take={404}, safe=True)


def _wanted(kinds: Mapping[str, Kind]) -> list[str]:
    return [f"{entity}.{what}" for entity in kinds for what in _EVENTS]


def _rows(records: Records, *more: str) -> list[Mapping[str, Any]]:
    found, refused = records.listed(PATH, (*_SHOWN, *more), ends={403})
    if refused is not None:
        raise Refused(f"{forbidden(refused, 'webhooks', records.size)}; {_REFUSED}", code="webhooks")
    return found


def _send(records: Records, method: str, path: str, body: Mapping[str, Any]) -> httpx.Response:
    response = records.send(method, path, json=body, take={400, 403}, safe=method == "PUT")
    if response.status_code == 403:
        said = " ".join(str(refusal(response, {"url": body["url"]}, records.secrets)).split()).rstrip(".")
        raise Refused(f"{said}: {body.get('event', path)}; {_REFUSED}", code="webhooks")
    if response.status_code == 400:
        raise refusal(response, {"url": body["url"]}, records.secrets)
    return response


def _hooks(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind]) -> tuple[Hook, ...]:
    """``missing`` stands at the first webhook of each URL."""
    events: dict[str, set[object]] = {}
    for row in rows:
        events.setdefault(_url(row), set()).add(row.get("event"))
    found = []
    for row in rows:
        has = events.pop(_url(row), None)
        missing = [] if has is None else [event for event in _wanted(kinds) if event not in has]
        found.append(_hook(row, kinds, tuple(missing)))
    return tuple(found)


def _hook(row: Mapping[str, Any], kinds: Mapping[str, Kind], missing: tuple[str, ...]) -> Hook:
    event, on = str(row.get("event", "")), row.get("isActive")
    wanted = f"?{PARAMETER}={event}"  # the body does not say which event it is
    lacks = () if about(str(row.get("url", "")), kinds) == about(wanted, kinds) else (wanted,)
    on = on if isinstance(on, bool) else None
    return Hook(str(row.get("id", "")), _url(row), event, on, lacks, missing)


def _url(row: Mapping[str, Any]) -> str:
    return str(row.get("url", "")).partition("?")[0]
