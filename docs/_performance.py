"""The page of measurements, made of what ``python -m bench`` kept.  In: ``bench/results.json``.  Out: Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bench.__main__ import BENCHES, RESULTS
from docs import _costs

_INTRO: Final = """# Performance

<!-- Written by `make docs` from bench/results.json, which `make bench` writes. -->

What Tandem reaches, measured by `make bench` (quick) or `make bench full=1` (the sizes that are spoken of here; hours).
Every bench measures its baseline in the same run, so that a ratio holds on other machines, too. A machine that does
other work at the same time spoils the figures: the load before each run is told. So is the time in which 100,000 small
objects are made, sorted and written in Python, since a virtual machine may be twice as fast on another day: the seconds
of two runs compare where it is alike. Bars are what we mean to reach; those that are missed stand here as well.

`python -m bench --list` says what there is, `python -m bench --only ack` measures one anew. What `peers` compares, and
how: [performance-peers.md](performance-peers.md).
"""


_WHY: Final = {
    "start": (
        "Nearly all of it is Python reading the modules of packages, as in the bare app beside it. The ratio holds "
        "from one day to another, the seconds do not: on 2026-11-26 it was 1.21 s on this machine, the bare app 0.39 s."
    ),
    "ack": (
        "A bare route only answers. Ours checks a signature, splits and reads the body, names its events and commits "
        "them, in Python and under the one lock of its interpreter; the HTTP server alone takes as long as all of the "
        "bare route. More doors share the work only as more processes: replicas on PostgreSQL."
    ),
    "pipeline": (
        "The floor only hands rows to the driver. Before that ours compares each record with up to twelve people, "
        "merges every field by its rule and writes down why; no package stands out. Only less Python would be faster."
    ),
    "reading": (
        "What a record costs is what `pipeline` shows, once more with the page it came in, and one thread at a time "
        "holds the interpreter. The vendor answered at once and waited for us. In a large store more of those who are "
        "compared resemble a record, up to the twelve that are compared at most: most of what grows. The rest is the "
        "machine, which is not as fast in every minute of an hour."
    ),
    "peers": (
        "Times of n8n were thought of as of a flow that runs once for each change. The flow measured here takes a "
        "delivery of a hundred changes as one execution and keeps ten calls under way: what an experienced user would "
        "build. Tandem is not waiting for the vendors: it stores, reads back, merges and plans every change in one "
        "interpreter, and reads the echo of every write that Mailchimp tells it of, which is most of its calls."
    ),
}
"""Why a bar was missed; shown where one was, above the profile of the same run."""


def page() -> str:
    """The whole page."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    parts = [_INTRO, "\n".join(_summary(kept)), _costs.section()]
    missing = []
    for bench in BENCHES:
        entry = kept.get(bench.name)
        if entry is None:
            missing.append(f"`{' '.join(bench.command(full=True))}`")
            continue
        parts.append("\n".join(_section(bench.name, entry)))
    if missing:
        parts.append("## Not measured yet\n\n" + "\n".join(f"- {command}" for command in missing))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _summary(kept: Mapping[str, Any]) -> Iterator[str]:
    """Every bar, and whether it was reached."""
    yield "## What was meant, and what was reached"
    yield ""
    yield "| bench | bar | |"
    yield "|---|---|---|"
    for bench in BENCHES:
        for path, value in _flat(kept.get(bench.name, {}).get("found")):
            if "bars" in path:
                words = _words([p for p in path if p != "bars"])
                yield f"| [{bench.name}](#{bench.name}) | {words} | {'reached' if value else '**not reached**'} |"


def _section(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    about = entry["about"]
    yield f"{about[0].upper()}{about[1:]}."
    yield ""
    where = f"{entry['cores']} cores, {entry['memory_gb']} GB, Python {entry['python']}, {entry['system']}"
    when = f"{entry['at'][:10]}, {entry['seconds']} s, load before {entry['load_before']}"
    if "speed_ms" in entry:
        when += ", 100,000 objects in {} ms before and {} ms after".format(*entry["speed_ms"])
    yield f"`{entry['command']}`: {when}; {where}."
    if "failed" in entry:
        yield ""
        yield f"**It failed: {entry['failed']}.**"
    bars, figures, profiles = [], [], dict[str, list[str]]()
    for path, value in _flat(entry.get("found")):
        if "profile" in path:
            at = path.index("profile")
            shown = f"{path[-1]} {value} %" if path[at + 1 :] else str(value)
            profiles.setdefault(_words(path[:at]), []).append(shown)
        else:
            (bars if "bars" in path else figures).append((path, value))
    if figures:
        yield ""
        yield "| figure | value |"
        yield "|---|---|"
        for path, value in figures:
            yield f"| {_words(path)} | {_shown(value)} |"
    if bars:
        yield ""
        for path, value in bars:
            said = (
                {True: "reached", False: "**not reached**"}.get(value, _shown(value))
                if isinstance(value, bool)
                else _shown(value)
            )
            yield f"- {_words([p for p in path if p != 'bars'])}: {said}"
    if name in _WHY and not all(value for _, value in bars if isinstance(value, bool)):
        yield ""
        yield _WHY[name]
    for whose, shares in profiles.items():
        yield ""
        yield f"Where the processor time goes{f' ({whose})' if whose else ''}: {', '.join(shares)}."


def _flat(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves of nested objects, with their names; short lists are one value."""
    if isinstance(found, Mapping):
        for name, value in found.items():
            if name not in {"bench", "what"}:
                yield from _flat(value, (*path, str(name)))
    elif isinstance(found, list) and any(isinstance(one, Mapping) for one in found):
        for n, value in enumerate(found, 1):
            yield from _flat(value, (*path, str(n)))
    else:
        yield path, found


def _words(path: Any) -> str:
    return " · ".join(str(part).replace("_", " ").replace("|", "\\|") for part in path)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) if value else "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "–" if value is None else str(value).replace("|", "\\|")
