"""What both simulators have in common: trouble on demand, the log, the people, the command line."""

from __future__ import annotations

import ast
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox import people
from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.sandboxed import CONTACTS, PATIENCE, Receiver, create, join, md5, settled, values

running, sandbox, hs, mc, members, receiver = (
    stage.running,
    stage.sandbox,
    stage.hs,
    stage.mc,
    stage.members,
    stage.receiver,
)  # the fixtures
ROOT = Path(__file__).resolve().parent.parent
CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError)  # a reset: whether the end or the error is seen first is chance


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome", "landed"),
    [
        ({"kind": "status", "status": 429, "retry_after": 2}, 429, False),
        ({"kind": "status", "status": 503}, 503, False),
        ({"kind": "html"}, 502, False),
        ({"kind": "html", "status": 200}, 200, False),
        ({"kind": "slow", "delay": 0.01}, 200, True),
        ({"kind": "reset"}, CUT_OFF, False),
        ({"kind": "reset", "after": True}, CUT_OFF, True),
        ({"kind": "timeout_before"}, httpx.ReadTimeout, False),
        ({"kind": "timeout_after"}, httpx.ReadTimeout, True),
        ({"kind": "timeout_after", "delay": 0.01}, httpx.RemoteProtocolError, True),
        ({"kind": "status", "method": "GET"}, 200, True),
        ({"kind": "status", "match": "^/elsewhere"}, 200, True),
        ({"kind": "status", "rate": 0}, 200, True),
    ],
    ids=str,
)
def test_faults_strike_calls(
    hs: httpx.Client, fault: dict[str, Any], outcome: int | type[Exception] | tuple[type[Exception], ...], landed: bool
) -> None:
    """Each kind of trouble ends as it says, and takes effect only where it says so; the log knows both."""
    id_ = create(hs, email="a@example.com", city="Bonn")
    assert hs.post("/_sandbox/faults", json={"match": "/contacts", "method": "PATCH", **fault}).status_code == 201
    change: Callable[[], httpx.Response] = lambda: hs.patch(  # noqa: E731
        f"{CONTACTS}/{id_}", json={"properties": {"city": "Kiel"}}, timeout=0.3
    )
    if isinstance(outcome, int):
        answer = change()
        assert answer.status_code == outcome
        assert answer.headers.get("retry-after") == ("2" if "retry_after" in fault else None)
        assert ("<h1>" in answer.text) == (fault["kind"] == "html")
    else:
        with pytest.raises(outcome):
            change()
    hs.delete("/_sandbox/faults")
    assert hs.get("/_sandbox/faults").json() == {"faults": []}
    assert values(hs, id_, "city") == ["Kiel" if landed else "Bonn"]
    last = [c for c in hs.get("/_sandbox/calls").json()["calls"] if c["method"] == "PATCH"][-1]
    struck = fault["kind"] if fault.get("rate", 1) and "match" not in fault and fault.get("method") != "GET" else None
    assert last["fault"] == struck
    assert last["status"] == (outcome if isinstance(outcome, int) else 200 if landed else None)


def test_faults_strike_as_often_as_they_say(hs: httpx.Client) -> None:
    """A count ends a rule; a rate is a share, the same one for the same seed; the first rule that strikes wins."""
    hs.post("/_sandbox/faults", json={"kind": "status", "status": 500, "count": 2})
    hs.post("/_sandbox/faults", json={"kind": "status", "status": 429, "rate": 0.5})
    first = [hs.get(CONTACTS).status_code for _ in range(60)]
    assert first[:2] == [500, 500]
    assert 10 < first.count(429) < 50
    assert [r["struck"] for r in hs.get("/_sandbox/faults").json()["faults"]] == [2, first.count(429)]


def test_faults_leave_some_callers_in_peace(hs: httpx.Client) -> None:
    """Trouble for everybody but those of a given User-Agent, and whoever checks is not disturbed by it."""
    hs.post("/_sandbox/faults", json={"kind": "status", "status": 500, "agent": "^(?!checker)"})
    assert hs.get(CONTACTS).status_code == 500
    assert hs.get(CONTACTS, headers={"user-agent": "checker/1"}).status_code == 200


def test_an_answer_that_is_not_heard_is_tried_again(hs: httpx.Client, receiver: Receiver) -> None:
    """The receiver has taken the delivery, yet it comes again, and counts as delivered once it is heard."""
    hs.post("/_sandbox/webhooks", json={"url": receiver.url})
    hs.post("/_sandbox/faults", json={"kind": "deaf_webhook", "count": 1})
    create(hs, email="a@example.com")
    state = settled(hs)
    assert receiver.take().events == [{**e, "attemptNumber": 0} for e in receiver.take().events]
    assert [d["answers"] for d in state["deliveries"]] == [[None, 200]]
    assert (state["delivered"], state["failed"]) == (2, 0)


