"""Look for secrets in what git knows: ``python -m tests.secretscan``.  In: the files.  Out: those that nobody looked at.

``tests/secretscan.json`` holds what was looked at and is none: invented keys of tests, published test vectors.  By hash,
not by line, so that a file may grow above it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parents[1]
KNOWN = Path(__file__).with_name("secretscan.json")
# Locks are hashes and nothing else; the schema of mappings and the list itself are made.
LEFT_OUT = ("requirements/", "tests/secretscan.json")
PLUGINS = [
    {"name": name}
    for name in (
        *("ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector"),
        *("GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector", "NpmDetector"),
        *("DiscordBotTokenDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector"),
        *("SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector", "KeywordDetector"),
    )
]  # fmt: skip
ENTROPY = [{"name": "Base64HighEntropyString", "limit": 4.5}, {"name": "HexHighEntropyString", "limit": 3.0}]


def files() -> list[str]:
    """What git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    names = listed.decode().split("\0")
    return [name for name in names if name and not name.startswith(LEFT_OUT) and (ROOT / name).is_file()]


def found(names: Iterable[str], root: Path = ROOT) -> Iterator[PotentialSecret]:
    """What looks like a secret.  In tests, where hashes and signatures are many, only what has a known form."""
    names = list(names)
    tests = [name for name in names if name.startswith(("tests/", "docs/"))]
    for part, plugins in ((tests, PLUGINS), (sorted({*names} - {*tests}), [*PLUGINS, *ENTROPY])):
        with transient_settings({"plugins_used": plugins}):
            secrets = SecretsCollection(root=str(root))
            secrets.scan_files(*part)
            yield from (secret for _, secret in secrets)


def known() -> dict[str, list[str]]:
    """File → hashes of what was looked at."""
    data: dict[str, list[str]] = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    return data


def new(names: Iterable[str], looked_at: dict[str, list[str]], root: Path = ROOT) -> list[PotentialSecret]:
    """What nobody looked at."""
    return [s for s in found(names, root) if s.secret_hash not in looked_at.get(s.filename, ())]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.secretscan", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="take all that is found now for none")
    if parser.parse_args().accept:
        held: dict[str, set[str]] = {}
        for secret in found(files()):
            held.setdefault(secret.filename, set()).add(secret.secret_hash)
        text = json.dumps({name: sorted(hashes) for name, hashes in sorted(held.items())}, indent=1)
        KNOWN.write_text(text + "\n", encoding="utf-8")
        return 0
    unknown = new(files(), known())
    for secret in unknown:
        sys.stdout.write(f"{secret.filename}:{secret.line_number}: {secret.type}\n")
    sys.stdout.write(f"{len(unknown)} new; if they are none: make secrets accept=1\n")
    return int(bool(unknown))


if __name__ == "__main__":
    raise SystemExit(main())
