"""From the start of the process to the first acknowledgement, and what the service weighs when nothing happens.

``tandem serve`` with HubSpot and Mailchimp configured, on a migrated SQLite store, gets one signed delivery again and
again until it acknowledges it.  The baseline of the same run is a bare Starlette route under uvicorn, started the same
way.  Starts take turns; the median counts.  Modules are compiled before the first start, as an installation does it.
What the container image holds beyond its base (``python:slim``) is counted from what is installed here: the packages
that its lock names, with their compiled modules, and our own.
``python -m bench.start [--rounds 5] [--idle 10]``
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.core.db import Database
from app.records.migrate import upgrade
from bench.ack import HERE, SECRET, deliveries, free_port
from bench.profile import MANY

BARS = {"seconds": 1.5, "idle_mb": 150}
PATIENCE = 60.0
ROOT = Path(__file__).parent.parent
OURS = ("app", "connectors", "mappings", "migrations", "sandbox")  # what the Dockerfile copies


def started(command: list[str], port: int, env: dict[str, str], idle: float) -> tuple[float, float]:
    """Seconds to the first acknowledgement, and MB of the process tree after ``idle`` seconds."""
    body, headers = signed(port)
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(timeout=5) as client:
            while True:
                try:
                    if client.post(f"{HERE}:{port}/webhooks/hubspot", content=body, headers=headers).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if time.perf_counter() - began > PATIENCE or process.poll() is not None:
                    raise SystemExit(f"{command[1:4]} did not answer")
                time.sleep(0.01)
        seconds = time.perf_counter() - began
        time.sleep(idle)
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        return seconds, sum(one.memory_info().rss for one in tree) / 1e6
    finally:
        process.terminate()
        process.wait(30)


def imports(env: dict[str, str]) -> dict[str, float]:
    """Percent of the time of importing the service by package; most of the start is that."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import app.commands.run, app.main"],
        env={**os.environ, **env},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    took: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            took[parts[2].strip().partition(".")[0]] += int(parts[0])
    total = sum(took.values())
    return {name: round(100 * us / total, 1) for name, us in took.most_common(MANY)}


def image_mb() -> dict[str, float]:
    """MB that the image adds to its base, ours and that of the packages which ``requirements/postgres.txt`` locks."""
    ours = sum(
        _weight(file) for folder in OURS for file in (ROOT / folder).rglob("*") if "__pycache__" not in file.parts
    )
    names = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", (ROOT / "requirements/postgres.txt").read_text(), re.MULTILINE
    )
    theirs = 0
    for name in names:
        try:
            files = metadata.distribution(name).files
        except metadata.PackageNotFoundError:
            continue  # one that this platform does without
        places = {Path(str(file.locate())) for file in (files if files is not None else ())}
        theirs += sum(_weight(place) for place in places if place.suffix != ".pyc")
    return {"ours": round(ours / 1e6, 1), "packages": round(theirs / 1e6, 1)}


def _weight(file: Path) -> int:
    """Bytes of a file, with those of the module that is compiled from it: about as many."""
    if not file.is_file():
        return 0
    return file.stat().st_size * (2 if file.suffix == ".py" else 1)


def signed(port: int) -> tuple[bytes, dict[str, str]]:
    """One signed delivery."""
    head, _, body = deliveries(1, port, 1)[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines)
    headers.pop("content-length")
    return body, headers


def measure(rounds: int, idle: float) -> dict[str, Any]:
    """Starts of both in turn."""
    with tempfile.TemporaryDirectory() as folder:
        store = Database(f"sqlite:///{folder}/bench.db")
        upgrade(store)
        store.close()
        config = Path(folder) / "tandem.yml"
        config.write_text(
            "connections:\n"
            "  - {name: hubspot, connector: hubspot, mode: observe, settings: {base_url: 'http://127.0.0.1:9'}}\n"
            "  - {name: mailchimp, connector: mailchimp, mode: observe, "
            "settings: {base_url: 'http://127.0.0.1:9', list_id: abc}}\n"
        )
        env = {
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": f"{folder}/compiled",
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": f"sqlite:///{folder}/bench.db",
            "TANDEM_HUBSPOT_ACCESS_TOKEN": "none",
            "TANDEM_HUBSPOT_CLIENT_SECRET": SECRET,
            "TANDEM_MAILCHIMP_API_KEY": "none-us1",
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": SECRET,
            "TANDEM_LOG_LEVEL": "WARNING",
        }
        found: dict[str, list[tuple[float, float]]] = {"bare": [], "tandem": []}
        for nth in range(rounds + 1):
            port = free_port()
            bare = [sys.executable, "-m", "uvicorn", "bench.ack:bare", "--port", str(port), "--no-access-log"]
            once = started(bare, port, env, 0)
            port = free_port()
            serve = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
            ours = started(serve, port, env, idle if nth else 2)
            if nth:  # the first one compiled the modules
                found["bare"].append(once)
                found["tandem"].append(ours)
        importing = imports(env)
    seconds = {name: statistics.median(s for s, _ in of) for name, of in found.items()}
    idle_mb = statistics.median(m for _, m in found["tandem"])
    return {
        "bench": "start",
        "seconds_to_first_acknowledgement": round(seconds["tandem"], 2),
        "bare_seconds": round(seconds["bare"], 2),
        "ratio": round(seconds["tandem"] / seconds["bare"], 1),
        "idle_mb": round(idle_mb),
        "image_mb_beyond_its_base": image_mb(),
        "bars": {
            f"at most {BARS['seconds']} s": seconds["tandem"] <= BARS["seconds"],
            f"at most {BARS['idle_mb']} MB idle": idle_mb <= BARS["idle_mb"],
        },
        "profile": importing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=float, default=10)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.rounds, arguments.idle), indent=2))


if __name__ == "__main__":
    main()
