"""The image, as far as it can be proven without a container: its steps are run as written, in a folder of their own.

Paths of the image (``/opt/tandem``, ``/data`` …) are moved below a temporary folder; everything else is what the
Dockerfile says, word for word.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("app", "connectors", "mappings", "migrations", "sandbox")
MOVED = re.compile(
    r"(?:(?<=sqlite:///)|(?<![\w.:/]))/(opt/tandem|src|data|etc/tandem)(?![\w-])"
)  # paths of the image that we make here


def instructions() -> list[list[tuple[str, str]]]:
    """The Dockerfile: per stage its instructions, (KEYWORD, rest)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        keyword, rest = line.split(None, 1)
        if keyword == "FROM":
            stages.append([])
        stages[-1].append((keyword, rest))
    return stages


BUILD, FINAL = instructions()


def all_of(stage: list[tuple[str, str]], keyword: str) -> list[str]:
    return [rest for word, rest in stage if word == keyword]


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    pairs = [pair.split("=", 1) for rest in all_of(stage, "ENV") for pair in shlex.split(rest)]
    return {name: value for name, value in pairs if name != "PATH"}


class Image:
    """What the build leaves behind below one folder, and what a container of it finds below another."""

    def __init__(self, folder: Path, own: Path) -> None:
        self.folder = folder
        self.own = own
        self.data = own / "data"
        self.config = own / "etc/tandem/tandem.yml"
        for path in (self.data, self.config.parent):
            path.mkdir(parents=True)

    def moved(self, text: str) -> str:
        """The text with the image's paths below the folders."""
        return MOVED.sub(lambda m: f"{self.own if m[1] in {'data', 'etc/tandem'} else self.folder}/{m[1]}", text)

    def build(self) -> None:
        """Run the first stage."""
        python = self.folder / "bin/python"  # the image's own; here it is the one that runs the tests
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "PYTHON", "VIRTUAL_ENV"))}
        env |= environment(BUILD) | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        del env["PIP_NO_CACHE_DIR"]  # keeps the image small; here it would only cost time
        where = self.folder
        for keyword, rest in BUILD[1:]:
            if keyword == "WORKDIR":
                where = Path(self.moved(rest))
                where.mkdir()
            elif keyword == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self._copy(ROOT / source, where / target, inside=target.endswith("/"))
            elif keyword == "RUN":
                self._run(self.moved(rest), where, env)
            else:
                assert keyword == "ENV", f"{keyword}: this test does not know what it does"

    @staticmethod
    def _copy(source: Path, target: Path, *, inside: bool) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            return
        path = target / source.name if inside else target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, path)

    @staticmethod
    def _run(command: str, where: Path, env: dict[str, str]) -> None:
        done = subprocess.run(["sh", "-ec", command], cwd=where, env=env, capture_output=True, text=True, timeout=900)
        if done.returncode and "No matching distribution found" in done.stderr and not os.environ.get("CI"):
            pytest.skip("the packages cannot be had here: no package index is reachable")
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def env(self, **more: str) -> dict[str, str]:
        """The environment of the container."""
        said = {name: self.moved(value) for name, value in environment(FINAL).items()}
        return {"PATH": f"{self.folder}/opt/tandem/bin:/usr/bin:/bin", **said, **more}

    def tandem(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``docker run tandem ARGUMENTS``."""
        entry = self.folder / "opt/tandem/bin" / json.loads(all_of(FINAL, "ENTRYPOINT")[0])[0]
        return subprocess.run(
            [entry, *arguments], cwd=self.data, env=self.env(), capture_output=True, text=True, timeout=60
        )

    def installed(self) -> dict[str, tuple[int, int]]:
        """Every file of the installation, with its size and time."""
        base = self.folder / "opt/tandem"
        return {
            str(p.relative_to(base)): (p.stat().st_size, p.stat().st_mtime_ns) for p in base.rglob("*") if p.is_file()
        }


@pytest.fixture
def image(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Image:
    """A container's view of the image, which the first test that needs it builds for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "image"
    made = Image(shared, tmp_path / "container")
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.with_suffix(".built").exists():
            made.build()
            shared.with_suffix(".built").touch()
    return made


pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow  # building what the image holds takes half a minute of a core
def test_the_image_says_its_version(image: Image) -> None:
    """The entry point runs."""
    done = image.tandem("version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tandem 0.")


@pytest.mark.slow  # building what the image holds takes half a minute of a core
def test_the_image_carries_every_file(image: Image) -> None:
    """Pages, mappings, templates and migrations are in it, the tests and the tools to build are not."""
    (site,) = (image.folder / "opt/tandem/lib").glob("python3.*/site-packages")
    ours = [p for room in ROOMS for p in (ROOT / room).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert len(ours) > 100
    assert [str(p.relative_to(ROOT)) for p in ours if not (site / p.relative_to(ROOT)).exists()] == []
    for absent in ("tests", "bench", "docs", "pip", "setuptools", "wheel", "pytest"):
        assert not (site / absent).exists(), absent


@pytest.mark.slow  # building what the image holds takes half a minute of a core
@pytest.mark.parametrize("command", [["mapping", "check"], ["connector", "list"], ["mapping", "schema"]])
def test_commands_find_what_they_need(image: Image, command: list[str]) -> None:
    """Nothing that a command reads was left behind."""
    done = image.tandem(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow  # building what the image holds takes half a minute of a core
def test_without_a_configuration_it_says_what_to_do(image: Image) -> None:
    """A container without its file ends with a sentence, not with a traceback."""
    done = image.tandem(*json.loads(all_of(FINAL, "CMD")[0]))
    assert done.returncode == 2
    assert "tandem.yml: not found" in done.stderr
    assert "Traceback" not in done.stderr


def _lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


@pytest.mark.slow  # building what the image holds takes half a minute of a core
def test_the_image_serves_and_stops(image: Image) -> None:
    """It passes its health check, shows its page, ends in good order at its stop signal, and writes in /data only."""
    image.config.write_text("connections: []\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    before = image.installed()
    command = [*json.loads(all_of(FINAL, "ENTRYPOINT")[0]), *json.loads(all_of(FINAL, "CMD")[0])]
    process = subprocess.Popen(
        [image.folder / "opt/tandem/bin" / command[0], *command[1:]],
        cwd=image.data,
        env=image.env(TANDEM_PORT=port),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert any(line["event"] == "serve.listening" for line in _lines(process))
        check = json.loads(all_of(FINAL, "HEALTHCHECK")[0].split("CMD", 1)[1])
        healthy = subprocess.run(
            [image.folder / "opt/tandem/bin" / check[0], *(part.replace(":8000/", f":{port}/") for part in check[1:])],
            env=image.env(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert healthy.returncode == 0, healthy.stderr
        page = httpx.get(f"http://127.0.0.1:{port}/", timeout=30, follow_redirects=True)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        process.send_signal(getattr(signal, all_of(FINAL, "STOPSIGNAL")[0]))
        said = [line["event"] for line in _lines(process)]
        assert process.wait(60) == 0
        assert "tandem.stopped" in said
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert image.installed() == before
    assert {p.name.split("-")[0] for p in image.data.iterdir()} == {"tandem.db"}


@pytest.mark.slow  # building what the image holds takes half a minute of a core
def test_a_sick_container_is_seen(image: Image) -> None:
    """The health check fails where nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    check = json.loads(all_of(FINAL, "HEALTHCHECK")[0].split("CMD", 1)[1])
    done = subprocess.run(
        [image.folder / "opt/tandem/bin" / check[0], *(part.replace(":8000/", f":{port}/") for part in check[1:])],
        env=image.env(),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1


def test_the_image_is_built_to_be_trusted() -> None:
    """Locked by hash, bases pinned, two stages, not root, no shell between the signal and the service."""
    bases = [rest.split()[0] for stage in (BUILD, FINAL) for rest in all_of(stage, "FROM")]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0])
    installs = [part for rest in all_of(BUILD, "RUN") for part in re.findall(r"pip install [^&]*", rest)]
    assert len(installs) == 3
    assert all("--require-hashes -r" in one or "--no-deps" in one for one in installs), installs
    assert "pip" not in " ".join(all_of(FINAL, "RUN"))
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", all_of(FINAL, "USER")[-1])
    assert all_of(FINAL, "VOLUME") == ["/data"]
    for keyword in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(all_of(FINAL, keyword)[-1]), list)
    assert environment(FINAL)["TANDEM_HOST"] == "0.0.0.0"
    assert not [name for name in environment(FINAL) if re.search("TOKEN|SECRET|PASSWORD|KEY", name)]


def test_the_build_sees_what_it_needs_and_no_secret() -> None:
    """.dockerignore lets in what is copied and nothing else."""
    first, *rest = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert first == "*"
    let_in = {line[1:] for line in rest if line.startswith("!")}
    copied = {source.split("/")[0] for line in all_of(BUILD, "COPY") for source in line.split()[:-1]}
    assert copied == let_in
    assert not let_in & {".env", "tandem.yml", ".git", ".venv", "."}


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile passes the linter."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not packaged for this platform")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_compose_offers_both_stores() -> None:
    """One profile with one process on SQLite, one with PostgreSQL, door and workers apart."""
    of = {profile: {n for n, s in SERVICES.items() if profile in s["profiles"]} for profile in ("sqlite", "postgres")}
    assert of == {"sqlite": {"tandem"}, "postgres": {"postgres", "migrate", "door", "worker"}}
    assert [SERVICES[name].get("command") for name in ("tandem", "migrate", "door", "worker")] == [
        None,
        ["migrate"],
        ["serve", "--no-workers"],
        ["serve"],  # its door is there for health and metrics only: no port is published
    ]
    assert "ports" not in SERVICES["worker"]
    assert [name for name in OURS if SERVICES[name].get("healthcheck", {}).get("disable")] == ["migrate"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_holds_no_more_than_it_needs(name: str) -> None:
    """Read-only, without capabilities, reachable from this machine only; secrets come from outside the file."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["user"] == all_of(FINAL, "USER")[-1]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert any(volume.endswith("/etc/tandem/tandem.yml:ro") for volume in service["volumes"])
    told = re.search(r"give it (\d+) seconds", (ROOT / "docs/operate.md").read_text(encoding="utf-8"))
    assert told is not None
    assert service["stop_grace_period"] == f"{told[1]}s"


def test_compose_refers_to_what_it_declares() -> None:
    """Volumes, secrets and the services that others wait for are there, and the waited-for ones can become ready."""
    named = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if not v.startswith(("./", "/"))}
    assert named == set(COMPOSE["volumes"])
    assert {s for service in SERVICES.values() for s in service.get("secrets", [])} == set(COMPOSE.get("secrets", {}))
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]
            else:
                assert (how["condition"], SERVICES[name]["restart"]) == ("service_completed_successfully", "no")


def test_compose_holds_no_secret() -> None:
    """Every password is read from a file, which git does not keep, by whoever declares that secret."""
    said = [
        (name, key, str(value))
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|DATABASE", key)
    ]
    assert {key for _, key, _ in said} == {
        "POSTGRES_PASSWORD_FILE",
        "TANDEM_DATABASE",
        "TANDEM_DATABASE_PASSWORD_FILE",
    }
    for name, key, value in said:
        if key.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]
        else:
            assert re.fullmatch(r"postgresql://\w+@[\w:/]+", value), "a user, and no password"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    for secret in COMPOSE["secrets"].values():
        assert f"{Path(secret['file']).parent.name}/" in ignored


def test_replicas_of_the_door_find_a_port() -> None:
    """``--scale door=N`` publishes one port of a range for each."""
    (port,) = SERVICES["door"]["ports"]
    assert re.fullmatch(r"127\.0\.0\.1:8000-80\d\d:8000", port)
