"""The facts that conditions may ask for: their names and types, and how they change with each happening.  Pure.

======================= ==============================================================================================
``contact.<field>``     the canonical fields, ``contact.custom.<name>`` those of the mappings
``company.<field>``     of the main company
``deals.…``             ``open``, ``won``, ``lost``: how many; ``last_won`` …: when; ``lost_reasons``
``engagement.<kind>.…`` ``count``; ``human``: by a person; ``first``, ``last``: when; for each kind of engagement
``engagement.…``        ``last``: the person did something; ``last_touch``: a colleague did; ``forms``, ``campaigns``;
                        ``outcomes``: ``call:connected``, ``meeting:held`` …
``consent.<channel>.…`` ``status``, ``stops``
``lead.…``              ``stage``, ``status``, ``since``, ``recycled`` …: as the agreement has it at that moment
======================= ==============================================================================================

A fact that nobody ever said is not known.  A number is never unknown where nothing happened: zero calls are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.agreement.conditions import Kind
from app.agreement.words import Act, Happening
from app.agreement.words import Kind as Happened
from app.core.clock import to_ms
from app.core.fields import FIELDS, GOVERNED, Type
from app.core.words import Channel

ACTS: Final = (
    *("send", "open", "click", "bounce", "unsubscribe", "complaint", "reply", "form", "page_visit", "survey", "event"),
    *("call", "meeting", "mail", "message", "note", "task"),
)
"""Kinds of engagement."""

OURS: Final = frozenset({"call", "meeting", "mail", "message"})
"""Those by which a colleague gets in touch.  A note or a task reaches nobody."""

DOING: Final = (*sorted(OURS), "event", "survey")
"""Those that somebody can decide to do next with a lead, or to invite them to."""

THEIRS: Final = frozenset({"open", "click", "reply", "form", "page_visit", "survey", "event"})
"""Those by which the person does something."""

RECEIVED: Final = "received"
"""The outcome of a call, mail or message that came from the person."""

COMPANY: Final[Mapping[str, Kind]] = {
    "domain": Kind.TEXT,
    "name": Kind.TEXT,
    "industry": Kind.TEXT,
    "country": Kind.TEXT,
    "city": Kind.TEXT,
    "employees": Kind.NUMBER,
    "revenue": Kind.NUMBER,
}
LEAD: Final[Mapping[str, Kind]] = {
    "stage": Kind.TEXT,
    "status": Kind.TEXT,
    "since": Kind.MOMENT,
    "handed_at": Kind.MOMENT,
    "accepted_at": Kind.MOMENT,
    "recycled_at": Kind.MOMENT,
    "recycled": Kind.WHOLE,
    "attempts": Kind.WHOLE,
}
_DEALS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("open", "won", "lost"), Kind.WHOLE),
    **dict.fromkeys(("first_open", "last_won", "last_lost"), Kind.MOMENT),
    "lost_reasons": Kind.LIST,
}
_TYPES: Final[Mapping[Type, Kind]] = {
    Type.TEXT: Kind.TEXT,
    Type.NUMBER: Kind.NUMBER,
    Type.BOOL: Kind.TRUTH,
    Type.DATE: Kind.MOMENT,
    Type.DATETIME: Kind.MOMENT,
    Type.LIST: Kind.LIST,
}
MOST: Final = 200  # names that one of the lists holds


def names(customs: Mapping[str, Type] | None = None) -> dict[str, Kind]:
    """All facts by name.  ``customs``: the custom fields of the mappings, without their prefix."""
    found = {f"contact.{f.name}": _TYPES[f.type] for f in FIELDS.values() if f.name not in GOVERNED}
    found |= {f"contact.custom.{name}": _TYPES[kind] for name, kind in (customs if customs is not None else {}).items()}
    found |= {f"company.{name}": kind for name, kind in COMPANY.items()}
    found |= {f"deals.{name}": kind for name, kind in _DEALS.items()}
    for act in ACTS:
        found |= {f"engagement.{act}.{name}": Kind.WHOLE for name in ("count", "human")}
        found |= {f"engagement.{act}.{name}": Kind.MOMENT for name in ("first", "last")}
    found |= {f"engagement.{name}": Kind.MOMENT for name in ("last", "last_touch")}
    found |= {f"engagement.{name}": Kind.LIST for name in ("forms", "campaigns", "outcomes")}
    for channel in Channel:
        found |= {f"consent.{channel}.status": Kind.TEXT, f"consent.{channel}.stops": Kind.TRUTH}
    return found | {f"lead.{name}": kind for name, kind in LEAD.items()}


def beginning() -> dict[str, Any]:
    """What is known of somebody to whom nothing happened yet."""
    known: dict[str, Any] = {f"deals.{name}": 0 for name in ("open", "won", "lost")}
    known |= {f"engagement.{act}.{name}": 0 for act in ACTS for name in ("count", "human")}
    known |= {f"engagement.{name}": [] for name in ("forms", "campaigns", "outcomes")}
    return known | {"deals.lost_reasons": [], "lead.recycled": 0, "lead.attempts": 0}


def apply(known: dict[str, Any], happening: Happening) -> Iterable[str]:
    """Let something happen to what is known; the names of the facts that it may have changed."""
    if happening.act is not None:
        return _act(known, happening.act, happening.at)
    if happening.kind is Happened.DEAL:
        return _deal(known, happening)
    for name, value in happening.values.items():
        if value is None:
            known.pop(name, None)
        else:
            known[name] = value
    return happening.values


def _act(known: dict[str, Any], act: Act, at: int) -> list[str]:
    stem = f"engagement.{act.kind}"
    changed = [f"{stem}.count", f"{stem}.last"]
    known[changed[0]] = known.get(changed[0], 0) + 1
    known[changed[1]] = at
    if f"{stem}.first" not in known:
        known[f"{stem}.first"] = at
        changed.append(f"{stem}.first")
    if act.human:
        known[f"{stem}.human"] = known.get(f"{stem}.human", 0) + 1
        changed.append(f"{stem}.human")
    # A mail program that loads pictures by itself is no person who reads.
    theirs = act.kind in THEIRS or act.outcome == RECEIVED
    name = "last" if theirs and act.human is not False else "last_touch" if act.kind in OURS and not theirs else None
    if name is not None:
        known[f"engagement.{name}"] = at
        changed.append(f"engagement.{name}")
    outcome = f"{act.kind}:{act.outcome}" if act.outcome is not None else None
    for name, value in (("forms", act.form), ("campaigns", act.campaign), ("outcomes", outcome)):
        path = f"engagement.{name}"
        held = known.get(path, [])
        if value is not None and value not in held and len(held) < MOST:
            known[path] = [*held, value]
            changed.append(path)
    return changed


def _deal(known: dict[str, Any], happening: Happening) -> list[str]:
    """One step of one deal: what it was before counts no more."""
    deal, status = happening.values.get("deal"), happening.values.get("status")
    paths = [f"deals.{name}" for name in _DEALS]
    were = [known.get(path) for path in paths]
    held: dict[str, str] = known.setdefault("_deals", {})
    before = held.get(str(deal))
    held[str(deal)] = str(status)
    if before != status:
        if before is not None:
            known[f"deals.{before}"] -= 1
        known[f"deals.{status}"] = known.get(f"deals.{status}", 0) + 1
    if status == "open":
        known.setdefault("deals.first_open", happening.at)
    elif before != status:
        known[f"deals.last_{status}"] = happening.at
    reason = happening.values.get("lost_reason")
    if reason is not None and reason not in known["deals.lost_reasons"]:
        known["deals.lost_reasons"] = [*known["deals.lost_reasons"], reason]
    return [path for path, was in zip(paths, were, strict=True) if known.get(path) != was]


def plain(value: Any, kind: Type) -> Any:
    """A canonical value as conditions see it: numbers as such, dates and moments in ms.  None stays None."""
    if value is None:
        return None
    if kind is Type.NUMBER:
        return float(value)
    if kind is Type.DATE:
        return to_ms(datetime.fromisoformat(value).replace(tzinfo=UTC))
    return to_ms(datetime.fromisoformat(value)) if kind is Type.DATETIME else value


def of_field(name: str, value: Any, customs: Mapping[str, Type]) -> tuple[str, Any] | None:
    """A canonical field's value as a fact: its name and value; None for what no condition may ask."""
    if name in FIELDS:
        kind: Type | None = FIELDS[name].type if name not in GOVERNED else None
    else:
        kind = customs.get(name.removeprefix("custom."))
    if kind is None:
        return None
    try:
        return f"contact.{name}", plain(value, kind)
    except (TypeError, ValueError):  # of a type that the field had under an older mapping
        return f"contact.{name}", None


def of_company(name: str, value: Any) -> Any:
    """A company's value as conditions see it; None for what is none of that kind."""
    if COMPANY[name] is not Kind.NUMBER:
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
