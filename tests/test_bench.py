"""What the bench keeps, and the page that is made of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import profile
from docs import _performance


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", None),
        ("no JSON here\n", None),
        ('{"a": 1}\n', {"a": 1}),
        ('stored in 3 s\n{\n  "a": {"b": 2}\n}\n', {"a": {"b": 2}}),
        ('{"a": 1}\n{"a": 2}\n', {"a": 2}),
        ("{broken\n", None),
    ],
)
def test_what_a_bench_said_last_counts(output: str, expected: Any) -> None:
    """Progress may stand before it."""
    assert bench.said(output) == expected


def test_all_are_run_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that fails is kept as failed, and those measured before stay."""
    out = tmp_path / "results.json"
    out.write_text('{"earlier": {}}')
    good = tmp_path / "good.py"
    good.write_text("print('{\"ratio\": 0.5}')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(
        bench, "BENCHES", (bench.Bench("good", "is well", "good"), bench.Bench("bad", "is not", "nothing"))
    )
    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(out)])
    assert bench.main() == 1
    kept = json.loads(out.read_text())
    assert set(kept) == {"earlier", "good", "bad"}
    assert kept["good"]["found"] == {"ratio": 0.5}
    assert kept["good"]["command"] == "python -m good"
    assert kept["bad"]["failed"] == "ended with 1"
    assert "good: python -m good" in capsys.readouterr().err


def test_the_page_says_what_was_and_what_was_not_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what was not measured."""
    out = tmp_path / "results.json"
    entry = {
        "about": "speed",
        "command": "python -m x",
        "at": "2026-01-02T03:04+00:00",
        "load_before": 0.1,
        "seconds": 9,
    }
    found = {
        "bench": "x",
        "sqlite": {"rate_per_second": 12345, "bars": {"fast": False, "small": True}, "profile": {"app.entry": 60.5}},
        "ratios": [1, 2],
    }
    out.write_text(json.dumps({"start": {**entry, **bench.machine(), "found": found}}))
    monkeypatch.setattr(_performance, "RESULTS", out)
    page = _performance.page()
    assert "| sqlite · rate per second | 12,345 |" in page
    assert "| ratios | 1, 2 |" in page
    assert "- sqlite · fast: **not reached**" in page
    assert "- sqlite · small: reached" in page
    assert "| [start](#start) | sqlite · fast | **not reached** |" in page
    assert "Where the processor time goes (sqlite): app.entry 60.5 %." in page
    assert "Not measured yet" in page


def test_samples_are_counted_by_package() -> None:
    """The innermost frame counts; what is ours by its room."""
    stacks = (
        "main (uvicorn/main.py:1);accept (app/entry/inbox.py:7) 3\n"
        "main (uvicorn/main.py:1);receive (connectors/hubspot.py:9) 2\n"
        "main (uvicorn/main.py:1) 4\n"
        "main (uvicorn/main.py:1);join (threading.py:30) 1\n"
        "no samples here\n"
    )
    assert profile.shares(stacks) == {"uvicorn": 40.0, "app.entry": 30.0, "connectors.hubspot": 20.0, "Python": 10.0}
    assert profile.shares("") == {}


def test_every_bench_exists() -> None:
    """Its module is there."""
    folder = Path(bench.__file__).parent
    places = {b.name: folder / b.module.removeprefix("bench.") for b in bench.BENCHES}
    assert [
        n for n, p in places.items() if not p.with_suffix(".py").exists() and not (p / "__main__.py").exists()
    ] == []
