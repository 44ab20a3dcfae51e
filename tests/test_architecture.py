"""The arrows between the rooms, read from the source: what may know what, and what only one module may do."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = 450  # a longer module has two jobs


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name."""

    name: str
    text: str
    package: bool = False  # an __init__.py

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> frozenset[str]:
        """Everything it names in an import, wherever that stands; ``from a import b`` is both ``a`` and ``a.b``."""
        return frozenset(self._named(ast.walk(self.tree)))

    @cached_property
    def loads(self) -> frozenset[str]:
        """What importing it imports: not what stands in a function or is there for the type checker only."""
        return frozenset(self._named(_at_import(self.tree.body)))

    @cached_property
    def words(self) -> frozenset[str]:
        """Every name that it looks up or imports."""
        return frozenset(said(self))

    def _named(self, nodes: Iterator[ast.AST]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module if node.module is not None else ""
                if node.level:
                    parts = self.name.split(".")
                    up = parts[: len(parts) - node.level + self.package]
                    base = ".".join([*up, base]).rstrip(".")
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _at_import(node.orelse)
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            inner = getattr(node, part, [])
            yield from _at_import([h for h in inner if isinstance(h, ast.stmt)])
            for handler in inner:
                if isinstance(handler, ast.ExceptHandler):
                    yield from _at_import(handler.body)


def _modules(*rooms: str) -> dict[str, Module]:
    found = {}
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if package else parts)
            found[name] = Module(name, path.read_text(encoding="utf-8"), package)
    return found


MODULES = _modules("app", "connectors", "sandbox")
OURS = "app bench connectors docs mappings migrations sandbox tests"
JOURNEY = "app.entry app.sync app.records app.push app.repair app.agreement"
TOP = (
    "app.accounts app.cli app.commands app.console app.demo app.doctor app.logs app.main app.memory app.ops "
    "app.serving app.worker"
)
PURE = (
    "app.sync.mapping app.sync._mapping_* app.sync.transforms app.sync._transforms_* app.sync.matching "
    "app.sync.merging app.match "
    "app.agreement.words app.agreement.conditions app.agreement._conditions_parse app.agreement.facts "
    "app.agreement.load app.agreement.lifecycle app.agreement.judging app.agreement.running app.agreement.versions "
    "app.agreement.grammar app.agreement.hours app.agreement.terms app.agreement.clocks app.agreement.attempts "
    "app.agreement.attribution app.agreement.journey app.agreement.counting app.agreement.rates "
    "app.agreement.enrolling app.agreement.effects app.agreement.quotas app.agreement.owed app.agreement.promises "
    "app.agreement._promises_*"
)

# Who → what they never import, not even inside a function.
NEVER = {
    "connectors": "app bench mappings migrations sandbox tests sqlalchemy fastapi",
    "sandbox": "app bench connectors mappings migrations tests sqlalchemy",
    "app": "bench sandbox tests",
    "app.core": OURS.replace("app ", "") + " " + JOURNEY + " " + TOP,
    JOURNEY: TOP + " fastapi typer rich",
    PURE: "sqlalchemy httpx alembic app.core.db app.core.tables app.records app.push app.entry",
}


def within(name: str, rooms: str) -> bool:
    """Is a dotted name one of these, or below one; ``a.b_*`` stands for every ``a.b_…``."""
    return name.startswith(_beginnings(rooms)) or name in rooms.split()


@cache
def _beginnings(rooms: str) -> tuple[str, ...]:
    return tuple(room[:-1] if room.endswith("*") else f"{room}." for room in rooms.split())


def forbidden(modules: Collection[Module], rules: Mapping[str, str]) -> list[str]:
    """Each import that a rule forbids."""
    return [
        f"{module.name} imports {name}"
        for module in modules
        for who, never in rules.items()
        if within(module.name, who)
        for name in sorted(module.imports)
        if within(name, never)
    ]


def reach(start: str, modules: Mapping[str, Module]) -> dict[str, str]:
    """All that importing a module loads, each with the module that asked for it."""
    asked: dict[str, str] = {}
    todo = [start]
    while todo:
        name = todo.pop()
        for loaded in modules[name].loads:
            if loaded not in asked:
                asked[loaded] = name
                if loaded in modules:
                    todo.append(loaded)
    return asked


