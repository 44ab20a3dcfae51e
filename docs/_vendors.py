"""The page of all vendors: what each connector claims, which the conformance suite holds it to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import connectors
from app.sync import mapping
from connectors.contract import Can, Connector, Side

MAPPINGS: Final = Path(__file__).resolve().parents[1] / "mappings"

MEANS: Final = {
    Can.WEBHOOK: "deliveries are verified and split into events",
    Can.READ: "records are read back by id, in batches where the vendor has them",
    Can.CHANGED: "the poll: what changed since, with deletions where the vendor tells them",
    Can.FIND: "whoever has an address is looked up before anybody is created",
    Can.WRITE: "records are created and updated, each with an answer of its own",
    Can.ARCHIVE: "a record is put away and can be brought back",
    Can.ERASE: "a person is removed for good, or as far as the vendor lets anybody",
    Can.MERGE: "two records become one",
    Can.DESCRIBE: "the account's fields are read, so that a mapping can be checked against them",
    Can.HOOKS: "`tandem webhooks install` makes the vendor's webhooks",
    Can.COMPANIES: "companies and who belongs to them",
    Can.DEALS: "deals with stage, amount, owner and contacts",
    Can.COLLEAGUES: "the directory of the vendor's users",
    Can.ENGAGEMENT: "opens, clicks, calls, meetings and other acts",
    Can.TIMELINE: "entries in the vendor's timeline of a person",
}
TITLES: Final = {"espocrm": "EspoCRM", "hubspot": "HubSpot", "activecampaign": "ActiveCampaign"}
HEAD: Final = """# Vendors

Written by `python -m docs.generate` from what the connectors claim. The conformance suite (`tests/test_conformance.py`)
tests each claim of each connector, and that what is not claimed is refused as unsupported: a mark here that is not true
fails it.

"""


def page() -> str:
    """``docs/vendors/README.md``."""
    kinds = sorted(connectors.find().values(), key=lambda kind: (kind.side is not Side.CRM, kind.name))
    names = [_title(kind) for kind in kinds]
    links = [f"[{title}]({kind.name}.md)" for title, kind in zip(names, kinds, strict=True)]
    lines = [f"| | {' | '.join(links)} |", "|---|" + "---|" * len(kinds)]
    lines.append("| usual side | " + " | ".join(str(kind.side) for kind in kinds) + " |")
    lines += [f"| `{can}` | " + " | ".join("yes" if can in kind.can else "–" for kind in kinds) + " |" for can in Can]
    lines.append("| consent, read | " + " | ".join(_consents(kind, write=False) for kind in kinds) + " |")
    lines.append("| consent, written | " + " | ".join(_consents(kind, write=True) for kind in kinds) + " |")
    lines.append(
        "| OAuth | "
        + " | ".join("yes" if kind.oauth is not None or "oauth_for" in vars(kind) else "–" for kind in kinds)
        + " |"
    )
    lines.append("| records of one read / write | " + " | ".join(_batches(kind) for kind in kinds) + " |")
    means = [f"- `{can}`: {about}." for can, about in MEANS.items()]
    return HEAD + "\n".join(lines) + "\n\nWhat the rows mean:\n\n" + "\n".join(means) + "\n"


def _title(kind: type[Connector]) -> str:
    return TITLES.get(kind.name, kind.name.capitalize())


def _batches(kind: type[Connector]) -> str:
    return f"{kind.limits.read_batch} / {kind.limits.write_batch}"


def _consents(kind: type[Connector], *, write: bool) -> str:
    """The channels of the shipped mapping."""
    rules = mapping.load(MAPPINGS / f"{kind.name}.yaml").consents
    found = sorted({str(rule.channel) for rule in rules if (rule.write if write else True)})
    return ", ".join(found) if found else "–"
