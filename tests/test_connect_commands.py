"""``tandem connect``, ``disconnect`` and ``keys`` as one types them, before the simulators' authorization servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.core.sealing import Keys, new_key
from app.records import state
from app.repair import connecting as flow
from connectors._oauth import challenge
from sandbox.oauth import CLIENT, CLIENT_SECRET, Server
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.test_cli import Shell, shell  # noqa: F401 - a fixture

running, sandbox = stage.running, stage.sandbox

FILE = """\
public_url: https://tandem.example.com
connections:
  - name: hubspot
    connector: hubspot
    settings: {{base_url: "{hubspot}", login_url: "{hubspot}", client_id: "{client}"}}
  - name: mailchimp
    connector: mailchimp
    settings: {{base_url: "{mailchimp}", login_url: "{login}", client_id: "{client}", list_id: "{list_id}"}}
"""
BACK = "https://tandem.example.com/connections/{}/callback"
STATE = "a-state-that-the-test-knows-before"
KEY = new_key()


@pytest.fixture
def typed(shell: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Shell:  # noqa: F811
    """An installation that connects both by OAuth."""
    for name in ("TANDEM_HUBSPOT_ACCESS_TOKEN", "TANDEM_MAILCHIMP_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("TANDEM_HUBSPOT_CLIENT_SECRET", sandbox.hubspot.secret)
    monkeypatch.setenv("TANDEM_MAILCHIMP_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("TANDEM_ENCRYPTION_KEYS", KEY)
    login = sandbox.mailchimp_url.removesuffix("/3.0")
    places = {"hubspot": sandbox.hubspot_url, "mailchimp": sandbox.mailchimp_url, "login": login}
    shell.configure(FILE, **places, client=CLIENT, list_id=sandbox.mailchimp.audience.id)
    shell.migrate()
    return shell


def server(sandbox: Sandbox, name: str) -> Server:
    found = (sandbox.hubspot if name == "hubspot" else sandbox.mailchimp).oauth
    assert found is not None
    return found


def pasted(sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address at which the browser of somebody who agreed ends, for the next try to connect."""
    monkeypatch.setattr(flow, "new_secret", lambda: STATE)
    query = {"state": STATE, "redirect_uri": BACK.format(name), "code_challenge": challenge(STATE)}
    return server(sandbox, name).answer({**query, "code_challenge_method": "S256"}, allow=True)


def connect(typed: Shell, monkeypatch: pytest.MonkeyPatch, name: str, answer: str, *, code: int = 0) -> str:
    """``tandem connect NAME`` with what is typed at its prompt."""
    asked: list[dict[str, Any]] = []

    def prompt(_text: str, **how: Any) -> str:
        asked.append(how)
        return answer

    monkeypatch.setattr("app.commands.connect.typer.prompt", prompt)
    said = typed("connect", name, "--by", "Kim", code=code)
    assert [how["hide_input"] for how in asked] == [True]
    return said


