"""Secrets as files: as Docker and Kubernetes hand them over."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import ConfigError
from app.core.settings import FILES, Config, Settings, database_url, environment

SECRET = {
    "database": "postgresql://tandem:geheim@db/tandem",
    "database_password": "geheim",
    "token": "a-token-of-some-length",
    "erasure_key": "a-key-of-some-length",
    "encryption_keys": "a-key-for-tokens",
    "oidc_client_secret": "a-secret-of-a-client",
}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return str(value if isinstance(value, str) else value.get_secret_value())


@pytest.mark.parametrize("name", FILES)
def test_a_secret_comes_from_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the line's end, and before the variable of the same name; shown by nobody."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET[name]}\n", encoding="utf-8")
    monkeypatch.setenv(f"TANDEM_{name}".upper(), "another")
    monkeypatch.setenv(f"TANDEM_{name}_FILE".upper(), str(file))
    settings = Settings()
    assert said(settings, name) == SECRET[name]
    if name != "database":
        assert SECRET[name] not in repr(settings)


@pytest.mark.parametrize("name", ["TANDEM_TOKEN", "tandem_token"])
def test_a_folder_of_secrets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file stands for the variable of its name: after the process's own, before ``.env``; others are let be."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / name).write_text("from-the-folder\n", encoding="utf-8")
    (folder / "tls.key").write_bytes(b"\xff")
    (folder / "TANDEM_HUB_KEY").write_text("of-a-connection", encoding="utf-8")
    Path(".env").write_text("TANDEM_TOKEN=from-env-file\nTANDEM_SECRETS_DIR=secrets\n", encoding="utf-8")
    assert said(Settings(), "token") == "from-the-folder"
    assert environment()["TANDEM_HUB_KEY"] == "of-a-connection"
    monkeypatch.setenv("TANDEM_TOKEN", "from-the-process")
    assert said(Settings(), "token") == "from-the-process"
    monkeypatch.setenv("TANDEM_SECRETS_DIR", "nowhere")
    with pytest.raises(ConfigError, match="TANDEM_SECRETS_DIR: there is no folder nowhere"):
        environment()


@pytest.mark.parametrize(("text", "told"), [(None, "cannot be read: FileNotFoundError"), ("", "is empty")])
def test_a_file_that_is_no_good(text: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named by its variable; nothing is used in its place."""
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("TANDEM_TOKEN_FILE", str(file))
    with pytest.raises(ConfigError, match=f"^TANDEM_TOKEN_FILE: {told}$"):
        Settings()


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("postgresql://tandem@db:5432/tandem", "postgresql://tandem:ge%40heim@db:5432/tandem"),
        ("postgresql://tandem:own@db/tandem", "postgresql://tandem:own@db/tandem"),
        ("sqlite:///tandem.db", "sqlite:///tandem.db"),
        ("no url", "no url"),
    ],
)
def test_the_password_stands_apart_from_the_url(url: str, whole: str) -> None:
    """It is put in where the URL has none; what is no URL is told by whoever opens it."""
    settings = Settings(_env_file=None, database=url, database_password="ge@heim")
    assert database_url(settings, Config()) == whole
    assert database_url(settings, Config(database="sqlite:///other.db")) == "sqlite:///other.db"
