"""The one table of who may do what: role → permissions, and (method, path) → permission.

A route is added by one line in ``ROUTES``.  A route without a line is refused to everybody, and Tandem does not start
with one (``check``).  docs/permissions.md is written from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # this table is read by commands, too, and by a door that opens before there is an API
    from fastapi import FastAPI
    from starlette.routing import BaseRoute


class Role(StrEnum):
    """What a colleague or a program is here; in the order of how much each may."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    STEWARD = "steward"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a route asks of its caller.  The first two ask for nobody: they are what anybody reaches."""

    OPEN = "open"
    RETURN = "return"
    SELF = "self"
    STATUS = "status"
    FIGURES = "figures"
    PEOPLE = "people"
    PLAIN = "people.plain"
    TRACE = "trace"
    EXPORT = "export"
    BRIEF = "brief"
    LEADS = "leads"
    SIGN = "agreement.sign"
    DECIDE = "decide"
    CONSENT = "consent"
    ERASE = "erase"
    OPERATE = "operate"
    CONNECT = "connect"
    ACCESS = "access"
    AUDIT = "audit"


P, R = Permission, Role
UNASKED: Final = frozenset({P.OPEN, P.RETURN})

ABOUT: Final[Mapping[Permission, str]] = MappingProxyType(
    {
        P.OPEN: "Nobody is asked who they are: health, the login, and the files of its page.",
        P.RETURN: "A vendor sends a browser back; it proves itself by a state that is good once, for ten minutes.",
        P.SELF: "Who am I; sign out.",
        P.STATUS: "How connections, queues, alarms, drift and replicas stand; metrics; the description of the API.",
        P.FIGURES: "Scorecard, flow, cohorts, promises, kept briefs, the agreement: numbers and terms.",
        P.PEOPLE: "Contacts, companies, deals, leads, clocks, acts, conflicts, matches, merges; masked without "
        "`people.plain`.",
        P.PLAIN: "See names, addresses and other values of people as they are.",
        P.TRACE: "Single events, dead letters, explanations, planned writes, evidence of consent, tombstones.",
        P.EXPORT: "Take figures away as a file.",
        P.BRIEF: "Keep a brief.",
        P.LEADS: "Accept, reject, recycle, reassign leads; pause their clocks.",
        P.SIGN: "Sign a version of the agreement.",
        P.DECIDE: "Decide conflicts and matches, split, undo, end rulings.",
        P.CONSENT: "Enter what a person said about being written to.",
        P.ERASE: "Erase a person; lift a tombstone.",
        P.OPERATE: "Pause, resume, replay, retry, reconcile, plan, brakes, suspended fields.",
        P.CONNECT: "Connect an account at a vendor.",
        P.ACCESS: "API tokens: make, list, revoke.",
        P.AUDIT: "Read the audit log.",
    }
)

_VIEWER: Final = frozenset({P.SELF, P.STATUS, P.FIGURES, P.PEOPLE})
_ANALYST: Final = _VIEWER | {P.EXPORT, P.BRIEF}
_STEWARD: Final = _ANALYST | {P.PLAIN, P.TRACE, P.LEADS, P.SIGN, P.DECIDE, P.CONSENT, P.ERASE}
_OPERATOR: Final = _ANALYST | {P.PLAIN, P.TRACE, P.LEADS, P.OPERATE}
ROLES: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        R.VIEWER: _VIEWER,
        R.ANALYST: _ANALYST,
        R.STEWARD: _STEWARD,
        R.OPERATOR: _OPERATOR,
        R.ADMIN: _STEWARD | _OPERATOR | {P.CONNECT, P.ACCESS, P.AUDIT},
    }
)