@pytest.mark.parametrize(("name", "ends"), [("hubspot", "renewed without you"), ("mailchimp", "not renewed")])
def test_an_account_is_connected_from_a_terminal(
    name: str, ends: str, typed: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address comes to the terminal, the answer is pasted, the vendor says who we are; no secret is printed."""
    assert "no" in typed("connect")
    address = pasted(sandbox, name, monkeypatch)
    said = connect(typed, monkeypatch, name, address)
    assert f"{name}: connected; {ends}" in said
    assert BACK.format(name) in typed.told
    assert "/oauth" in typed.told
    for secret in ("access-", "refresh-", CLIENT_SECRET):
        assert secret not in said + typed.told
    rows = {row["connection"]: row for row in typed.json("connect")["items"]}
    assert (rows[name]["connected"], rows[name]["connected_by"]) == (True, "Kim")
    assert "`tandem connect" not in typed("doctor", code=1).split(f"oauth  {name}")[-1].split("\n")[0]


def test_the_browser_may_have_told_the_service(typed: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter is enough then; and where nobody came back, it says so."""
    pasted(sandbox, "hubspot", monkeypatch)
    connect(typed, monkeypatch, "hubspot", "", code=1)
    assert "nobody has come back yet" in typed.told
    monkeypatch.setattr(flow, "new_secret", lambda: STATE + "2")
    connect(typed, monkeypatch, "hubspot", "https://example.com/", code=1)
    assert "`code` and `state`" in typed.told


def test_forgetting_an_account(typed: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens are gone on both sides, and the connection rests."""
    connect(typed, monkeypatch, "hubspot", pasted(sandbox, "hubspot", monkeypatch))
    assert "its tokens are gone" in typed("disconnect", "hubspot", "--by", "Kim")
    assert "there were no tokens" in typed("disconnect", "hubspot", "--by", "Kim")
    assert server(sandbox, "hubspot").consents[-1].revoked
    database = typed.database()
    with database.read() as db:
        assert state.paused(db) == {"hubspot"}
    database.close()


def test_keys_are_changed_without_connecting_again(
    typed: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New before old, seal anew, take the old away; taken away too soon, it is missed by name."""
    connect(typed, monkeypatch, "hubspot", pasted(sandbox, "hubspot", monkeypatch))
    new = typed("keys", "new").strip()
    monkeypatch.setenv("TANDEM_ENCRYPTION_KEYS", new)
    assert typed.json("keys", "list", code=1)["items"][1] == {"key": Keys([KEY]).id, "standing": "missing", "tokens": 1}
    typed("keys", "rotate", code=1)
    assert f"sealed with key {Keys([KEY]).id}" in typed.told
    monkeypatch.setenv("TANDEM_ENCRYPTION_KEYS", f"{new},{KEY}")
    assert typed.json("keys", "rotate") == {"key": Keys([new]).id, "resealed": 1}
    monkeypatch.setenv("TANDEM_ENCRYPTION_KEYS", new)
    assert typed.json("keys", "list")["items"] == [{"key": Keys([new]).id, "standing": "seals", "tokens": 1}]
    assert KEY not in typed("keys", "list")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TANDEM_ENCRYPTION_KEYS", None, "`tandem keys new` makes a key"),
        ("TANDEM_HUBSPOT_ACCESS_TOKEN", "pat-1", "both are set: TANDEM_HUBSPOT_ACCESS_TOKEN"),
        ("TANDEM_MAILCHIMP_CLIENT_SECRET", None, "connection mailchimp: client_secret is not set"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_told(
    typed: Shell, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, told: str
) -> None:
    """By the variable to set or to take away."""
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    typed("connect", code=2)
    assert told in typed.told


def test_secrets_stand_in_a_folder_too(
    typed: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sandbox: Sandbox
) -> None:
    """As Docker and Kubernetes mount them, in capitals or small letters; a variable comes before them."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in ("TANDEM_ENCRYPTION_KEYS", "TANDEM_HUBSPOT_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    (folder / "tandem_encryption_keys").write_text(f"{KEY}\n", encoding="utf-8")
    (folder / "TANDEM_HUBSPOT_CLIENT_SECRET").write_text(f"{sandbox.hubspot.secret}\n", encoding="utf-8")
    (folder / "TANDEM_MAILCHIMP_CLIENT_SECRET").write_text("not this one", encoding="utf-8")
    (folder / "..data").mkdir()
    monkeypatch.setenv("TANDEM_SECRETS_DIR", str(folder))
    for name in ("hubspot", "mailchimp"):
        assert "connected" in connect(typed, monkeypatch, name, pasted(sandbox, name, monkeypatch))
    (folder / "TANDEM_TOKEN").write_text("", encoding="utf-8")
    typed("connect", code=2)
    assert "TANDEM_TOKEN: is empty" in typed.told


@pytest.mark.parametrize(("choice", "has"), [("allow", "code="), ("deny", "error=access_denied")])
def test_the_simulator_asks_a_person(sandbox: Sandbox, choice: str, has: str) -> None:
    """A page with two buttons, each of which leads back; an app that is not known leads nowhere."""
    query = {"client_id": CLIENT, "redirect_uri": BACK.format("hubspot"), "state": "s", "scope": "<b>"}
    with httpx.Client(base_url=sandbox.hubspot_url) as browser:
        page = browser.get("/oauth/authorize", params=query)
        assert "Allow" in page.text
        assert "<b>" not in page.text
        answer = browser.post("/oauth/authorize", params=query, data={"choice": choice})
        assert answer.status_code == 303
        assert urlsplit(answer.headers["location"]).netloc == "tandem.example.com"
        assert has in answer.headers["location"]
        assert "state=s" in answer.headers["location"]
        assert browser.get("/oauth/authorize", params={**query, "client_id": "x"}).status_code == 400
