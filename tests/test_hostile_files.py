"""Files that people write, or that somebody wrote for them: a clear error within bounds, whatever they are."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.agreement import load as agreement
from app.core import bounded_yaml
from app.core.errors import ConfigError
from app.core.settings import load_config
from app.sync import mapping

ROOT = Path(__file__).parents[1]
SHIPPED = (ROOT / "mappings" / "espocrm.yaml").read_text(encoding="utf-8")
AGREEMENT = (ROOT / "mappings" / "agreement.yaml").read_text(encoding="utf-8")
CONFIG = """
public_url: https://tandem.example.com
matching: {likeness: "off"}
connections:
  - name: crm
    connector: espocrm
    mode: observe
    brake: {creates: {count: 10, share: 0.5}, deletes: off}
    settings: {base_url: "https://crm.example.com"}
  - &second
    name: marketing
    connector: mautic
    reconcile: {every: 24h}
"""
EXAMPLES = int(os.environ.get("TANDEM_TEST_EXAMPLES", "20"))
FEW = settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), deadline=None)
CALM = 40 * 1024 * 1024


def read_config(text: str, folder: Path) -> Any:
    file = folder / "tandem.yml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return load_config(file)


READERS: dict[str, Callable[[str, Path], Any]] = {
    "tandem.yml": read_config,
    "mapping": lambda text, _: mapping.loads(text, "mapping.yaml"),
    "agreement": lambda text, _: agreement.loads(text),
}
GOOD = {"tandem.yml": CONFIG, "mapping": SHIPPED, "agreement": AGREEMENT}


def nested(line: Callable[[int, str], str], levels: int, times: int = 9) -> str:
    """Lines that each name the one before several times."""
    return "".join(line(n, ", ".join([f"*a{n - 1}"] * times) if n else "x") for n in range(levels))


LAUGHS = nested(lambda n, before: f"a{n}: &a{n} [{before}]\n", 12)
HOSTILE = {
    "a thousand laughs": LAUGHS,
    "laughs in keys": nested(lambda n, before: f"? &a{n} [{before}]\n: 1\n", 30, 2),
    "laughs by merging": nested(lambda n, before: f"m{n}: &a{n} {{<<: [{before if n else ''}], k{n}: 1}}\n", 9),
    "an alias of itself": "connections: &a [*a]\n",
    "a map in itself": "&a {connections: *a}\n",
    "an alias of nothing": "connections: *nobody\n",
    "lists 500 deep": "[" * 500,
    "maps 500 deep": '{"a":' * 500,
    "blocks 900 deep": "".join(f"{' ' * n}a:\n" for n in range(900)),
    "dashes 900 deep": "- " * 900 + "x",
    "a tag that makes an object": "connections: !!python/object/apply:os.system [id]\n",
    "a tag that makes a name": "connections: !!python/name:os.system\n",
    "a tag of nobody": "connections: !secret x\n",
    "binary that is none": "public_url: !!binary '****'\n",
    "a set": "connections: !!set {a, b}\n",
    "an ordered map": "connections: !!omap [a: 1, a: 2]\n",
    "a key twice": "fields: {}\nfields: {}\npublic_url: a\npublic_url: b\n",
    "a list as a key": "? [a, b]\n: 1\n",
    "a map as a key": "? {a: b}\n: 1\n",
    "a number of 5,000 digits": f"connections: {'9' * 5_000}\nversion: {'9' * 5_000}\n",
    "a number of 5,000 hex digits": f"connections: 0x{'f' * 5_000}\nversion: 0x{'f' * 5_000}\n",
    "a number in base 60": "connections: " + ":".join(["59"] * 9_000) + "\n",
    "infinity": "connections: .inf\nversion: .nan\n",
    "30 February": "connections: 2026-02-30\nversion: 2026-02-30\n",
    "hour 25": "connections: 2026-01-01T25:61:61Z\n",
    "year 0": "connections: 0000-01-01\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "a NUL": "connections: 'a\x00b'\n",
    "half a pair": "connections: 'a\ud800b'\n",
    "half a pair, written out": 'connections: "a\\ud800b"\n',
    "escapes": "connections: 'a\x1b[2Jb'\n",
    "a directive": "%YAML 9.9\n---\nconnections: []\n",
    "tabs": "connections:\n\t- a\n",
    "only a mark of order": "\ufeff",
    "nothing": "",
    "a word": "word",
    "a list": "[1, 2]",
    "megabytes": "# " + "x" * 3_000_000,
    "a line of quotes": "a: '" + "''" * 9_000,
    "9,000 colons": ": " * 9_000,
    "9,000 question marks": "? " * 9_000,
    "5,000 lines": "-\n" * 5_000,
    "9,000 anchors": "&a " * 9_000,
}  # fmt: skip


GROWING = {"a thousand laughs", "laughs in keys", "laughs by merging", "an alias of itself", "megabytes"}


@contextmanager
def bounded(name: str) -> Iterator[None]:
    """No more memory than CALM, where that is what the file is after: counting makes everything slow."""
    if name not in GROWING:
        yield
        return
    tracemalloc.start()
    try:
        yield
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < CALM, most


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error(name: str, tmp_path: Path) -> None:
    """In a sentence that says where, for each of the readers, within bounds of memory."""
    for reader in READERS.values():
        with bounded(name):
            try:
                reader(HOSTILE[name], tmp_path)
            except ConfigError as error:
                said = str(error)
            else:
                said = "read"  # nothing, or what has no meaning for this reader
        assert said == "read" or "yaml" in said or "yml" in said
        assert len(said) < 20_000
    if name not in {"nothing", "only a mark of order", "an ordered map"}:
        with pytest.raises(ConfigError):
            READERS["mapping"](HOSTILE[name], tmp_path)


WORDS = st.sampled_from(
    [
        *("*a", "&a ", "!!x ", "{", "}", "[", "]", ": ", "- ", "? ", "| ", "> ", "'", '"', "#", "\n", "\t", "%", "@"),
        *("null", "~", "yes", "off", "0x1F", "1_000", "1e400", "-.inf", "2026-02-30", "12:30:45", "9" * 40, "<<: "),
        *("\x00", "\ufeff", "\u2028", "\ud800", "é", "{}", "[]", "''", "a" * 300, "-1", "0.0000001", "99999999d"),
    ]
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, good: str) -> str:
    """A good file in which some words are others."""
    lines = good.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line, kind = lines[at], draw(st.integers(0, 4))
        cut = draw(st.integers(0, len(line)))
        if kind == 0:
            lines[at] = ""
        elif kind == 1:
            lines[at] = line * 2
        elif kind == 2:
            lines[at] = line[:cut] + draw(WORDS) + line[cut:]
        elif kind == 3:
            head, mark, _ = line.partition(": ")
            lines[at] = f"{head}{mark}{draw(WORDS)}\n"
        else:
            lines[at] = " " * draw(st.integers(0, 6)) + line.lstrip()
    return "".join(lines)


@pytest.mark.parametrize("name", READERS)
def test_a_spoiled_file_is_read_or_an_error(name: str, tmp_path: Path) -> None:
    """A slip of the hand ends in a ConfigError, whatever slipped."""
    assert READERS[name](GOOD[name], tmp_path) is not None

    @FEW if name != "agreement" else settings(FEW, max_examples=max(1, EXAMPLES // 4))
    @given(text=spoiled(GOOD[name]))
    def read(text: str) -> None:
        with suppress(ConfigError):
            READERS[name](text, tmp_path)

    read()


def test_anchors_may_be_used_where_they_are_harmless(tmp_path: Path) -> None:
    """What several connections share stands once."""
    shared = """
connections:
  - {name: a, connector: hubspot, brake: &calm {creates: {count: 5, share: 0.1}}}
  - {name: b, connector: mailchimp, brake: *calm}
"""
    found = read_config(shared, tmp_path).connections
    assert found[0].brake == found[1].brake


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    """With both lines: the second would silently win."""
    with pytest.raises(ConfigError, match=r"tandem.yml:3: 'public_url' stands on line 1 already"):
        read_config("public_url: https://a.example\n\npublic_url: https://b.example\n", tmp_path)


@pytest.mark.parametrize("name", ["an alias of itself", "30 February", "a number of 5,000 digits", "lists 500 deep"])
def test_the_bounds_are_what_holds_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur: the library's own safe reader, with other exceptions, or a value that goes round in itself."""
    monkeypatch.setattr(bounded_yaml, "load", lambda text, _file: yaml.safe_load(text))
    said = ""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)  # Python's own: what ran before in this process may have raised it
    try:
        read_config(HOSTILE[name], tmp_path)
    except (ValueError, RecursionError):
        return
    except ConfigError as error:
        said = str(error)
    finally:
        sys.setrecursionlimit(usual)
    assert name == "an alias of itself", "it is not hostile"
    assert "stands inside" not in said
