"""Write the pages that the code itself knows: ``python -m docs.generate``, or ``--check`` to compare only.

In: the commands, the connectors, the table of permissions, the grammar of mappings, what was measured, and what is
counted.  Out: ``docs/cli.md``, ``docs/permissions.md``, ``docs/vendors/README.md``, ``docs/performance.md`` and
``mappings/schema.json``.  With ``--check`` nothing is written,
and the exit code is 1 where a page is out of date.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.cli import documentation
from app.ops.access import permissions
from app.sync.mapping import write_schema
from docs import _performance, _vendors

ROOT = Path(__file__).resolve().parents[1]


def _schema() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "schema.json"
        write_schema(path)
        return path.read_text(encoding="utf-8")


PAGES: dict[str, Callable[[], str]] = {
    "docs/cli.md": documentation,
    "docs/permissions.md": permissions.page,
    "docs/vendors/README.md": _vendors.page,
    "docs/performance.md": _performance.page,
    "mappings/schema.json": _schema,
}


def stale(root: Path = ROOT) -> dict[str, str]:
    """The pages that are not what the code would write now, with what it would write."""
    found = {}
    for name, make in PAGES.items():
        text, path = make(), root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found[name] = text
    return found


def main(arguments: list[str]) -> int:
    """The command: its exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("python -m docs.generate [--check]\n")
        return 2
    check = bool(arguments)
    pages = stale()
    for name, text in pages.items():
        if not check:
            (ROOT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: {'out of date; run `make docs`' if check else 'written'}\n")
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
