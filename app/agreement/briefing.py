"""The one page for the joint meeting: a period in, its sections out, compared with the brief before.  Reads only.

Every section is a table whose first column names the line and whose second is its figure, so that each figure stands
beside that of the last brief.  What cannot be said for sure (a rate of few, a definition over which the two disagree)
becomes a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection as Db

from app.agreement import pledges
from app.agreement.judging import NO_REASON, TOO_EARLY, UNKNOWN_REASON
from app.agreement.quotas import Judgement, wilson
from app.agreement.versions import Versions
from app.core.clock import from_ms
from app.core.db import clock_of
from app.records import briefs, leads

Body: TypeAlias = dict[str, Any]
"""``start``, ``end`` (days), ``since`` (of the last brief, or None), ``sections``, ``questions``; JSON-able."""

_FLAGS: Final = {
    NO_REASON: "given back without a reason",
    UNKNOWN_REASON: "given back for a reason that the agreement does not know",
    TOO_EARLY: "given back before it was tried",
}


def brief(db: Db, versions: Versions, start: int, end: int) -> Body:
    """The brief of the period from ``start`` to before ``end`` (ms since 1970), kept nowhere.

    Raises ValueError for a period that does not end after it starts.
    """
    if end <= start:
        raise ValueError("a brief is about a period that ends after it starts")
    now = clock_of(db)
    before = briefs.last(db, end - 1)
    promises = pledges.standings(db, versions, min(now, end), end - 1)
    questions: list[str] = []
    sections = [
        _versions(db, start, end),
        _moved(db, versions, start, end),
        _sales(db, start, end, questions),
        _late(db, start, end),
        _marketing(promises, questions),
        _claims(db, start, end, questions),
        _back(db, versions, start, end),
        _wins(db, start, end),
        _joint(db, questions),
    ]
    if before is not None:
        sections = [_beside(s, before["body"]["sections"]) for s in sections]
    since = from_ms(before["end_at"]).date().isoformat() if before is not None else None
    days = {"start": from_ms(start).date().isoformat(), "end": from_ms(end - 1).date().isoformat()}
    return {**days, "since": since, "sections": sections, "questions": questions}


def _section(name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> Body:
    return {"name": name, "title": title, "columns": list(columns), "rows": [list(r) for r in rows], "empty": empty}


def _beside(section: Body, earlier: Sequence[Body]) -> Body:
    """The section with the figures of the last brief in a third column; lines that are gone are 0 now."""
    old = {r[0]: r[1] for s in earlier if s["name"] == section["name"] for r in s["rows"]}
    rows = [[*r[:2], old.get(r[0]), *r[2:]] for r in section["rows"]]
    known, width = {r[0] for r in rows}, len(section["columns"]) + 1
    if section["name"] not in {"versions", "marketing"}:
        rows += [[key, 0, value, *[None] * (width - 3)] for key, value in old.items() if key not in known and value]
    columns = section["columns"]
    return {**section, "columns": [*columns[:2], "last time", *columns[2:]], "rows": rows}


def _versions(db: Db, start: int, end: int) -> Body:
    rows = []
    for v in leads.versions(db):
        if any(v[n] is not None and start <= v[n] < end for n in ("sales_at", "marketing_at", "in_force")):
            state = "in force" if v["in_force"] is not None else "not signed by both"
            since = from_ms(v["in_force"]).date().isoformat() if v["in_force"] is not None else None
            rows.append((f"version {v['id']} ({v['digest']})", state, since, v["sales_by"], v["marketing_by"]))
    names = ("agreement", "state", "from", "for sales", "for marketing")
    return _section("versions", "What changed in the agreement", names, rows, "Nothing was signed.")


def _moved(db: Db, versions: Versions, start: int, end: int) -> Body:
    counts = briefs.steps(db, start, end)
    version = versions.at(end - 1)
    order = [s.name for s in version.agreement.stages] if version is not None else []
    stages = [(f"came to {n}", counts[("stage", n)]) for n in order if ("stage", n) in counts]
    others = sorted(n for what, n in counts if what == "stage" and n not in order)
    stages += [(f"came to {n}", counts[("stage", n)]) for n in others]
    words = {"new": "handed over", "accepted": "accepted by sales", "qualified": "qualified by sales"}
    words |= {"recycled": "given back", "rejected": "given back for good"}
    stages += [(words[n], counts[("status", n)]) for n in words if ("status", n) in counts]
    return _section("moved", "What happened to leads", ("step", "leads"), stages, "No lead moved.")


def _sales(db: Db, start: int, end: int, questions: list[str]) -> Body:
    rows = []
    for name, (good, bad) in sorted(briefs.kept(db, start, end).items()):
        low, high = wilson(good, good + bad)
        rows.append((name, bad, good, f"{good / (good + bad):.0%}", f"{low:.0%} to {high:.0%}"))
        if bad > good:
            questions.append(f"{name} was broken more often than kept ({bad} of {good + bad}): is it too short?")
    names = ("clock", "broken", "kept", "share", "95 % interval")
    return _section("sales", "What sales owed", names, rows, "No clock was due.")


def _late(db: Db, start: int, end: int) -> Body:
    rows = sorted(briefs.late_by(db, start, end).items(), key=lambda r: (-r[1], r[0]))
    shown = [(name if name != "" else "nobody in charge", count) for name, count in rows]
    return _section("late", "Breaches by colleague", ("colleague", "breaches"), shown, "None.")


def _marketing(standings: Sequence[Any], questions: list[str]) -> Body:
    rows = []
    for s in standings:
        rate = s.low is not None or s.target <= 1 < s.count.leads
        so_far = s.so_far if s.so_far is None or not rate else round(s.so_far, 3)
        rows.append((s.quota, so_far, s.target, s.period.label, str(s.judgement), s.count.leads, s.count.accepted))
        if s.small:
            questions.append(f"{s.quota}: only {s.count.decided} leads are decided, which says little about the rate.")
        if s.judgement in {Judgement.MISSED, Judgement.BEHIND}:
            questions.append(f"{s.quota} is {s.judgement} in {s.period.label}: what does marketing need?")
    names = ("promise", "so far", "target", "period", "judgement", "leads", "accepted")
    return _section("marketing", "What marketing owed", names, rows, "The agreement names no promise of marketing.")


def _claims(db: Db, start: int, end: int, questions: list[str]) -> Body:
    rows = []
    for source, word, value, finding, count in briefs.claims(db, start, end):
        rows.append((f"{source}: {word} {value}".rstrip(), count, finding))
        if finding == "refused" and word == "stage":
            questions.append(
                f"{source} says {value!r} where the agreement does not ({count} times): what do both mean?"
            )
    names = ("said", "times", "finding")
    return _section("claims", "Conflicts of definition", names, rows, "Everybody said what the agreement says.")


def _back(db: Db, versions: Versions, start: int, end: int) -> Body:
    version = versions.at(end - 1)
    means = {n: r.means for n, r in version.agreement.reasons.items()} if version is not None else {}
    rows = sorted(briefs.given_back(db, start, end).items(), key=lambda r: (-r[1], r[0]))
    shown = [(name, count, means.get(name)) for name, count in rows]
    return _section(
        "back", "What sales says about quality", ("reason", "leads", "means"), shown, "None was given back."
    )


def _wins(db: Db, start: int, end: int) -> Body:
    rows = []
    for campaign, currency, count, amount in briefs.wins(db, start, end):
        source = campaign if campaign != "" else "no campaign"
        rows.append((f"{source} ({currency})" if currency != "" else source, count, str(amount)))
    return _section("wins", "Deals won, by the campaign that came first", ("source", "deals", "amount"), rows, "None.")


def _joint(db: Db, questions: list[str]) -> Body:
    rows = []
    for flag, contacts in sorted(briefs.flagged(db).items()):
        named = ", ".join(map(str, contacts[: briefs.EXAMPLES]))
        rows.append((_FLAGS.get(flag, flag), len(contacts), named))
        questions.append(f"{len(contacts)} leads are {_FLAGS.get(flag, flag)}: who takes them? (contacts {named})")
    for v in leads.versions(db):
        if v["in_force"] is None:
            missing = "sales" if v["sales_by"] is None else "marketing"
            questions.append(f"Version {v['id']} of the agreement waits for the signature of {missing}.")
    return _section("joint", "The joint list, now", ("what", "leads", "e.g. contacts"), rows, "Nothing is flagged.")