# Paths as the routes write them.  HEAD goes with GET.
ROUTES: Final[Mapping[tuple[str, str], Permission]] = MappingProxyType(
    {
        # anybody
        ("GET", "/health/live"): P.OPEN,
        ("GET", "/health/ready"): P.OPEN,
        ("GET", "/login"): P.OPEN,
        ("POST", "/login"): P.OPEN,
        ("GET", "/login/provider"): P.OPEN,
        ("GET", "/login/callback"): P.OPEN,
        ("GET", "/static/{name}"): P.OPEN,
        ("GET", "/robots.txt"): P.OPEN,
        ("GET", "/connections/{name}/callback"): P.RETURN,
        # whoever is known
        ("GET", "/me"): P.SELF,
        ("POST", "/logout"): P.SELF,
        # the console
        ("GET", "/"): P.STATUS,
        ("GET", "/console"): P.STATUS,
        ("GET", "/console/agreement"): P.FIGURES,
        ("GET", "/console/agreement/compare"): P.FIGURES,
        ("GET", "/console/agreement/draft"): P.FIGURES,
        ("POST", "/console/agreement/draft/sign"): P.SIGN,
        ("GET", "/console/agreement/simulate"): P.FIGURES,
        ("GET", "/console/agreement/versions/{version_id}"): P.FIGURES,
        ("POST", "/console/agreement/versions/{version_id}/sign"): P.SIGN,
        ("GET", "/console/audit"): P.AUDIT,
        ("GET", "/console/brief"): P.FIGURES,
        ("POST", "/console/brief"): P.BRIEF,
        ("GET", "/console/brief/{brief_id}"): P.FIGURES,
        ("GET", "/console/connections"): P.STATUS,
        ("GET", "/console/connections/{name}"): P.STATUS,
        ("POST", "/console/connections/{name}/brakes/{kind}"): P.OPERATE,
        ("POST", "/console/connections/{name}/pause"): P.OPERATE,
        ("POST", "/console/connections/{name}/resume"): P.OPERATE,
        ("GET", "/console/connections/{name}/webhooks"): P.STATUS,
        ("GET", "/console/contacts"): P.PLAIN,
        ("GET", "/console/contacts/{contact_id}"): P.PLAIN,
        ("POST", "/console/contacts/{contact_id}/consent"): P.CONSENT,
        ("POST", "/console/contacts/{contact_id}/undo"): P.DECIDE,
        ("GET", "/console/dead"): P.TRACE,
        ("POST", "/console/dead/retry"): P.OPERATE,
        ("POST", "/console/dead/{letter_id}/retry"): P.OPERATE,
        ("GET", "/console/flow"): P.TRACE,
        ("GET", "/console/leads"): P.PLAIN,
        ("GET", "/console/leads/{contact_id}"): P.PLAIN,
        ("POST", "/console/leads/{contact_id}/{act}"): P.LEADS,
        ("GET", "/console/mapping"): P.STATUS,
        ("GET", "/console/mapping/{name}"): P.TRACE,
        ("POST", "/console/mapping/{name}"): P.TRACE,
        ("GET", "/console/mapping/{name}/problems"): P.STATUS,
        ("GET", "/console/plan"): P.TRACE,
        ("POST", "/console/plan"): P.TRACE,
        ("GET", "/console/programmes"): P.FIGURES,
        ("GET", "/console/programmes/{name}"): P.PLAIN,
        ("GET", "/console/review"): P.PLAIN,
        ("GET", "/console/review/conflicts/{conflict_id}"): P.PLAIN,
        ("POST", "/console/review/conflicts/{conflict_id}"): P.DECIDE,
        ("GET", "/console/review/matches/{match_id}"): P.PLAIN,
        ("POST", "/console/review/matches/{match_id}"): P.DECIDE,
        ("POST", "/console/review/rulings/remove"): P.DECIDE,
        ("GET", "/console/scorecard"): P.FIGURES,
        ("GET", "/console/sla"): P.PLAIN,
        ("GET", "/console/sla/{contact_id}"): P.PLAIN,
        ("POST", "/console/sla/{contact_id}/pause"): P.LEADS,
        ("POST", "/console/sla/{contact_id}/reassign"): P.LEADS,
        ("POST", "/console/sla/{contact_id}/resume"): P.LEADS,
        ("GET", "/console/supply-chain"): P.FIGURES,
        ("POST", "/demo/edit"): P.OPERATE,
        ("GET", "/demo/forms"): P.PLAIN,
        ("GET", "/demo/state"): P.PLAIN,
        # how things stand
        ("GET", "/metrics"): P.STATUS,
        ("GET", "/openapi.json"): P.STATUS,
        ("GET", "/ops/alarms"): P.STATUS,
        ("GET", "/ops/alarms/sinks"): P.STATUS,
        ("POST", "/ops/alarms/test"): P.OPERATE,
        ("GET", "/ops/backfill"): P.STATUS,
        ("GET", "/ops/brakes"): P.STATUS,
        ("GET", "/ops/connections"): P.STATUS,
        ("GET", "/ops/drift"): P.STATUS,
        ("GET", "/ops/fields"): P.STATUS,
        ("GET", "/ops/freshness"): P.STATUS,
        ("GET", "/ops/reconcile/{run_id}"): P.STATUS,
        ("GET", "/ops/replicas"): P.STATUS,
        ("GET", "/ops/rounds"): P.STATUS,
        ("GET", "/ops/runs"): P.STATUS,
        ("GET", "/ops/runs/{run_id}"): P.STATUS,
        # figures and terms
        ("GET", "/agreement/versions"): P.FIGURES,
        ("GET", "/agreement/versions/{version_id}"): P.FIGURES,
        ("GET", "/brief"): P.FIGURES,
        ("GET", "/briefs"): P.FIGURES,
        ("GET", "/briefs/{brief_id}"): P.FIGURES,
        ("GET", "/flow"): P.FIGURES,
        ("GET", "/scorecard"): P.FIGURES,
        ("GET", "/programmes"): P.FIGURES,
        ("GET", "/programmes/{name}"): P.FIGURES,
        ("GET", "/programmes/{name}/members"): P.PEOPLE,
        ("GET", "/scorecard/attribution"): P.FIGURES,
        ("GET", "/scorecard/cohorts"): P.FIGURES,
        ("GET", "/scorecard/definitions"): P.FIGURES,
        ("GET", "/scorecard/moves"): P.FIGURES,
        ("GET", "/sla/promises"): P.FIGURES,
        ("GET", "/scorecard/export/{name}"): P.EXPORT,
        ("POST", "/brief"): P.BRIEF,
        ("POST", "/agreement/versions/{version_id}/sign"): P.SIGN,
        # people
        ("GET", "/colleagues"): P.PEOPLE,
        ("GET", "/companies"): P.PEOPLE,
        ("GET", "/companies/{company_id}"): P.PEOPLE,
        ("GET", "/conflicts"): P.PEOPLE,
        ("GET", "/conflicts/{conflict_id}"): P.PEOPLE,
        ("GET", "/contacts"): P.PEOPLE,
        ("GET", "/contacts/{contact_id}"): P.PEOPLE,
        ("GET", "/contacts/{contact_id}/history"): P.PEOPLE,
        ("GET", "/deals"): P.PEOPLE,
        ("GET", "/deals/{deal_id}"): P.PEOPLE,
        ("GET", "/engagements"): P.PEOPLE,
        ("GET", "/leads"): P.PEOPLE,
        ("GET", "/leads/{contact_id}"): P.PEOPLE,
        ("GET", "/leads/{contact_id}/next"): P.PEOPLE,
        ("GET", "/matches"): P.PEOPLE,
        ("GET", "/matches/{match_id}"): P.PEOPLE,
        ("GET", "/merges"): P.PEOPLE,
        ("GET", "/rulings"): P.PEOPLE,
        ("GET", "/sla"): P.PEOPLE,
        ("GET", "/sla/notices"): P.PEOPLE,
        ("GET", "/sla/{contact_id}"): P.PEOPLE,
        # where a value came from and where it goes, as it is
        ("GET", "/contacts/{contact_id}/consent"): P.TRACE,
        ("GET", "/contacts/{contact_id}/explain"): P.TRACE,
        ("GET", "/erasures/{erasure_id}"): P.TRACE,
        ("GET", "/ops/brakes/{connection}/{kind}/waiting"): P.TRACE,
        ("GET", "/ops/dead"): P.TRACE,
        ("GET", "/ops/dead/{letter_id}"): P.TRACE,
        ("GET", "/ops/drift/disagreements"): P.TRACE,
        ("GET", "/ops/events"): P.TRACE,
        ("GET", "/ops/events/{event_id}"): P.TRACE,
        ("GET", "/ops/plan"): P.TRACE,
        ("GET", "/ops/tombstones"): P.TRACE,
        # sales and marketing about leads
        ("POST", "/leads/{contact_id}/accept"): P.LEADS,
        ("POST", "/leads/{contact_id}/recycle"): P.LEADS,
        ("POST", "/leads/{contact_id}/reject"): P.LEADS,
        ("POST", "/leads/{contact_id}/stage"): P.LEADS,
        ("POST", "/sla/{contact_id}/pause"): P.LEADS,
        ("POST", "/sla/{contact_id}/reassign"): P.LEADS,
        ("POST", "/sla/{contact_id}/resume"): P.LEADS,
        # who is who, and which value is right
        ("POST", "/conflicts/{conflict_id}/decide"): P.DECIDE,
        ("POST", "/contacts/{contact_id}/split"): P.DECIDE,
        ("POST", "/matches"): P.DECIDE,
        ("POST", "/matches/{match_id}/decide"): P.DECIDE,
        ("POST", "/rulings/remove"): P.DECIDE,
        ("POST", "/undo"): P.DECIDE,
        ("POST", "/contacts/{contact_id}/consent"): P.CONSENT,
        ("POST", "/erasures"): P.ERASE,
        ("POST", "/ops/tombstones/{tombstone_id}/lift"): P.ERASE,
        # running it
        ("POST", "/ops/brakes/{connection}/{kind}/discard"): P.OPERATE,
        ("POST", "/ops/brakes/{connection}/{kind}/release"): P.OPERATE,
        ("POST", "/ops/connections/{name}/pause"): P.OPERATE,
        ("POST", "/ops/connections/{name}/resume"): P.OPERATE,
        ("POST", "/ops/dead/retry"): P.OPERATE,
        ("POST", "/ops/dead/{letter_id}/retry"): P.OPERATE,
        ("POST", "/ops/events/{event_id}/replay"): P.OPERATE,
        ("POST", "/ops/fields/resume"): P.OPERATE,
        ("POST", "/ops/plan"): P.OPERATE,
        ("POST", "/ops/reconcile"): P.OPERATE,
        ("POST", "/ops/replay"): P.OPERATE,
        # access itself
        ("GET", "/connections/{name}/authorize"): P.CONNECT,
        ("GET", "/ops/tokens"): P.CONNECT,
        ("GET", "/tokens"): P.ACCESS,
        ("POST", "/tokens"): P.ACCESS,
        ("POST", "/tokens/{token_id}/revoke"): P.ACCESS,
        ("GET", "/audit"): P.AUDIT,
    }
)


