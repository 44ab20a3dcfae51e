"""Where the processor time of a process goes, for figures that miss their bar.  In: a process.  Out: shares by package.

``py-spy`` looks at the process from outside, without its help, and only at the thread that holds the interpreter.  It
needs the right to look into other processes; where it has none, a sentence says so in place of the shares.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MANY = 12  # packages that are told
_FRAME = re.compile(r"\((?P<file>[^()]*?):\d+\)$")


class Looking:
    """A look at a process that is under way."""

    def __init__(self) -> None:
        self.shares: dict[str, float] | str = "py-spy is not installed"


@contextlib.contextmanager
def looked_at(pid: int) -> Iterator[Looking]:
    """Look at a process for as long as the block lasts; the result holds the shares afterwards."""
    found = Looking()
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        words = [spy, "record", "--gil", "--rate", "200", "--format", "raw", "--output", str(out), "--pid", str(pid)]
        looking = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield found
        finally:
            looking.send_signal(2)  # as Ctrl-C: it writes down what it saw
            try:
                _, said = looking.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                looking.kill()
                said = "py-spy did not end"
            if out.exists():
                found.shares = shares(out.read_text())
            else:
                lines = said.split("\n")
                found.shares = f"py-spy could not look: {next((x for x in reversed(lines) if x.strip()), 'no reason')}"


def shares(stacks: str) -> dict[str, float]:
    """Percent of all samples by the package of the innermost frame; ours by room.  ``stacks``: py-spy's."""
    counted: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, times = line.rpartition(" ")
        if stack and times.isdigit():
            counted[_package(stack.rpartition(";")[2])] += int(times)
    total = sum(counted.values())
    return {name: round(100 * n / total, 1) for name, n in counted.most_common(MANY)} if total else {}


def _package(frame: str) -> str:
    match = _FRAME.search(frame)
    parts = Path(match["file"]).parts if match else ()
    for base in ("site-packages", "dist-packages"):
        if base in parts:
            parts = parts[parts.index(base) + 1 :]
            return parts[0].removesuffix(".py")
    if parts[:1] and parts[0] in {"app", "connectors", "bench", "sandbox"}:
        return ".".join(parts[:-1][:2]) if len(parts) > 2 else ".".join(part.removesuffix(".py") for part in parts)
    if len(parts) > 1 and not any(p.startswith("python3") for p in parts):
        return parts[0].removesuffix(".py")
    return "Python"
