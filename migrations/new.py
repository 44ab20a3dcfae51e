"""Write the next migration: ``python -m migrations.new "contacts know their time zone"``.

In: what it does, in words.  Out: ``migrations/versions/NNNN_contacts_know_their_time_zone.py`` with the difference
between the newest migration and ``app.core.tables``, to be read and corrected before it is committed.  The comparison
happens on a throw-away SQLite file; what only PostgreSQL has (storage settings) is written by hand.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.core.db import Database
from app.records.migrate import upgrade

HERE = Path(__file__).resolve().parent
WORDS = 6  # of the sentence, in the file's name


def revision_of(message: str, number: int) -> str:
    """The name of a migration.  Raises ValueError where the message has no word for it."""
    words = re.findall(r"[a-z0-9]+", message.lower())[:WORDS]
    if not words:
        raise ValueError("say in a few words what the migration does")
    return "_".join([f"{number:04d}", *words])


def write(message: str, folder: Path = HERE) -> Path:
    """Write the file and return its path.  ``folder`` holds ``env.py`` and ``versions``."""
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s")
    number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
    with tempfile.TemporaryDirectory() as scratch:
        database = Database(f"sqlite:///{scratch}/newest.db", pool=1)
        try:
            upgrade(database)
            with database.write() as db:
                config.attributes["connection"] = db
                made = command.revision(
                    config, message=message.rstrip("."), rev_id=revision_of(message, number), autogenerate=True
                )
        finally:
            database.close()
    if made is None or isinstance(made, list):
        raise RuntimeError("no single migration was written")
    return Path(made.path)


def main() -> int:
    """The command: its exit code."""
    try:
        path = write(sys.argv[1] if len(sys.argv) == 2 else "")
    except ValueError as error:
        sys.stderr.write(f'{error}:  make migration m="contacts know their time zone"\n')
        return 2
    sys.stdout.write(f"{path}: read it, and correct it, before you commit it\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