class Unlisted(RuntimeError):
    """A route has no line in the table of permissions."""


def needed(method: str, path: str) -> Permission | None:
    """What a route asks for; ``path`` as the route writes it.  None: it has no line, so nobody gets in."""
    return ROUTES.get(("GET" if method == "HEAD" else method, path))


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of every route that an app has; the methods that the framework answers by itself left out."""
    for route in _declared(app.routes):
        methods = getattr(route, "methods", None)
        for method in sorted(methods if methods is not None else {"ANY"}):
            if method != "HEAD" or methods is None or "GET" not in methods:
                yield method, str(getattr(route, "path", ""))


def _declared(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes as they were declared, without preparing them for requests, which takes half of the start.

    None of ours is included under a prefix; one that were would have no line under its whole path, and let nobody in.
    """
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from _declared(included.routes)


def check(app: FastAPI) -> None:
    """Raise Unlisted where a route has no line."""
    lacking = sorted({f"{method} {path}" for method, path in routes(app) if needed(method, path) is None})
    if lacking:
        raise Unlisted(f"no permission is named in app/ops/access/permissions.py for: {', '.join(lacking)}")


def page() -> str:
    """``docs/permissions.md``."""
    heads = " | ".join(Role)
    lines = [
        "# Who may do what",
        "",
        "Written by `make docs` from `app/ops/access/permissions.py`, which is what decides.",
        "`tests/test_permissions.py` walks over every route as every role. What roles and masks mean:",
        "[security.md](security.md).",
        "",
        "## Permissions by role",
        f"| permission | what | {heads} |",
        "|---|---|" + "---|" * len(Role),
    ]
    for permission in Permission:
        if permission in UNASKED:
            marks = ["yes"] * len(Role)
        else:
            marks = ["yes" if permission in ROLES[role] else "" for role in Role]
        lines.append(f"| `{permission}` | {ABOUT[permission]} | {' | '.join(marks)} |")
    lines += ["", "## Routes", "| route | permission |", "|---|---|"]
    for method, path in sorted(ROUTES, key=lambda one: (one[1], one[0])):
        lines.append(f"| `{method} {path}` | `{ROUTES[(method, path)]}` |")
    return "\n".join(lines) + "\n"
