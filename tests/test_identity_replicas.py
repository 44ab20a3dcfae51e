"""Two replicas, two connections, the same new people at the same moment: one contact each."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database
from tests.reader_process import TWO, persons

MANY = 200
PATIENCE = 60  # s, on a busy machine; it takes three


def meet(database: Database, *how: str) -> None:
    """Let a replica of each connection start, and fetch at the same moment."""
    url = database.url.render_as_string(hide_password=False)
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.reader_process", url, name, str(MANY), *how],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in TWO
    ]
    try:
        for replica in replicas:
            assert replica.stdout is not None
            assert replica.stdout.readline() == "ready\n"
        for replica in replicas:
            assert replica.stdin is not None
            replica.stdin.write("go\n")
            replica.stdin.flush()
        for replica in replicas:
            replica.communicate(timeout=PATIENCE)
            assert replica.returncode == 0
    finally:
        for replica in replicas:
            replica.kill()
            replica.wait()


def faults(database: Database) -> Sequence[str]:
    """What is wrong with who is who."""
    with database.read() as db:
        mails = Counter(facts["email"]["v"] for facts in db.execute(select(t.contact.c.facts)).scalars())
        pairs: dict[int, list[str]] = {}
        for number, name in db.execute(select(t.link.c.contact_id, t.link.c.connection)):
            pairs.setdefault(number, []).append(name)
        dead = db.execute(select(t.dead)).all()
    wanted = {person["mail"] for person in persons(MANY)}
    found = {
        "lost": wanted - set(mails),
        "invented": set(mails) - wanted,
        "doubled": [mail for mail, times in mails.items() if times > 1],
        "not paired": [number for number, names in pairs.items() if sorted(names) != sorted(TWO)],
        "given up": dead,
    }
    return [what for what, some in found.items() if some]


def test_each_new_person_becomes_one_contact(database: Database) -> None:
    """None lost, none doubled, each with the records of both vendors."""
    meet(database)
    assert faults(database) == []


def test_replicas_that_do_not_ask_are_found_out(database: Database) -> None:
    """Without the look at who owns an address everybody is there twice."""
    meet(database, "blind")
    assert faults(database) == ["doubled", "not paired"]