@pytest.mark.parametrize(
    "fault", [{"kind": "nonsense"}, {}, {"kind": "status", "match": "("}, {"kind": "status", "rat": 1}], ids=str
)
def test_faults_that_make_no_sense_are_refused(hs: httpx.Client, fault: dict[str, Any]) -> None:
    """A typing error in a rule must not look like a system without faults."""
    assert hs.post("/_sandbox/faults", json=fault).status_code == 400


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "drop_webhook", "match": "propertyChange"}, ["contact.creation"]),
        ({"kind": "duplicate_webhook", "match": "creation"}, ["contact.creation"] * 2 + ["contact.propertyChange"]),
        ({"kind": "delay_webhook", "match": "creation", "delay": 0.05}, ["contact.creation", "contact.propertyChange"]),
        ({"kind": "reorder_webhooks"}, ["contact.creation", "contact.propertyChange"]),
    ],
)
def test_faults_strike_webhooks(hs: httpx.Client, receiver: Receiver, fault: dict[str, Any], told: list[str]) -> None:
    """Events are dropped, doubled, held back or shuffled; how many were dropped is known."""
    hs.post("/_sandbox/webhooks", json={"url": receiver.url})
    hs.post("/_sandbox/faults", json=fault)
    create(hs, email="a@example.com")
    state = settled(hs)
    events: list[dict[str, Any]] = []
    while len(events) < len(told):
        events += receiver.take().events
    assert sorted(e["subscriptionType"] for e in events) == sorted(told)
    assert state["dropped"] == (1 if fault["kind"] == "drop_webhook" else 0)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_every_call_is_in_the_log(hs: httpx.Client, mc: httpx.Client, members: str) -> None:
    """The log says who called what, whether it writes, how many records it is about, and no secret."""
    create(hs, email="a@example.com")
    hs.get(f"{CONTACTS}?limit=5&hapikey=secret", headers={"user-agent": "me"})
    hs.post(f"{CONTACTS}/batch/read", json={"inputs": [{"id": "1"}, {"id": "2"}]})
    search = {"filterGroups": [], "sorts": [], "properties": [], "limit": 10, "after": "0"}
    hs.post(f"{CONTACTS}/search", json=search)
    calls = hs.get("/_sandbox/calls", params={"since": 1}).json()["calls"]
    assert calls[0]["n"] > 1
    seen = [(c["method"], c["write"], c["operations"], c["status"]) for c in calls[-3:]]
    assert seen == [("GET", False, 1, 200), ("POST", False, 2, 207), ("POST", False, 1, 200)]
    assert (calls[-3]["query"], calls[-3]["user_agent"]) == ("limit=5", "me")
    mc.post(
        members.removesuffix("/members"),
        json={"members": [{"email_address": "a@example.com", "status": "pending"}] * 3},
    )
    last = mc.get("/_sandbox/calls").json()["calls"][-1]
    assert (last["path"], last["write"], last["operations"]) == ("/3.0" + members.removesuffix("/members"), True, 3)
    assert hs.delete("/_sandbox/calls").status_code == 204
    assert hs.get("/_sandbox/calls").json() == {"calls": []}


def test_all_records_can_be_dumped(sandbox: Sandbox, hs: httpx.Client, mc: httpx.Client, members: str) -> None:
    """Page by page, the archive included, without credentials."""
    for i in range(3):
        create(hs, email=f"p{i}@example.com")
        join(mc, members, f"p{i}@example.com")
    hs.delete(f"{CONTACTS}/{hs.get(CONTACTS).json()['results'][0]['id']}")
    mc.delete(f"{members}/{md5('p0@example.com')}")
    for url in (sandbox.hubspot_url, sandbox.mailchimp_url, sandbox.mailchimp_url.removesuffix("/3.0")):
        found: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = httpx.get(f"{url}/_sandbox/records", params={"after": after, "limit": 2}).json()
            found += page["records"]
            after = page["after"]
        assert len(found) == 3
    assert httpx.post(f"{sandbox.hubspot_url}/_sandbox/reset").status_code == 204
    assert httpx.get(f"{sandbox.hubspot_url}/_sandbox/records").json() == {"records": [], "after": None}


@pytest.mark.parametrize(
    ("vendor", "act"),
    [
        ("hubspot", {"email": "nobody@example.com"}),
        ("hubspot", {"action": "create", "properties": {"email": "x"}}),
        ("hubspot", {"action": "create", "properties": {"email": "ok@example.com"}, "more": 1, "source": "CRM_UI"}),
        ("hubspot", {"action": "fly", "email": "a@example.com"}),
        ("hubspot", {"action": "merge", "email": "a@example.com"}),
        ("mailchimp", {"email": "nobody@example.com"}),
        ("mailchimp", {"action": "create", "member": {"email_address": "x"}}),
        ("mailchimp", {"action": "fly", "email": "a@example.com"}),
        ("mailchimp", {"email": "a@example.com", "source": "nobody"}),
        ("mailchimp", {"email": "a@example.com", "member": {"vip": "yes"}}),
        ("mailchimp", {"email": "a@example.com", "action": "tag"}),
    ],
)
def test_edits_that_make_no_sense_are_refused(
    hs: httpx.Client, mc: httpx.Client, members: str, vendor: str, act: dict[str, Any]
) -> None:
    """The answer says why, and is no vendor's error."""
    create(hs, email="a@example.com")
    join(mc, members, "a@example.com")
    answer = {"hubspot": hs, "mailchimp": mc}[vendor].post("/_sandbox/edit", json=act)
    assert answer.status_code == (200 if "more" in act else 400)
    assert ("error" in answer.json()) == (answer.status_code == 400)


