"""What stands wrong right now, as alarms: for those who look at nothing but these.

A connection that rests, a vendor that fails, a mass change that waits, a backlog that nobody works off, what was given
up, and an objection that a vendor has not heard of.  The figures are shown elsewhere too; here they reach a person.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import clock_of
from app.entry import inbox
from app.push import brake, work
from app.records import alarms
from app.records.alarms import Kind
from app.sync.connection import Connections

s, d = t.connection_state.c, t.dead.c

FAILING_MS: Final = 600_000  # a vendor's hiccup is no alarm
FORGOTTEN_MS: Final = 86_400_000  # a pause that an operator set, and an hour's work that lasts a day
WAITS_MS: Final = 300_000  # as for readiness: docs/operate.md
LATELY_MS: Final = 86_400_000  # dead letters older than this are known


def judge(db: Db, connections: Connections) -> list[tuple[str, str]]:
    """Raise and clear; (kind, connection) of what is new.  No vendor's words are repeated."""
    now = clock_of(db)
    alarms.orphaned(db, connections)
    rows = {row["name"]: row for row in db.execute(select(t.connection_state)).mappings()}
    stopped: dict[str, dict[str, str]] = {}
    for on in brake.listed(db):
        name, kind = str(on["connection"]), str(on["kind"])
        stopped.setdefault(name, {})[kind] = (
            f"{name}: a brake is on for {kind}, {on['waiting']:,} links wait: look with "
            f"`tandem brake show {name} {kind}`, then release or discard"
        )
    objected = work.objections(db)
    open_ = {(kind, name) for kind, name in alarms.counts(db)}
    given_up = {
        str(row[0]): int(row[1])
        for row in db.execute(select(d.connection, func.count()).where(d.at > now - LATELY_MS).group_by(d.connection))
    }
    new: list[tuple[str, str]] = []
    for name, connection in connections.items():
        row = rows.get(name)
        resting = row is not None and row["paused"] == 1
        found: dict[Kind, dict[str, str]] = {kind: {} for kind in _KINDS}
        found[Kind.BRAKE] = stopped.get(name, {})
        if row is not None and resting and (str(Kind.ACCESS), name) not in open_:
            own = row["paused_by"] == "tandem"
            if own or now - row["paused_at"] > FORGOTTEN_MS:
                why = "what it needs a person for" if own else "who paused it"
                found[Kind.REST][""] = (
                    f"{name}: rests, nothing is read or written there; `tandem status` says {why}, "
                    f"`tandem resume {name}` goes on"
                )
        if row is not None and row["failing_since"] is not None and now - row["failing_since"] > FAILING_MS:
            found[Kind.VENDOR][""] = (
                f"{name}: the vendor has been failing for more than {FAILING_MS // 60_000} minutes; it is tried again "
                "by itself, `tandem status` says how it fails"
            )
        since = None if resting else inbox.overdue(db, name)
        if since is not None and now - since > WAITS_MS:
            found[Kind.BACKLOG][""] = (
                f"{name}: events wait for more than {WAITS_MS // 60_000} minutes; `tandem status` shows whether "
                "workers are alive"
            )
        if connection.writes and now - objected.get(name, now) > WAITS_MS:
            found[Kind.WITHDRAWAL][""] = (
                f"{name}: somebody objected more than {WAITS_MS // 60_000} minutes ago, and the vendor has not heard "
                "of it; send nothing from there until `tandem status` shows that it goes on"
            )
        if name in given_up:
            found[Kind.DEAD][""] = (
                f"{name}: {given_up[name]:,} given up within a day; `tandem dead list --connection {name}` says why "
                "and what to do"
            )
        for kind, words in found.items():
            new += [(str(kind), name) for _ in alarms.kept(db, kind, name, words)]
    return new


_KINDS: Final = (Kind.REST, Kind.VENDOR, Kind.BRAKE, Kind.BACKLOG, Kind.WITHDRAWAL, Kind.DEAD)
