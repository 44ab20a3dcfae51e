"""The scan for secrets finds one that is new, wherever it stands, and not what was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import secretscan

# Put together here, so that this file holds none itself.
KEY = "AKIA" + "QWERTYUIOPASDFGH"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nx\n"


@pytest.mark.parametrize(
    ("name", "text", "kinds"),
    [
        ("app/x.py", f'aws = "{KEY}"\n', {"AWS Access Key"}),
        ("tests/x.py", f'aws = "{KEY}"\n', {"AWS Access Key"}),
        ("docs/x.md", PEM, {"Private Key"}),
        ("app/x.py", 'password = "' + "hunter2hunter2" + '"\n', {"Secret Keyword"}),
        ("tests/x.py", 'password = "' + "hunter2hunter2" + '"\n', set()),
        ("app/x.py", "names = ['token', 'secret']\n", set()),
    ],
)
def test_a_new_secret_is_found(name: str, text: str, kinds: set[str], tmp_path: Path) -> None:
    """By its form everywhere; by its look where nothing is invented."""
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = secretscan.new([name], {}, tmp_path)
    assert {kind for _, _, kind, _ in found} == kinds
    looked_at = {name: [digest for *_, digest in found]}
    assert secretscan.new([name], looked_at, tmp_path) == []
    (tmp_path / name).write_text("\n\n" + text, encoding="utf-8")
    assert secretscan.new([name], looked_at, tmp_path) == []


def test_files_are_listed() -> None:
    """Guards the guard: an empty list must not pass."""
    assert {"app/main.py", "tests/test_secretscan.py", "compose.yaml"} <= set(secretscan.files())
