"""The locks in ``requirements/``: complete, hashed, alike, and free of where they were made."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
WANTED = {
    "build": PROJECT["build-system"]["requires"],
    "run": PROJECT["project"]["dependencies"],
    "postgres": PROJECT["project"]["dependencies"] + EXTRAS["postgres"],
    "dev": PROJECT["project"]["dependencies"] + EXTRAS["postgres"] + EXTRAS["dev"],
}
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.+!]+)(?: ; (?P<marker>[^\\]+))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def lines(lock: str) -> list[str]:
    return (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8").splitlines()


def pins(lock: str) -> dict[str, str]:
    """Package → version."""
    return {m["name"]: m["version"] for line in lines(lock) if (m := PIN.fullmatch(line))}


def needed(wanted: list[str]) -> dict[str, str]:
    """Everything that these requirements need on this machine, with who needs it."""
    found: dict[str, str] = {}
    todo = [(Requirement(text), "pyproject.toml", "") for text in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, by, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found.setdefault(name, by)
        for one in ("", *sorted(requirement.extras)):
            if (name, one) not in seen:
                seen.add((name, one))
                try:
                    todo += [(Requirement(text), name, one) for text in requires(name) or ()]
                except PackageNotFoundError:
                    found[name] = f"{by} (not installed)"
    return found


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_holds_pins_and_hashes_only(lock: str) -> None:
    """No address, no path, no option: nothing that ties an installation to the machine that made the lock."""
    assert len(pins(lock)) >= 2
    assert [line for line in lines(lock) if not PIN.fullmatch(line) and not HASH.fullmatch(line)] == []
    for line, after in zip(lines(lock), [*lines(lock)[1:], ""], strict=True):
        if PIN.fullmatch(line):
            assert HASH.fullmatch(after), f"{line} has no hash"


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_satisfies_the_project(lock: str) -> None:
    """What pyproject.toml asks for is pinned to a version that it allows."""
    pinned = pins(lock)
    for text in WANTED[lock]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)], prereleases=True), text


@pytest.mark.parametrize("lock", ["run", "postgres", "dev"])
def test_a_lock_is_complete(lock: str) -> None:
    """Everything that those packages need is pinned as well, else ``--require-hashes`` refuses to install."""
    pinned = pins(lock)
    everything = needed(WANTED[lock])
    assert len(everything) > len(WANTED[lock])
    assert {name: by for name, by in everything.items() if name not in pinned} == {}


@pytest.mark.parametrize(("smaller", "larger"), [("run", "postgres"), ("postgres", "dev")])
def test_locks_agree(smaller: str, larger: str) -> None:
    """What is tested is what runs: the larger lock has the same versions."""
    assert {name: version for name, version in pins(smaller).items() if pins(larger).get(name) != version} == {}


def test_a_strange_line_is_found() -> None:
    """Guards the guard."""
    hosted = "--index" + "-url https://packages.example/simple"
    for line in (hosted, "-f ./wheels", "httpx>=1 \\", "httpx @ file:///tmp/httpx.whl"):
        assert not PIN.fullmatch(line)
        assert not HASH.fullmatch(line)
