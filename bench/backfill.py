"""From nothing to in step: first reading, plan, canary, apply, between two accounts that half agree.

``python -m bench.backfill --people N``: N + N records with 60 % in both, 3 % of those differing, 1 % duplicates without
an address; killed three times on the way (reading, canary, applying).  JSON: what was found, calls against the least
that is possible, the memory of the largest process, and what is not as it has to be (``wrong``, which ends with 1).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import yaml

from bench.people import People

AGENT = {"user-agent": "tandem-bench"}
READ_HUB, READ_CHIMP, WRITE_HUB, WRITE_CHIMP = 100, 1000, 100, 200  # records of one call, as the connectors use them

MEMORY_MB, CALLS = 300, 1.1  # bars: of the largest process, and times the least


class Accounts:
    """The two accounts, filled and looked at through the vendors' APIs."""

    def __init__(self, said: dict[str, Any], people: int) -> None:
        hub, chimp = said["hubspot"], said["mailchimp"]
        token = hub["credentials"]["access_token"]
        self.hub = httpx.Client(
            base_url=hub["base_url"], headers={"authorization": f"Bearer {token}", **AGENT}, timeout=120
        )
        key = chimp["credentials"]["api_key"]
        self.chimp = httpx.Client(
            base_url=chimp["base_url"], headers={"authorization": f"Bearer {key}", **AGENT}, timeout=120
        )
        self.list = f"/lists/{chimp['credentials']['list_id']}"
        self.people = people
        self.first = people * 4 // 10  # the first of those at Mailchimp; up to ``people`` they are in both
        self.at = {"hubspot": 0, "mailchimp": 0}

    def close(self) -> None:
        """Close the connections."""
        self.hub.close()
        self.chimp.close()

    def fill(self) -> None:
        """N + N records."""
        crowd = People(1).known(self.first + self.people)
        rows = []
        for i, one in enumerate(crowd[: self.people]):
            base = {"firstname": one.first, "lastname": one.last, "phone": one.phone}
            rows.append({**base, "email": one.mail, "city": one.city})
            if i % 100 == 50:
                rows.append(dict(base))
        for start in range(0, len(rows), 100):
            inputs = [{"properties": row} for row in rows[start : start + 100]]
            self.hub.post("/crm/v3/objects/contacts/batch/create", json={"inputs": inputs}).raise_for_status()
        for one in crowd[13 : self.people : 100]:
            url = f"/communication-preferences/v4/statuses/{quote(one.mail)}/unsubscribe-all"
            self.hub.post(url, params={"channel": "EMAIL"}).raise_for_status()
        members = []
        for i, one in enumerate(crowd[self.first :], self.first):
            differs = i < self.people and i % 33 == 0
            fields = {
                "FNAME": one.first,
                "LNAME": one.last,
                "PHONE": one.phone,
                "CITY": "Elsewhere" if differs else one.city,
            }
            status = "unsubscribed" if i % 100 == 7 else "subscribed"
            members.append({"email_address": one.mail, "status": status, "merge_fields": fields})
        for start in range(0, len(members), 500):
            answer = self.chimp.post(self.list, json={"members": members[start : start + 500]})
            answer.raise_for_status()
            assert answer.json()["error_count"] == 0, answer.text[:500]

    def at_hub(self) -> list[dict[str, Any]]:
        """All contacts."""
        found: list[dict[str, Any]] = []
        after = None
        names = "email,firstname,lastname,phone,city,hs_email_optout"
        while True:
            params = {"limit": 100, "properties": names, **({"after": after} if after else {})}
            page = self.hub.get("/crm/v3/objects/contacts", params=params).json()
            found += [c["properties"] for c in page["results"]]
            after = page.get("paging", {}).get("next", {}).get("after")
            if after is None:
                return found

    def at_chimp(self) -> list[dict[str, Any]]:
        """All members."""
        found: list[dict[str, Any]] = []
        while True:
            fields = "members.email_address,members.status,members.merge_fields,total_items"
            page = self.chimp.get(
                f"{self.list}/members", params={"count": 1000, "offset": len(found), "fields": fields}
            ).json()
            found += page["members"]
            if not page["members"]:
                return found

    def calls(self) -> dict[str, dict[str, int]]:
        """Tandem's calls since the last time, by vendor: reads and writes."""
        counted = {}
        for name, client in (("hubspot", self.hub), ("mailchimp", self.chimp)):
            new = client.get("/_sandbox/calls", params={"since": self.at[name]}).json()["calls"]
            self.at[name] = max([self.at[name], *(call["n"] for call in new)])
            ours = [call for call in new if "tandem-bench" not in (call.get("user_agent") or "")]
            writes = sum(bool(call["write"]) for call in ours)
            counted[name] = {"reads": len(ours) - writes, "writes": writes}
        return counted