def cycle(modules: Mapping[str, Module]) -> list[str]:
    """Modules that load each other, in a ring; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for loaded in sorted(modules[name].loads):
            # A package is an empty __init__: who imports from it does not wait for it.
            if loaded in modules and loaded != name and not modules[loaded].package:
                ring = walk(loaded, [*path, name])
                if ring:
                    return ring
        done.add(name)
        return []

    return next((ring for name in sorted(modules) if (ring := walk(name, []))), [])


def test_there_are_files_to_check() -> None:
    """Guards the guard: an empty search must not pass, nor a rule about nobody."""
    assert len(MODULES) > 60
    for who in [room for rooms in NEVER for room in rooms.split()]:
        assert any(within(name, who) for name in MODULES), who


def test_arrows_point_one_way() -> None:
    """No room imports one that stands above it."""
    assert forbidden(MODULES.values(), NEVER) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("connectors.evil", "from app.core import words"),
        ("connectors.evil", "def f():\n    import app"),
        ("sandbox.evil", "from connectors.contract import Record"),
        ("app.core.evil", "import connectors"),
        ("app.core.evil", "from app.records import contacts"),
        ("app.core.evil", "from app import records"),
        ("app.sync.evil", "import app.main"),
        ("app.sync.evil", "from ..ops import metrics"),
        ("app.push.evil", "from app import worker"),
        ("app.sync.merging", "from sqlalchemy import select"),
        ("app.sync._mapping_evil", "from app.core import db"),
        ("app.evil", "if True:\n    import sandbox.serve"),
    ],
)
def test_a_wrong_arrow_is_found(name: str, text: str) -> None:
    """The search finds each kind of forbidden import."""
    assert forbidden([Module(name, text)], NEVER)


def test_deciding_reaches_no_database() -> None:
    """Mapping, matching and merging do not load the store through somebody else either."""
    pure = [name for name in MODULES if within(name, PURE)]
    assert len(pure) > 5
    reached = {
        f"{name}: {by} loads {loaded}"
        for name in pure
        for loaded, by in reach(name, MODULES).items()
        if within(loaded, NEVER[PURE])
    }
    assert reached == set()


def test_the_way_round_is_found() -> None:
    """A pure module that loads the store through a neighbour is found."""
    modules = {m.name: m for m in (Module("a", "import b"), Module("b", "import sqlalchemy.orm"))}
    assert reach("a", modules)["sqlalchemy.orm"] == "b"


def test_no_module_waits_for_itself() -> None:
    """Modules do not import each other in a ring."""
    assert cycle(MODULES) == []


@pytest.mark.parametrize(
    ("texts", "ring"),
    [
        ({"a": "import b", "b": "import c", "c": "import a"}, ["a", "b", "c", "a"]),
        ({"a": "import b", "b": "def f():\n    import a"}, []),
        ({"a": "import b", "b": "if TYPE_CHECKING:\n    import a"}, []),
        ({"a": "import b", "b": "try:\n    import a\nexcept ImportError:\n    pass"}, ["a", "b", "a"]),
    ],
)
def test_a_ring_is_found(texts: Mapping[str, str], ring: list[str]) -> None:
    """Guards the guard."""
    assert cycle({name: Module(name, text) for name, text in texts.items()}) == ring


# What only one module does: words after a dot, or imported by name → who may.  ``begin`` alone is a word like any other
# (an erasure begins, too), so it counts for what can begin a transaction, by the names that this code gives to that.
ONLY = {
    ".commit .rollback .begin_nested create_engine sessionmaker Session": "app.core.db",
    "connection.begin database.begin db.begin engine.begin session.begin _writer.begin": "app.core.db",
    "datetime.now datetime.utcnow datetime.today date.today time.time time.time_ns": "app.core.clock",
    "time.monotonic time.monotonic_ns time.perf_counter": "app.core.clock",
}
ALSO = {  # the vendors' clients measure durations, never the time of day
    "time.monotonic": "connectors._http connectors._budget connectors._breaker",
}


def said(module: Module) -> Iterator[str]:
    """Every name that is looked up or imported, as ``name``, ``.attribute`` and ``base.attribute``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            yield f".{node.attr}"
            base = node.value
            yield f"{base.attr if isinstance(base, ast.Attribute) else getattr(base, 'id', '')}.{node.attr}"
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.name
                yield f"{node.module}.{alias.name}"


def elsewhere(modules: Collection[Module]) -> list[str]:
    """Each use of a word outside the one module that may."""
    return [
        f"{module.name}: {word}"
        for module in modules
        for words, owner in ONLY.items()
        for word in words.split()
        if module.name != owner and not within(module.name, ALSO.get(word, "")) and word in module.words
    ]


def test_one_commit_and_one_clock() -> None:
    """Only ``app.core.db`` begins and commits, only ``app.core.clock`` tells the time."""
    ours = [m for m in MODULES.values() if within(m.name, "app")]
    assert elsewhere(ours) + elsewhere([m for m in MODULES.values() if within(m.name, "connectors")]) == []
    for words, owner in ONLY.items():
        assert set(words.split()) & MODULES[owner].words, owner


@pytest.mark.parametrize(
    "text",
    [
        "db.commit()",
        "with self.engine.begin() as db:\n    pass",
        "from sqlalchemy import create_engine",
        "import datetime\nnow = datetime.datetime.now()",
        "from datetime import datetime\nnow = datetime.now(UTC)",
        "from time import time",
        "import time\nstart = time.monotonic()",
    ],
)
def test_a_second_commit_or_clock_is_found(text: str) -> None:
    """The search finds each spelling."""
    assert elsewhere([Module("app.evil", text)])


def test_modules_have_one_job() -> None:
    """No module is long."""
    long = {name: len(m.text.splitlines()) for name, m in MODULES.items() if len(m.text.splitlines()) > LINES}
    assert long == {}


def unfinished(modules: Collection[Module]) -> list[str]:
    """Code that says it is not done, and names that say nothing."""
    found = []
    for module in modules:
        found += [f"{module.name}: {word}" for word in ("TO" + "DO", "FIX" + "ME") if word in module.text]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                found.append(f"{module.name}:{node.lineno}: {node.id}")
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Util", "Utils")):
                found.append(f"{module.name}:{node.lineno}: {node.name}")
    return found


def test_nothing_is_left_unfinished() -> None:
    """No stub and no name that stands for everything."""
    assert unfinished(MODULES.values()) == []


@pytest.mark.parametrize("text", ["raise NotImplementedError", "# TO" + "DO: later", "class ContactManager: ..."])
def test_a_stub_is_found(text: str) -> None:
    """Guards the guard."""
    assert unfinished([Module("app.evil", text)])
