"""Several processes on one database: real processes, real sockets, the vendor's simulator."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from app.core import tables as t
from app.core.db import Database
from app.push import work
from app.records import state
from sandbox.serve import Sandbox
from tests.test_journey import until

ROOT = Path(__file__).parents[1]
CONFIG = """
connections:
  - {{name: hubspot, connector: hubspot, mode: live, settings: {{base_url: "{hubspot}"}}}}
"""
CALLS, SECONDS = 12, 5.0  # what the vendor allows here; we use 0.8 of it
WANTED = 22  # calls to look at: some windows


@contextlib.contextmanager
def running(module: str, *arguments: str, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that will say when it is ready; killed at the end if it does not end by itself."""
    command = [sys.executable, "-m", module, *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**os.environ, **env}, cwd=ROOT, **pipes)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        process.stdout.close()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of its standard output."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    """A line on its standard input."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def dirty(database: Database, count: int) -> None:
    """So many contacts that HubSpot does not have yet."""
    with database.write() as db:
        state.ensure(db, ["hubspot"])
        for n in range(1, count + 1):
            fact = {"v": f"p{n}@example.org", "s": "web", "t": 1, "r": "first", "e": None}
            row = {"id": n, "version": 1, "facts": {"email": fact}, "created_at": 1, "updated_at": 1}
            db.execute(insert(t.contact).values(**row))
        work.mark(db, "hubspot", dict.fromkeys(range(1, count + 1), 1))


def fullest(sandbox: Sandbox) -> tuple[int, int]:
    """How many calls came in all, and in the fullest window of the vendor's length."""
    calls = httpx.get(f"{sandbox.hubspot_url}/_sandbox/calls").json()["calls"]
    times = [call["time"] for call in calls]
    return len(times), max((sum(s <= at < s + SECONDS for at in times) for s in times), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["together", "each for itself"])
def test_three_processes_keep_one_rate(database: Database, tmp_path: Path, shared: bool) -> None:
    """Three worker processes never make more calls than the vendor allows one account.

    Saboteur: each with a budget of its own, they do, and the count finds it.
    """
    config = tmp_path / "tandem.yml"
    dirty(database, 400)
    with Sandbox() as sandbox, contextlib.ExitStack() as stack:
        config.write_text(CONFIG.format(hubspot=sandbox.hubspot_url))
        env = {
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_SHARED_BUDGET": str(shared),
            "TANDEM_LOG_LEVEL": "ERROR",
            "TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token,
            "TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret,
        }
        three = [stack.enter_context(running("tests.replica", str(CALLS), str(SECONDS), env=env)) for _ in range(3)]
        assert [said(process) for process in three] == ["ready"] * 3
        for process in three:
            tell(process)
        until(lambda: fullest(sandbox)[0] >= WANTED or (not shared and fullest(sandbox)[1] > CALLS))
        _, most = fullest(sandbox)
        assert (most <= CALLS) is shared
