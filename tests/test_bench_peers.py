"""The comparison with what a user would pick instead: its checker, and its handler among the simulated vendors."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bench.peers import __main__ as peers
from bench.peers import handler, measure, receivers
from bench.peers.check import Verdict, Write, judge
from bench.peers.vendors import ForgetfulHubSpot, NotedMailchimp, Vendors, fill, opened
from sandbox import hubspot as hubspot_sim
from sandbox.hubspot_events import POLICY
from sandbox.serve import Sandbox

PEOPLE = 20
ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
WANTED = {ANN: "Ulm", BOB: "Bonn", EVE: "Kiel"}
WROTE = [Write(1.0, ANN, "Ulm"), Write(2.0, BOB, "Bonn")]


@pytest.mark.parametrize(
    ("shown", "edits", "writes", "expected"),
    [
        pytest.param(WANTED, {ANN: 1, BOB: 1}, WROTE, Verdict(0, 0, 0, 2.0), id="all of it once"),
        pytest.param({**WANTED, BOB: "Jena"}, {ANN: 1, BOB: 1}, WROTE[:1], Verdict(1, 0, 0, None), id="never written"),
        pytest.param(
            {**WANTED, BOB: "Jena"},
            {ANN: 1, BOB: 2},
            [*WROTE, Write(3.0, BOB, "Jena")],
            Verdict(1, 0, 0, 2.0),
            id="an older value came last",
        ),
        pytest.param(WANTED, {ANN: 1, BOB: 1}, [*WROTE, WROTE[0]], Verdict(0, 1, 0, 2.0), id="written twice"),
        pytest.param(WANTED, {ANN: 2, BOB: 1}, [*WROTE, WROTE[0]], Verdict(0, 0, 0, 2.0), id="two edits, two writes"),
        pytest.param(WANTED, {ANN: 5, BOB: 1}, WROTE, Verdict(0, 0, 0, 2.0), id="five edits that landed as one"),
        pytest.param(WANTED, {ANN: 1}, WROTE, Verdict(0, 0, 1, 1.0), id="somebody whom nobody edited"),
        pytest.param({ANN: "Ulm", BOB: "Bonn"}, {ANN: 1, BOB: 1}, WROTE, Verdict(1, 0, 0, 2.0), id="a member is gone"),
        pytest.param(WANTED, {}, [], Verdict(0, 0, 0, None), id="nothing happened"),
    ],
)
def test_the_checker_tells_who_lost_and_who_doubled(
    shown: dict[str, str], edits: dict[str, int], writes: list[Write], expected: Verdict
) -> None:
    """It knows what both sides hold, and every write; not who wrote."""
    assert judge(WANTED, shown, edits, writes) == expected


class Here(receivers.Handler):
    """The handler in a thread of this process."""

    def command(self) -> list[str]:
        raise AssertionError("it runs already")


@contextmanager
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[measure.Course]:
    """Both vendors and the handler; nobody waits for what does not come."""
    monkeypatch.setattr(measure, "QUIET", 0.2)
    # On a machine with much to do a delivery may take long, and one that is tried again would be counted as doubled.
    monkeypatch.setattr(hubspot_sim, "POLICY", replace(POLICY, timeout=100.0))
    hubspot, mailchimp = ForgetfulHubSpot(), NotedMailchimp()
    fill(hubspot, mailchimp, PEOPLE)
    with Sandbox(hubspot, mailchimp) as sandbox:
        vendors = Vendors(opened(sandbox))
        receiver = Here(tmp_path, vendors)
        for name, value in receiver.environment().items():
            monkeypatch.setenv(name, value)
        server = uvicorn.Server(uvicorn.Config(handler.app, port=receiver.port, log_config=None, access_log=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        try:
            measure_until(receiver)
            vendors.tell(receiver.url)
            yield measure.Course(vendors, receiver)
        finally:
            server.should_exit = True
            thread.join()
            vendors.close()


def measure_until(receiver: receivers.Receiver) -> None:
    """Wait until it answers; a delivery that nobody signed is refused."""
    while not receiver.there():
        pass


def test_the_handler_brings_twenty_changes_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each with one look at HubSpot and one write to Mailchimp; and the saboteur that forgets one is caught."""
    with stage(monkeypatch, tmp_path) as course:
        found = course.burst(PEOPLE)
        assert (found["lost"], found["doubled"], found["unasked"]) == (0, 0, 0)
        assert (found["calls_hubspot"], found["calls_mailchimp"], found["answered"]) == (PEOPLE, PEOPLE, PEOPLE)
        single = course.single(1)
        assert (single["edits"], single["not_landed"]) == (1, 0)

        carry, seen = handler.carry, []

        async def forgetful(contact_id: int) -> None:
            seen.append(contact_id)
            if len(seen) > 1:
                await carry(contact_id)
                await carry(contact_id)

        monkeypatch.setattr(handler, "carry", forgetful)
        found = course.burst(PEOPLE)
        assert (found["lost"], found["doubled"], found["seconds"]) == (1, PEOPLE - 1, None)


def test_what_is_not_installed_is_skipped_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is measured all the same."""
    monkeypatch.setattr(receivers, "FOLDER", tmp_path)
    monkeypatch.setattr(receivers.shutil, "which", lambda _: "/usr/bin/node")
    found = peers.measure([receivers.NodeRed, receivers.N8n], 1, 1, 1, [50])
    assert found["vendors answer after 50 ms"] == {}
    assert [(name, "make bench-peers-install" in of["skipped"]) for name, of in found["peers"].items()] == [
        ("nodered", True),
        ("n8n", True),
    ]
    assert "n8n: skipped" in capsys.readouterr().err


def test_figures_stand_beside_those_of_tandem() -> None:
    """In parts of them; and the bars are those of the same run."""

    def of(rate: float, p95: float, lost: int) -> dict[str, Any]:
        burst = {"per_second": rate, "calls_of_one_change": 2.0, "memory_mb": 100}
        return {"burst": burst, "single": {"p50_ms": 10.0, "p95_ms": p95}, "killed": {"lost": lost}}

    tandem, nodered, n8n = of(500.0, 200.0, 0), of(100.0, 150.0, 700), of(20.0, 300.0, 700)
    assert peers.beside(nodered, tandem) == {"per_second": 0.2, "p50": 1.0, "p95": 0.75, "calls": 1.0, "memory": 1.0}
    assert peers.bars({"tandem": tandem, "nodered": nodered, "n8n": n8n}) == {
        "p95 of single edits at most 250 ms": True,
        "nothing lost at SIGKILL": True,
        "ahead of nodered": True,
        "more than 50 times the changes of n8n": False,
    }
    assert peers.bars({"nodered": nodered}) == {}


def test_the_flows_name_no_vendor_but_by_their_placeholders(tmp_path: Path) -> None:
    """They are filled for each run, and every placeholder is."""
    said = {
        "hubspot": {"url": "http://hub", "token": "t", "secret": "s"},
        "mailchimp": {"url": "http://chimp/3.0", "key": "k", "list": "l"},
    }
    vendors = Vendors(said)
    for kind in (receivers.NodeRed, receivers.N8n):
        written = kind(tmp_path, vendors).write_flow().read_text()
        assert json.loads(written)
        assert "@HUBSPOT" not in written
        assert "@MAILCHIMP" not in written
        assert "http://hub/crm/v3/objects/contacts/" in written
        assert "http://chimp/3.0/lists/l/members/" in written
    vendors.close()
