"""Look for secrets in what git knows: ``python -m tests.secretscan``.  In: files.  Out: those that nobody looked at.

``tests/secretscan.json`` holds what was looked at and is none: invented keys of tests, published test vectors.  By
hash, not by line, so that a file may grow above it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parents[1]
KNOWN = Path(__file__).with_name("secretscan.json")
LEFT_OUT = ("requirements/", "tests/secretscan.json")  # hashes and nothing else
INVENTED = ("tests/", "docs/", "sandbox/", "bench/", "connectors/_templates/")

FORMS = (
    *("ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector"),
    *("GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector", "NpmDetector"),
    *("DiscordBotTokenDetector",),
    *("OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector"),
    *("SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector"),
)
PLUGINS: list[dict[str, object]] = [{"name": name} for name in FORMS]
# What only looks like one: where keys are invented by the dozen, that would be every second file.
GUESSES: list[dict[str, object]] = [
    {"name": "KeywordDetector"},
    {"name": "Base64HighEntropyString", "limit": 4.5},
    {"name": "HexHighEntropyString", "limit": 3.0},
]

Found = tuple[str, int, str, str]
"""File, line, kind, hash."""


def files() -> list[str]:
    """What git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    names = listed.decode().split("\0")
    return [name for name in names if name and not name.startswith(LEFT_OUT) and (ROOT / name).is_file()]


def found(names: Iterable[str], root: Path = ROOT) -> Iterator[Found]:
    """What looks like a secret; where they are invented, only what has the form of a real one."""
    names = list(names)
    invented = [name for name in names if name.startswith(INVENTED)]
    for part, plugins in ((invented, PLUGINS), (sorted({*names} - {*invented}), [*PLUGINS, *GUESSES])):
        with transient_settings({"plugins_used": plugins}):
            secrets = SecretsCollection(root=str(root))
            secrets.scan_files(*part)
            for _, secret in secrets:
                name = str(Path(secret.filename).relative_to(root))
                yield name, secret.line_number, secret.type, secret.secret_hash


def known() -> dict[str, list[str]]:
    """File → hashes of what was looked at."""
    data: dict[str, list[str]] = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    return data


def new(names: Iterable[str], looked_at: dict[str, list[str]], root: Path = ROOT) -> list[Found]:
    """What nobody looked at."""
    return [one for one in found(names, root) if one[3] not in looked_at.get(one[0], ())]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.secretscan", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="take all that is found now for none")
    if parser.parse_args().accept:
        held: dict[str, set[str]] = {}
        for name, _, _, digest in found(files()):
            held.setdefault(name, set()).add(digest)
        text = json.dumps({name: sorted(hashes) for name, hashes in sorted(held.items())}, indent=1)
        KNOWN.write_text(text + "\n", encoding="utf-8")
        return 0
    unknown = new(files(), known())
    for name, line, kind, _ in unknown:
        sys.stdout.write(f"{name}:{line}: {kind}\n")
    sys.stdout.write(f"{len(unknown)} new; if they are none: make secrets accept=1\n")
    return int(bool(unknown))


if __name__ == "__main__":
    raise SystemExit(main())