class Runner:
    """Tandem's processes, their memory watched."""

    def __init__(self, directory: Path, said: dict[str, Any]) -> None:
        self.directory = directory
        self.said = said
        self.most: dict[str, int] = {}
        secret = {"HUBSPOT_ACCESS_TOKEN": "access_token", "HUBSPOT_CLIENT_SECRET": "client_secret"}
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(directory / "tandem.yml"),
            "TANDEM_TOKEN": "t" * 40,
            "TANDEM_LOG_LEVEL": "ERROR",
            "TANDEM_PORT": "0",
            "TANDEM_LEASE_SECONDS": "30",
            "TANDEM_MAILCHIMP_API_KEY": said["mailchimp"]["credentials"]["api_key"],
            **{f"TANDEM_{k}": said["hubspot"]["credentials"][v] for k, v in secret.items()},
        }

    def mode(self, mode: str, records: int = 0) -> None:
        """Write tandem.yml."""
        off = {"creates": "off", "overwrites": "off", "opt_ins": "off", "deletes": "off"}
        both = {"mode": mode, "canary": {"records": records}, "poll_seconds": 86_400, "brake": off, "call_share": 1.0}
        hub = {"name": "hubspot", "connector": "hubspot", "settings": {"base_url": self.said["hubspot"]["base_url"]}}
        chimp = {
            "name": "mailchimp",
            "connector": "mailchimp",
            "settings": {
                "base_url": self.said["mailchimp"]["base_url"],
                "list_id": self.said["mailchimp"]["credentials"]["list_id"],
            },
        }
        data = {
            "database": f"sqlite:///{self.directory / 'tandem.db'}",
            "connections": [{**hub, **both}, {**chimp, **both}],
        }
        (self.directory / "tandem.yml").write_text(yaml.safe_dump(data))

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command; ended with SIGTERM at the end of the block where it still runs."""
        command = [sys.executable, "-m", "app.cli", *words]
        with (self.directory / "out").open("ab") as out:
            process = subprocess.Popen(command, env=self.env, stdout=out, stderr=out)
        watching = threading.Thread(target=self._watch, args=(process.pid, words[0]), daemon=True)
        watching.start()
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(90)

    def _watch(self, pid: int, command: str) -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            while True:
                self.most[command] = max(self.most.get(command, 0), process.memory_info().rss)
                time.sleep(0.1)

    def plan(self, out: Path) -> dict[str, dict[str, Any]]:
        """The figures of a plan, by connection; the plan in a file."""
        with self.running("plan", "--out", str(out), "--json") as process:
            started = (self.directory / "out").stat().st_size
            process.wait()
        text = (self.directory / "out").read_bytes()
        found = [json.loads(line) for line in text.splitlines() if line.startswith(b'{"what":"summary"')][-2:]
        assert started <= len(text)
        return {one["connection"]: one for one in found}

    def count(self, question: str) -> int:
        """A number out of the store, which asks no command: that would take as long as a phase; 0 without a store."""
        with contextlib.closing(sqlite3.connect(self.directory / "tandem.db", timeout=30)) as db:
            try:
                return int(db.execute(f"SELECT {question}").fetchone()[0] or 0)
            except sqlite3.OperationalError:
                return 0


READ = "sum(walk_read) FROM connection_state"
THROUGH = "count(*) FROM connection_state WHERE first_read_at IS NOT NULL"
PENDING = "count(*) FROM inbox WHERE status = 'pending'"
DUE = f"count(*) FROM work WHERE due_at < {2**62}"
APPLIED = "count(*) FROM approval WHERE status = 'written'"


def until(check: Callable[[], bool], seconds: float, pause: float = 0.2) -> None:
    began = time.perf_counter()
    while not check():
        if time.perf_counter() - began > seconds:
            raise TimeoutError(check)
        time.sleep(pause)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def bench(people: int) -> dict[str, Any]:
    """The whole of it."""
    with (
        tempfile.TemporaryDirectory(prefix="tandem-bench-") as made,
        sandbox() as said,
        contextlib.closing(Accounts(said, people)) as accounts,
    ):
        run = Runner(Path(made), said)
        accounts.fill()
        records = len(accounts.at_hub()) + len(accounts.at_chimp())
        before = {m["email_address"]: m["status"] for m in accounts.at_chimp()}
        accounts.calls()
        took: dict[str, float] = {}
        wait = 120 + people / 20
        calls: dict[str, dict[str, dict[str, int]]] = {}

        def phase(name: str, began: float) -> None:
            took[name] = round(time.perf_counter() - began, 1)
            print(f"{name}: {took[name]} s", file=sys.stderr)
            calls[name] = accounts.calls()

        began = time.perf_counter()
        run.mode("observe")
        with run.running("serve") as process:
            until(lambda: run.count(READ) > people * 0.4, wait, 0.02)
            kill(process)
        with run.running("serve"):
            until(lambda: run.count(THROUGH) == 2 and run.count(PENDING) == 0, wait)
        phase("reading", began)

        began = time.perf_counter()
        first = run.plan(Path(made) / "first.plan")
        took["plan"] = round(time.perf_counter() - began, 1)

        began = time.perf_counter()
        few = max(10, people // 100)
        run.mode("canary", few)
        with run.running("serve") as process:
            until(lambda: accounts.chimp.get("/_sandbox/calls").json()["calls"][-1]["write"], wait, 0.02)
            kill(process)
        with run.running("serve"):
            until(lambda: run.count(PENDING) + run.count(DUE) == 0, wait)
        phase("canary", began)

        run.mode("canary", 0)
        file = Path(made) / "second.plan"
        second = run.plan(file)
        began = time.perf_counter()
        orders = sum(one["creates"] + one["updates"] for one in second.values())
        with run.running("apply", str(file), "--by", "bench") as process:
            until(lambda: run.count(APPLIED) > orders * 0.3 or process.poll() is not None, wait, 0.05)
            kill(process)
        with run.running("apply", str(file), "--by", "bench", "--json") as process:
            process.wait(wait)
        phase("apply", began)
        result = {"applied": run.count(APPLIED), "of": orders}
        last = run.plan(Path(made) / "last.plan")
        wrong = _wrong(accounts, before, first, last, result)
        least = _least(accounts, first, records)
        reads = {n: sum(c[n]["reads"] for c in calls.values()) for n in ("hubspot", "mailchimp")}
        writes = {n: sum(c[n]["writes"] for c in calls.values()) for n in ("hubspot", "mailchimp")}
        return {
            "what": f"first reading, plan, canary, apply of {people} + {people} people, killed three times",
            "records": records,
            "plan": {n: {k: one[k] for k in ("creates", "updates", "withdrawals")} for n, one in first.items()},
            "planned_calls": {n: one["calls"] for n, one in first.items()},
            "unsure": {n: one["rejects"] for n, one in last.items()},
            **result,
            "seconds": took,
            "reads": reads,
            "least_reads": least["reads"],
            "writes": writes,
            "least_writes": least["writes"],
            "calls": calls,
            "most_memory_mb": round(max(run.most.values()) / 1e6),
            "memory_mb": {command: round(most / 1e6) for command, most in run.most.items()},
            "wrong": wrong,
            "bars": {
                "drift 0, nobody twice, no consent raised, the plan is what was written": not wrong,
                f"at most {MEMORY_MB} MB": max(run.most.values()) <= MEMORY_MB * 1e6,
                f"at most {CALLS} times the least calls": _sum(reads, writes) <= CALLS * _sum(*least.values()),
            },
        }


def _sum(*calls: dict[str, int]) -> int:
    return sum(n for one in calls for n in one.values())


def _least(accounts: Accounts, first: dict[str, dict[str, Any]], records: int) -> dict[str, dict[str, int]]:
    """The least number of calls: full batches; an objection of somebody who is there travels alone at both."""
    hub, chimp = first["hubspot"], first["mailchimp"]
    alone = sum(1 for i in range(accounts.first, accounts.people) if i % 100 == 13)
    opted = sum(1 for i in range(accounts.first, accounts.first + accounts.people) if i % 100 == 7)
    alone_hub = sum(1 for i in range(accounts.first, accounts.people) if i % 100 == 7)
    reads = {
        "hubspot": math.ceil((records - accounts.people) / READ_HUB) + 1,
        "mailchimp": math.ceil(accounts.people / READ_CHIMP),
    }
    writes = {
        "hubspot": math.ceil(hub["creates"] / WRITE_HUB) + math.ceil((hub["updates"] - alone_hub) / WRITE_HUB) + opted,
        "mailchimp": math.ceil(chimp["creates"] / WRITE_CHIMP)
        + math.ceil((chimp["updates"] - alone) / WRITE_CHIMP)
        + alone,
    }
    return {"reads": reads, "writes": writes}


def _wrong(
    accounts: Accounts,
    before: dict[str, str],
    first: dict[str, dict[str, Any]],
    last: dict[str, dict[str, Any]],
    result: dict[str, int],
) -> list[str]:
    """What is not as it has to be, by the vendors' own APIs."""
    wrong = []
    left = sum(one["creates"] + one["updates"] for one in last.values())
    if left:
        wrong.append(f"{left} orders are left")
    if result["applied"] != result["of"]:
        wrong.append(f"applied {result}")
    hub = [c for c in accounts.at_hub() if c["email"]]
    chimp = accounts.at_chimp()
    by_mail = {c["email"]: c for c in hub}
    members = {m["email_address"]: m for m in chimp}
    everybody = accounts.first + accounts.people
    for name, one in (("hubspot", hub), ("mailchimp", chimp)):
        # Who looks like somebody else is created once a person has said who it is.
        unsure = sum(reject["count"] for reject in last[name]["rejects"] if reject["code"] == "refused")
        planned = accounts.people + first[name]["creates"]
        if len(one) != planned or planned + unsure < everybody:
            wrong.append(f"{name}: {len(one)} with an address; planned {planned}, unsure {unsure}, of {everybody}")
    if len(by_mail) != len(hub) or len(members) != len(chimp):
        wrong.append("an address is there twice")
    pairs = (("firstname", "FNAME"), ("lastname", "LNAME"), ("city", "CITY"), ("phone", "PHONE"))
    for address in sorted(set(by_mail) & set(members)):
        c, m = by_mail[address], members[address]
        for ours, theirs in pairs:
            if c[ours] != m["merge_fields"][theirs]:
                wrong.append(f"{address}: {ours} differs: {c[ours]!r}, {m['merge_fields'][theirs]!r}")
        number = int(address.partition("@")[0].rpartition(".")[2])
        objected = number % 100 == 13 and number < accounts.people
        objected |= number % 100 == 7 and number >= accounts.first
        if objected and (c["hs_email_optout"] != "true" or m["status"] != "unsubscribed"):
            wrong.append(f"{address}: an objection is not on both sides: {c['hs_email_optout']}, {m['status']}")
        if not objected and m["status"] == "subscribed" and before.get(address) != "subscribed":
            wrong.append(f"{address}: consent was raised")
    if not first["hubspot"]["creates"] or not first["mailchimp"]["creates"]:
        wrong.append("the plan creates nobody")
    return wrong[:20]


@contextlib.contextmanager
def sandbox() -> Iterator[dict[str, Any]]:
    """The simulated vendors with nobody in them; where they are, and what opens them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--empty", "--watch-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=30)  # which closes both pipes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=2000)
    found = bench(parser.parse_args().people)
    print(json.dumps(found))
    raise SystemExit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
