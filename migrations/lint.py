"""What a migration may do while processes of the version before still run: add, and nothing else.

``python -m migrations.lint``: problems of all migrations; exit code 1 where there is one.  A migration that takes away
carries ``contract = "NNNN_words"``, the oldest revision whose code works without what it takes; everything is allowed
there.  The first migration makes an empty store and is not looked at.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

VERSIONS = Path(__file__).resolve().parent / "versions"

TAKES = {
    "drop_table": "drops a table",
    "drop_column": "drops a column",
    "drop_constraint": "drops a constraint, which ON CONFLICT of older code may name",
    "rename_table": "renames a table",
    "create_check_constraint": "adds a check that older code may not keep",
    "create_unique_constraint": "adds a uniqueness that older code may not keep",
    "create_foreign_key": "adds a reference that older code may not keep",
    "create_primary_key": "changes the primary key",
}
ALTERS = {
    "new_column_name": "renames a column",
    "type_": "changes the type of a column: the whole table is rewritten, and older code reads it otherwise",
}
RAW = re.compile(
    r"\b(DROP\s+(TABLE|COLUMN|CONSTRAINT|VIEW)|RENAME|SET\s+NOT\s+NULL|ALTER\s+COLUMN\s+\w+\s+TYPE)\b", re.I
)
WORDS = re.compile(r"\b(UPDATE|DELETE\s+FROM|TRUNCATE)\b\s+\w+", re.I)


def problems(source: str) -> list[str]:
    """What is wrong with the text of one migration: ``line N: what``."""
    tree = ast.parse(source)
    if any(_names(node, "contract") for node in tree.body):
        return []
    return [f"line {line}: {what}" for line, what in sorted(_found(tree))]


def _names(node: ast.stmt, name: str) -> bool:
    return (
        isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _found(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {k.arg: k.value for k in node.keywords if k.arg is not None}
        if name in TAKES:
            yield node.lineno, TAKES[name]
        elif name == "alter_column":
            yield from ((node.lineno, what) for word, what in ALTERS.items() if word in given)
            if _is(given.get("nullable"), value=False):
                yield node.lineno, "makes a column NOT NULL, which older code may leave empty"
            if _is(given.get("server_default"), value=None):
                yield node.lineno, "takes a default away that older code may rely on"
        elif name == "add_column":
            yield from _column(node)
        elif name == "create_index":
            if _is(given.get("unique"), value=True):
                yield node.lineno, "adds a uniqueness that older code may not keep"
            if not _is(given.get("if_not_exists"), value=True):
                yield (
                    node.lineno,
                    "makes an index without if_not_exists=True, so nobody can make it concurrently before",
                )
        elif name in {"execute", "exec_driver_sql"}:
            said = " ".join(c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str))
            if (match := RAW.search(said)) is not None:
                yield node.lineno, f"takes away: {' '.join(match[0].split())}"
            if (match := WORDS.search(said)) is not None:
                yield node.lineno, f"changes rows ({match[0]}): in one transaction that locks a large table for long"


def _column(call: ast.Call) -> Iterator[tuple[int, str]]:
    for column in (c for c in ast.walk(call) if isinstance(c, ast.Call)):
        if column is call or not (isinstance(column.func, ast.Attribute) and column.func.attr == "Column"):
            continue
        given = {k.arg: k.value for k in column.keywords if k.arg is not None}
        default = given.get("server_default")
        if not _is(given.get("nullable"), value=True) and (default is None or _is(default, value=None)):
            yield column.lineno, "adds a column that older code cannot fill: nullable=True, or a server_default"


def _is(node: ast.expr | None, *, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def main(folder: Path = VERSIONS) -> int:
    """The command: its exit code."""
    wrong = 0
    for path in sorted(folder.glob("[0-9]*.py"))[1:]:
        for problem in problems(path.read_text(encoding="utf-8")):
            sys.stdout.write(f"{path.name}: {problem}\n")
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
