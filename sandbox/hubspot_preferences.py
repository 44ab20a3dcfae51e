"""The endpoints of HubSpot's communication preferences, v3 and v4.  In: requests.  Out: answers.

Sources: as in ``hubspot_consent``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json, operations
from sandbox.hubspot_consent import Consent
from sandbox.hubspot_http import Routes, body, flag, required, source
from sandbox.hubspot_rules import HubSpotError, bad, not_found

BATCH = 100  # inputs of a batch call; not published, as in the other batch calls

_ROOT = "/communication-preferences"
_STATUSES = f"{_ROOT}/v4/statuses"


class Preferences:
    """The endpoints over one account's consent."""

    def __init__(self, consent: Consent, stamp: Callable[[], str]) -> None:
        """``stamp``: the present as HubSpot writes it."""
        self._consent = consent
        self._stamp = stamp

    def routes(self) -> Routes:
        """See the class."""
        return [
            ("GET", f"{_ROOT}/{{version}}/definitions", self._definitions),
            ("GET", f"{_ROOT}/v3/status/email/{{email}}", self._old_statuses),
            ("POST", f"{_ROOT}/v3/{{verb}}", self._old_set),
            ("POST", f"{_STATUSES}/batch/{{verb:path}}", self._batched),
            ("GET", f"{_STATUSES}/{{email}}", self._statuses),
            ("POST", f"{_STATUSES}/{{email}}", self._set),
            ("GET", f"{_STATUSES}/{{email}}/unsubscribe-all", self._wide),
            ("POST", f"{_STATUSES}/{{email}}/unsubscribe-all", self._unsubscribed_all),
        ]

    async def _definitions(self, request: Request) -> Response:
        rows = self._consent.definitions()
        if request.path_params["version"] == "v3":
            return Json({"subscriptionDefinitions": rows})
        return self._complete(rows)

    async def _old_statuses(self, request: Request) -> Response:
        return Json(self._consent.old_statuses(request.path_params["email"]))

    async def _old_set(self, request: Request) -> Response:
        verbs = {"subscribe": self._consent.subscribe, "unsubscribe": self._consent.unsubscribe}
        verb = verbs.get(request.path_params["verb"])
        if verb is None:
            raise not_found()
        return Json(verb(await body(request), source(request)))

    async def _statuses(self, request: Request) -> Response:
        _by_mail(request)
        return self._complete(self._consent.statuses(request.path_params["email"]))

    async def _set(self, request: Request) -> Response:
        return self._complete([self._consent.set(request.path_params["email"], await body(request), source(request))])

    async def _wide(self, request: Request) -> Response:
        _by_mail(request)
        return self._complete(self._consent.wide(request.path_params["email"]))

    async def _unsubscribed_all(self, request: Request) -> Response:
        _by_mail(request)
        rows = self._consent.unsubscribe_all(request.path_params["email"], source(request))
        return self._complete(rows if flag(request, "verbose") else [])

    async def _batched(self, request: Request) -> Response:
        inputs = required(await body(request), "inputs")
        if not isinstance(inputs, list) or len(inputs) > BATCH:
            raise bad(f"inputs must be an array of at most {BATCH}")
        operations(request, len(inputs))
        by, consent = source(request), self._consent
        calls: dict[str, Callable[[Any], Any]] = {
            "read": lambda i: {"subscriberIdString": i, "statuses": consent.statuses(str(i))},
            "write": lambda i: consent.set(str(required(i, "subscriberIdString")), i, by),
            "unsubscribe-all": lambda i: {"subscriberIdString": i, "statuses": consent.unsubscribe_all(str(i), by)},
            "unsubscribe-all/read": lambda i: {"subscriberIdString": i, "wideStatuses": consent.wide(str(i))},
        }
        call = calls.get(request.path_params["verb"])
        if call is None:
            raise not_found()
        if request.path_params["verb"] != "write":  # there each input names its own
            _by_mail(request)
        rows: list[Any] = []
        errors: list[Any] = []
        for given in inputs:
            try:
                rows.append(call(given))
            except HubSpotError as error:
                named = given.get("subscriberIdString") if isinstance(given, dict) else given
                errors.append(error.entry({"subscriberIdString": [str(named)]}))
        return self._complete(rows, errors)

    def _complete(self, rows: list[Any], errors: list[Any] | None = None) -> Response:
        """Partial failure comes as 200 here, unlike in the other batch calls."""
        now = self._stamp()
        said: dict[str, Any] = {"status": "COMPLETE", "results": rows, "startedAt": now, "completedAt": now}
        return Json({**said, "numErrors": len(errors), "errors": errors} if errors else said)


def _by_mail(request: Request) -> None:
    """Raises 400 where the query does not name the channel, of which there is one."""
    if request.query_params.get("channel") != "EMAIL":
        raise bad("channel must be EMAIL")
