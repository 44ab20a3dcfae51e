"""The documents: links lead somewhere, commands and named tests exist, and no file tells of a machine."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
import typer

from app.cli import app
from docs import generate

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(p.relative_to(ROOT)) for p in PAGES]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
HEADING = re.compile(r"^#+ +(.+)$", re.M)


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    made = (
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", h).lower()).replace(" ", "-") for h in HEADING.findall(prose(text))
    )
    return set(made)


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file and no heading of this project."""
    found = []
    for target in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        there = file.exists()
        if there and anchor:
            there = anchor in anchors(text if file == page else file.read_text(encoding="utf-8"))
        if not there:
            found.append(target)
    return found


def test_there_are_pages() -> None:
    """Guards the guard: an empty search must not pass."""
    assert len(PAGES) > 12
    assert sum(len(LINK.findall(p.read_text(encoding="utf-8"))) for p in PAGES) > 30


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Every link to a file or a heading of this project resolves."""
    assert broken(ROOT / name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("target", ["docs/nothing.md", "README.md#no-such-heading", "#nowhere"])
def test_a_broken_link_is_found(target: str) -> None:
    """Guards the guard."""
    assert broken(ROOT / "README.md", f"# One\nsee [it]({target}), [here](#one), [too](README.md)") == [target]


def test_every_page_is_reachable() -> None:
    """From the README, by links, one comes to every page."""
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.is_dir():
                file /= "README.md"
            if file in PAGES:
                todo.append(file)
    assert [str(p.relative_to(ROOT)) for p in PAGES if p not in seen] == []


def lines_of_code(text: str) -> Iterator[str]:
    """The lines of a page's shell blocks, and its code in the text."""
    for language, block in FENCE.findall(text):
        if language in {"", "console", "sh", "bash", "shell"}:
            yield from (line.strip().removeprefix("$ ") for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", prose(text))


def said(program: str) -> list[tuple[str, list[str]]]:
    """(page, words) of every call of a program in the documents."""
    found = []
    for name in NAMES:
        for line in lines_of_code((ROOT / name).read_text(encoding="utf-8")):
            if line.startswith(f"{program} "):
                words = shlex.split(line.split(" | ")[0], comments=True)
                found.append((name, words[: words.index(">")] if ">" in words else words))
    return found


@functools.cache
def whole_command() -> Any:
    """The command line, made once: it takes a tenth of a second."""
    return typer.main.get_command(app)


def unknown(words: list[str]) -> str | None:
    """Why these words are no call of the command line."""
    command, rest = whole_command(), words[1:]
    # Typer has brought its own click for a while, so a group is known by what it has, not by its class.
    while (commands := getattr(command, "commands", None)) is not None and rest and not rest[0].startswith("-"):
        if rest[0] in {"COMMAND", "[OPTIONS]"}:  # of a usage line
            return None
        if rest[0] not in commands:
            return f"no command {rest[0]!r}"
        command, rest = commands[rest[0]], rest[1:]
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    wrong = [w for w in rest if w.startswith("--") and w.split("=")[0] not in options]
    return f"no option {wrong[0]}" if wrong else None


def test_commands_in_the_documents_exist() -> None:
    """Every `tandem …` is a command with options that it has."""
    calls = said("tandem")
    assert len(calls) > 30
    assert [f"{name}: {' '.join(w)}: {why}" for name, w in calls if (why := unknown(w)) is not None] == []


@pytest.mark.parametrize(
    "line", ["tandem fly", "tandem dead bury", "tandem serve --quickly", "tandem mapping check --loud"]
)
def test_a_wrong_command_is_found(line: str) -> None:
    """Guards the guard."""
    assert unknown(shlex.split(line)) is not None


def targets() -> set[str]:
    """What make can make."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.M))


def test_targets_in_the_documents_exist() -> None:
    """Every `make …` is a target, and every target is explained by `make help`."""
    calls = said("make")
    assert len(calls) >= 5
    assert {(name, w[1]) for name, w in calls if w[1] not in targets()} == set()
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in shown.splitlines() if line.startswith("  make")} == targets()


def test_what_the_documents_name_exists() -> None:
    """Files and tests in backticks are there: a promise points at a test."""
    wrong, seen = [], 0
    for name in NAMES:
        for word in re.findall(
            r"`((?:app|bench|connectors|docs|mappings|migrations|sandbox|tests)/[\w./:]+)`",
            (ROOT / name).read_text(encoding="utf-8"),
        ):
            path, _, function = word.partition("::")
            seen += 1
            if not (ROOT / path).exists():
                wrong.append(f"{name}: {word}")
            elif function:
                tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
                if function not in {
                    n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
                }:
                    wrong.append(f"{name}: {word}")
    assert seen > 40
    # The guide for new connectors speaks of a vendor that does not exist.
    assert [w for w in wrong if "/acme." not in w] == []


def test_decisions_are_one_page_and_listed() -> None:
    """Numbered without a gap, each with its reasons and the test that holds it."""
    records = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert [int(p.name[:4]) for p in records] == list(range(1, len(records) + 1))
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    for path in records:
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert title.startswith(f"{int(path.name[:4])}. ")
        assert f"[{title.split('. ', 1)[1]}]({path.name})" in index
        assert re.findall(r"^\*\*(\w+)\.\*\*|^\*\*(Held by)\.\*\*", text, re.M) == [
            ("Context", ""),
            ("Decision", ""),
            ("Why", ""),
            ("Costs", ""),
            ("", "Held by"),
        ]
        assert "`tests/" in text.split("**Held by.**")[1]
        assert len(text.split()) < 400


def test_generated_pages_are_up_to_date() -> None:
    """`make docs` would change nothing."""
    assert list(generate.stale()) == []


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    """Guards the guard, and the page is told by its name."""
    assert set(generate.stale(tmp_path)) == set(generate.PAGES)


def test_pictures_are_whole() -> None:
    """Pictures are readable XML, tell what they show, load nothing, and have a look for dark pages."""
    pictures = sorted((ROOT / "docs").rglob("*.svg"))
    assert pictures
    for path in pictures:
        text = path.read_text(encoding="utf-8")
        tree = ET.fromstring(text)
        names = {e.tag.rpartition("}")[2] for e in tree.iter()}
        assert {"title", "desc"} <= names
        assert not names & {"script", "image", "foreignObject"}
        assert "prefers-color-scheme: dark" in text


def committed() -> list[Path]:
    """Every text file that belongs to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [p for name in listed.stdout.splitlines() if (p := ROOT / name).is_file() and p.suffix != ".png"]


# Put together, so that this file does not hold them.  Homes of people and of build machines, indexes and mirrors.
MACHINE = re.compile(
    "|".join(
        [
            "/" + r"(?:work|home|root|Users)/[\w.]",
            "/" + "opt/" + "(?:pypi|wheels)",
            r"\." + "library" + r"\b",
            "--(?:extra-)?" + "index-url",
            "--" + "find-links",
            "files." + "pythonhosted",
            "pypi" + r"\.org/simple",
        ]
    )
)


def told(text: str) -> list[str]:
    """What a text tells of the machine it was written on."""
    return [m[0] for m in MACHINE.finditer(text)]


def test_no_file_tells_of_a_machine() -> None:
    """No path and no host of whoever wrote it."""
    files = committed()
    assert len(files) > 150
    found = {str(p.relative_to(ROOT)): t for p in files if (t := told(p.read_text(encoding="utf-8", errors="replace")))}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "/" + "home/ann/tandem",
        "cd /" + "work/main",
        "--find" + "-links /opt/" + "wheels",
        "--extra-index" + "-url https://packages.example",
    ],
)
def test_a_told_machine_is_found(text: str) -> None:
    """Guards the guard."""
    assert told(text)
