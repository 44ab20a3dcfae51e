"""The operations API put together.  In: the store, the connections, and who may ask.  Out: a FastAPI app.

Everything but ``/health`` asks ``app.ops.auth.allowed``; docs/api.md has each endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from pydantic import SecretStr

from app.core.db import Database
from app.ops import problems
from app.ops.advice import advice_api
from app.ops.alarms import alarms_api
from app.ops.auth import protect
from app.ops.brakes import brakes_api
from app.ops.briefs import brief_api
from app.ops.conflicts import conflicts_api
from app.ops.connect import connect_api
from app.ops.connections import connections_api
from app.ops.consents import consents_api
from app.ops.contacts import contacts
from app.ops.deadletters import deadletters
from app.ops.drift import drift_api
from app.ops.erasures import erasures
from app.ops.events import events
from app.ops.health import EVENT_AGE, Examiner, health
from app.ops.leads import leads_api
from app.ops.matches import matches_api
from app.ops.merges import merges_api
from app.ops.metrics import Metrics
from app.ops.objects import objects_api
from app.ops.plans import plans_api
from app.ops.problems import MEDIA_TYPE, Problem
from app.ops.programmes import programmes_api
from app.ops.provenance import provenance_api
from app.ops.replay import Replay
from app.ops.replicas import replicas_api
from app.ops.scorecards import scorecards_api
from app.ops.sla import sla_api
from app.ops.tombstones import tombstones_api
from app.ops.undo import undo_api
from app.repair.connecting import Connecting
from app.repair.undoing import Undo
from app.sync.connection import Connections

ABOUT: Final = (
    "Look at Tandem and act on it.  Times are ISO 8601 in UTC.  Lists are paged by `limit` and `after`.  Every error "
    "is an RFC 9457 problem document.  With a token configured every request needs it; without one only callers on "
    "the same machine are answered."
)
# What any operation that asks who is there may answer, and what others may.
_ANY: Final = {
    "401": "The token is missing or wrong.",
    "403": "The caller is not answered.",
    "500": "A defect; the log has it under the problem's instance.",
    "503": "The database does not answer.",
}
_OTHER: Final = {
    "400": "The body cannot be read.",
    "404": "There is no such thing.",
    "409": "Not in its present state; the problem says why.",
    "413": "The body is too large.",
    "422": "Something in the request cannot be used; the problem says what.",
}


class Api(FastAPI):
    """FastAPI whose description says what errors really look like."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _describe_errors(path, operation)
                    if "security" in operation and not self.state.guard.asks_for_token:
                        operation["security"].append({})  # this machine is answered without
        return self.openapi_schema if self.openapi_schema is not None else {}


def _describe_errors(path: str, operation: dict[str, Any]) -> None:
    """Replace the framework's own words for errors by ours."""
    answers: dict[str, Any] = operation["responses"]
    texts = dict(_ANY) if "security" in operation else {}
    texts |= {status: text for status, text in _OTHER.items() if status in answers}
    if "{" in path:
        texts["404"] = _OTHER["404"]
    if "requestBody" in operation:
        texts |= {status: _OTHER[status] for status in ("400", "413")}
    for status, text in texts.items():
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[status] = {"description": text, "content": content}
    operation["responses"] = dict(sorted(answers.items()))


def build_api(
    database: Database,
    connections: Connections,
    metrics: Metrics,
    replay: Replay,
    wake: Callable[[], None],
    *,
    token: SecretStr | None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    worker_expected: bool,
    event_age: timedelta = EVENT_AGE,
    connecting: Connecting | None = None,
) -> FastAPI:
    """The app.

    ``wake`` is called after everything that gives the workers something to do.  ``token`` None: callers on this machine
    only.  ``worker_expected``: not ready without a live worker.  ``event_age``: not ready once an event waited longer.
    ``connecting``: of the connections that use OAuth; None: none does.
    """
    api = Api(
        title="Tandem operations API",
        version=version("tandem-sync"),
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere, which the security headers forbid
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    protect(api, token)
    problems.install(api)
    examiner = Examiner(database, connections, worker_expected=worker_expected, event_age=event_age)
    api.include_router(health(examiner, metrics))
    api.include_router(connections_api(database, connections, wake))
    if connecting is None:
        connecting = Connecting(database, {}, public_url="")
    api.include_router(connect_api(database, connecting, wake))
    api.include_router(replicas_api(database))
    api.include_router(events(database, connections, replay, wake))
    api.include_router(deadletters(database, connections, wake))
    api.include_router(brakes_api(database, connections, wake))
    api.include_router(drift_api(database, connections, wake))
    api.include_router(alarms_api(database, connections, wake))
    api.include_router(plans_api(database, connections))
    api.include_router(contacts(database, connections))
    api.include_router(objects_api(database))
    api.include_router(conflicts_api(database, connections, wake))
    api.include_router(provenance_api(database, connections))
    api.include_router(undo_api(Undo(database, connections), wake))
    api.include_router(consents_api(database, connections, wake))
    api.include_router(merges_api(database, connections, wake))
    api.include_router(matches_api(database, connections, wake))
    api.include_router(leads_api(database, connections, wake))
    api.include_router(brief_api(database))
    api.include_router(sla_api(database, connections, wake))
    api.include_router(programmes_api(database, connections))
    api.include_router(advice_api(database, connections))
    api.include_router(tombstones_api(database, wake))
    api.include_router(scorecards_api(database, connections))
    api.include_router(erasures(database, connections, wake))
    return api
