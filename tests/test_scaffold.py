"""What ``tandem connector new`` writes: it runs, is clean, and is red until it is filled in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.sync import mapping
from connectors._scaffold import FILES, SUITE, line, scaffold

ROOT = Path(__file__).resolve().parents[1]
NOT_RED = {  # promises that a connector with blanks keeps already
    "test_it_declares_itself",
    "test_it_needs_its_required_settings",
    "test_its_repr_holds_no_secret",
    "test_oauth_takes_the_place_of_its_key",  # it has none
    "test_what_it_does_not_claim_is_unsupported",  # it claims all
    "test_the_wire_is_as_the_vendor_describes",  # skipped: optional
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a new connector needs, with one called acme_crm in it."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("connectors", "sandbox", "tests", "mappings"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    made = scaffold("acme_crm", root)
    assert made == [root / path.format(name="acme_crm") for path in FILES.values()] + [root / SUITE]
    return root


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100, check=False)


def test_it_is_red_until_it_is_filled_in(copy: Path) -> None:
    """The suite collects, fails for nearly every promise, and each failure says what to fill in."""
    # Another connector of the tree may be half written: only this one is asked.
    done = run(copy, "pytest", str(SUITE), "-k", "TestAcmeCrm", "-v", "--tb=line", "-p", "no:cacheprovider", "-rf")
    verdicts = dict(re.findall(r"::TestAcmeCrm::(test_\w+) (PASSED|FAILED|ERROR|SKIPPED)", done.stdout))
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(verdicts) > 30
    assert {name for name, verdict in verdicts.items() if verdict != "FAILED"} <= NOT_RED
    for told in (
        "fill in Example.sign, Example.proof, Example.body, Example.events, Example.unknown in tests/examples/acme",
        "fill in Example.missing",
        "fill in Example.error",
        "acme_crm: check() is not filled in yet in connectors/acme_crm.py; see docs/add-a-connector.md",
    ):
        assert told in done.stdout


def test_it_has_joined_and_the_others_still_run(copy: Path) -> None:
    """The list of connectors knows it, and the line in the suite counts as joining."""
    code = (
        "import connectors; from tests import test_conformance as t; "
        "assert t.TestAcmeCrm.kind is connectors.find()['acme_crm']; assert t.TestAcme.kind.name == 'acme'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_what_it_writes_is_clean(copy: Path) -> None:
    """Linted and formatted as everything here."""
    made = [str(copy / path.format(name="acme_crm")) for path in FILES.values() if path.endswith(".py")]
    made.append(str(copy / SUITE))
    for words in (("ruff", "check", "--no-cache"), ("ruff", "format", "--check", "--no-cache")):
        done = run(copy, *words, *made)
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_mapping_loads(copy: Path) -> None:
    """The mapping is whole: it can be run before a field is changed in it."""
    map_ = mapping.load(copy / "mappings" / "acme_crm.yaml")
    assert set(map_.theirs()) >= {"email", "first_name", "last_name"}


def test_its_simulator_starts(copy: Path) -> None:
    """It asks for its key, answers its one endpoint, and says where to go on for any other."""
    code = (
        "from starlette.applications import Starlette\n"
        "import anyio, httpx\n"
        "from sandbox.acme_crm import KEY, AcmeCrmSim\n"
        "async def ask(path, key):\n"
        "    sim = AcmeCrmSim()\n"
        "    client = httpx.AsyncClient(transport=httpx.ASGITransport(sim.app), base_url='http://127.0.0.1')\n"
        "    async with client:\n"
        "        r = await client.get(path, headers={'authorization': 'Bearer ' + key})\n"
        "    print(r.status_code, r.text)\n"
        "for path, key in (('/me', KEY), ('/me', 'x'), ('/y', KEY), ('/_sandbox/records', '')):\n"
        "    anyio.run(ask, path, key)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False, timeout=60
    )
    assert [said.split(" ", 1)[0] for said in done.stdout.splitlines()] == ["200", "401", "404", "200"], done.stderr
    assert "sandbox/acme_crm.py" in done.stdout


@pytest.mark.parametrize(
    "name",
    ["", "Acme", "acme-crm", "1acme", "acme__crm", "_acme", "acme_", "../acme", "acmé", "a" * 31, "class", "contract"],
)
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    """It says what a name is like, and writes nothing."""
    with pytest.raises(ValueError, match=r"cannot be a connector's name.*(such as 'acme'|try '\w+')"):
        scaffold(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", FILES.values())
def test_nothing_is_overwritten(path: str, tmp_path: Path) -> None:
    """One file that is there stops it all, by its name."""
    there = tmp_path / path.format(name="acme")
    there.parent.mkdir(parents=True)
    there.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=re.escape(str(there))):
        scaffold("acme", tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [there]
    assert there.read_text(encoding="utf-8") == "mine"


def test_a_tree_without_the_suite_gets_the_rest(tmp_path: Path) -> None:
    """Where there are no tests, the files are written all the same; ``line`` says what is missing."""
    assert scaffold("acme", tmp_path) == [tmp_path / path.format(name="acme") for path in FILES.values()]
    assert line("acme_crm") == "TestAcmeCrm = conformance(AcmeCrm, ACME_CRM)"