def test_the_same_seed_makes_the_same_people() -> None:
    """People depend on the seed alone; most are in both accounts, some differ, nobody's address can be real."""
    assert people.people(50, 1) == people.people(50, 1)
    assert people.people(50, 1) != people.people(50, 2)
    found = people.people(2000, 3)
    both, only_hubspot, only_mailchimp = people.shares(found)
    assert both > 1200
    assert min(only_hubspot, only_mailchimp) > 150
    pairs = [(a, b) for a, b in found if a is not None and b is not None]
    assert 0.05 < sum(a.phone != b.phone for a, b in pairs) / both < 0.4
    assert all(
        p.email.lower().endswith((".example.com", ".example.net", ".example.org")) for a, _ in pairs for p in [a]
    )
    emails = [(a or b).email.lower() for a, b in found if a or b]  # type: ignore[union-attr]
    assert len(set(emails)) == 2000


def test_both_accounts_can_be_filled() -> None:
    """Everybody passes the vendors' own rules; nothing lies in the future; all of them are found again."""
    hubspot, mailchimp = HubSpotSim(), MailchimpSim()
    people.populate(hubspot, mailchimp, 300, 1)
    both, only_hubspot, only_mailchimp = people.shares(people.people(300, 1))
    contacts, _ = hubspot.records(0, 1000)
    audience, _ = mailchimp.records(0, 1000)
    assert (len(contacts), len(audience)) == (both + only_hubspot, both + only_mailchimp)
    assert max(c["updatedAt"] for c in contacts) < "2026"
    assert {m["status"] for m in audience} == {"subscribed", "unsubscribed", "cleaned"}
    assert any(c["properties"].get("hs_email_optout") == "true" for c in contacts)
    assert [m.changed for m in mailchimp.audience.by_change(None)] == sorted(
        m.changed for m in mailchimp.audience.members.values()
    )


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "stdin"])
def test_the_command_line_serves_until_it_is_told_to_stop(end: str) -> None:
    """It says in one line where it is, answers, and ends without a word and without an error."""
    command = [sys.executable, "-W", "error", "-m", "sandbox", "--people", "20", "--hubspot-token", "tok"]
    process = subprocess.Popen(
        [*command, "--watch-parent"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    said = json.loads(process.stdout.readline())
    hubspot, mailchimp = said["hubspot"], said["mailchimp"]
    assert hubspot["credentials"]["access_token"] == "tok"
    found = httpx.get(hubspot["base_url"] + CONTACTS, headers={"authorization": "Bearer tok"}).json()["results"]
    auth = ("x", mailchimp["credentials"]["api_key"])
    assert found
    assert (
        httpx.get(f"{mailchimp['base_url']}/lists/{mailchimp['credentials']['list_id']}", auth=auth).status_code == 200
    )
    if end == "stdin":
        process.stdin.close()
        process.stdin = None
    else:
        process.send_signal(getattr(signal, end))
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")


def test_stopping_lets_go_of_calls_that_are_held() -> None:
    """A call that would hang for ten minutes does not keep the sandbox from ending."""
    with Sandbox() as one:
        httpx.post(f"{one.hubspot_url}/_sandbox/faults", json={"kind": "timeout_before", "delay": 600})
        parts = urlsplit(one.hubspot_url)
        with socket.create_connection((parts.hostname, parts.port)) as held:
            held.sendall(b"GET /crm/v3/owners HTTP/1.1\r\nhost: x\r\n\r\n")
            while not one.hubspot.calls.since(0):
                pass
            one.stop()
            assert held.recv(100) == b""


def test_a_taken_port_is_said_plainly(sandbox: Sandbox) -> None:
    """No traceback for somebody who started it twice."""
    port = str(urlsplit(sandbox.hubspot_url).port)
    command = [sys.executable, "-m", "sandbox", "--empty", "--hubspot-port", port]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("sandbox: cannot listen on 127.0.0.1")


def test_the_sandbox_shares_no_code_with_what_it_tests() -> None:
    """Two readings of the same documents check each other only as long as neither uses the other."""
    files = sorted((ROOT / "sandbox").glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in {"app", "connectors"}], file.name
