"""The command line: what it prints, writes and ends with; and that its documents say the same."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import typer
import yaml
from sqlalchemy import update
from typer.testing import CliRunner

import connectors
from app import doctor, logs
from app.cli import app, documentation
from app.core import clock
from app.core import tables as t
from app.core.db import Database
from app.core.settings import BrakeConfig, Config, ConnectionConfig, Settings, load_config
from app.core.words import Writes
from app.ops.metrics import Metrics
from app.records import migrate, state
from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim
from sandbox.serve import Sandbox
from tests import migrated
from tests.apihelp import add, add_contacts, add_events, add_letters, rows_of

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds until a wait for another process is given up
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens

SECRETS = {
    "TANDEM_HUBSPOT_ACCESS_TOKEN": "pat-na1-0000",
    "TANDEM_HUBSPOT_CLIENT_SECRET": "client-secret",
    "TANDEM_MAILCHIMP_API_KEY": "0123456789abcdef0123456789abcdef-us0",
    "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "webhook-secret",
}
FILE = """\
connections:
  - name: hubspot
    connector: hubspot
    mode: live
    settings: {{base_url: "{hubspot}"}}
  - name: mailchimp
    connector: mailchimp
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
"""


class Shell:
    """A directory and an environment of its own, in which commands run."""

    def __init__(self, here: Path) -> None:
        self.here = here

    def __call__(self, *words: str, code: int = 0) -> str:
        """What a command printed; it has to end with ``code``, and never in a traceback."""
        result = CliRunner().invoke(app, list(words), terminal_width=200)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        self.told = result.stderr
        return result.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))

    def configure(self, text: str = FILE, **words: str) -> None:
        usual = {"hubspot": NOWHERE, "mailchimp": f"{NOWHERE}/3.0", "list_id": "abc"}
        (self.here / "tandem.yml").write_text(text.format_map({**usual, **words}), encoding="utf-8")

    def migrate(self) -> None:
        """What ``tandem migrate`` makes of an SQLite database that is not there yet."""
        migrated.put(self.here / "tandem.db")

    def database(self) -> Database:
        return Database(f"sqlite:///{self.here / 'tandem.db'}")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return Shell(tmp_path)


@pytest.fixture
def store(shell: Shell) -> Iterator[Database]:
    """A configured installation with an up-to-date database."""
    shell.configure()
    shell.migrate()
    database = shell.database()
    with database.write() as db:
        state.ensure(db, ["hubspot", "mailchimp"])
    yield database
    database.close()


# --- documents ------------------------------------------------------------------------------------------------------


def _commands(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *words, name)
        else:
            yield (*words, name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


def test_there_are_commands_to_check() -> None:
    """Guards the tests below: an empty search must not pass."""
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_teaches_by_examples_that_could_be_typed(words: tuple[str, ...]) -> None:
    """Each command's help has an example of it, whose options exist."""
    command = COMMANDS[words]
    block = re.search(r"```console\n(.+?)```", command.help, re.DOTALL)
    assert block is not None
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for line in block[1].splitlines():
        typed = shlex.split(line, comments=True)
        assert tuple(typed[1 : 1 + len(words)]) == words
        assert typed[0] == "tandem"
        assert {w for w in typed if w.startswith("--")} <= known


def test_the_page_about_the_command_line_is_what_the_commands_say() -> None:
    """docs/cli.md is generated: `python -m docs.generate`."""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == documentation()


def _table(heading: str, nth: int = 0) -> dict[str, tuple[str, ...]]:
    """The rows of a table of docs/operate.md, by the code in their first cell."""
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = [block for block in section.split("\n\n") if block.lstrip().startswith("|")]
    rows = [re.split(r"\s*\|\s*", line.strip())[1:-1] for line in tables[nth].splitlines()[2:]]
    return {row[0].strip("`"): tuple(cell.strip("`") for cell in row[1:]) for row in rows}


def test_the_environment_table_is_what_settings_are() -> None:
    """docs/operate.md names every variable with its default, and no other."""

    def default(value: Any) -> str:
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    expected = {f"TANDEM_{name.upper()}": default(f.default) for name, f in Settings.model_fields.items()}
    assert {name: row[0] for name, row in _table("Environment").items()} == expected


@pytest.mark.parametrize(("model", "nth"), [(Config, 0), (ConnectionConfig, 1)])
def test_the_configuration_tables_are_what_the_file_may_hold(model: Any, nth: int) -> None:
    """docs/operate.md names every key of tandem.yml, and no other."""
    assert set(_table("Configuration: tandem.yml", nth)) == set(model.model_fields)


def test_the_metrics_table_is_what_is_exported(store: Database) -> None:
    """docs/operate.md names every metric, and no other."""
    found = set()
    for family in Metrics(store, ["hubspot"]).registry.collect():
        found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert set(_table("Metrics")) == {name for name in found if not name.startswith("process_")}


def test_the_brake_table_is_what_the_settings_are() -> None:
    """docs/operate.md names every kind with its limits, and the window."""
    usual = BrakeConfig()
    limits = {str(kind): getattr(usual, kind) for kind in Writes}
    found = {name: row[-2:] for name, row in _table("Brake").items()}
    assert found == {kind: (str(one.count), f"{one.share * 100:g} %") for kind, one in limits.items()}
    assert f"The window is {usual.window_minutes:g} minutes" in (ROOT / "docs" / "operate.md").read_text("utf-8")


def test_the_configurations_in_the_documents_can_be_used() -> None:
    """Every block of tandem.yml is valid, and every rule of an alarm asks for metrics that there are."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    blocks = [yaml.safe_load(block) for page in pages for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    configured = [block for block in blocks if "connections" in block]
    rules = [rule["expr"] for block in blocks if "groups" in block for g in block["groups"] for rule in g["rules"]]
    assert len(configured) >= 2
    assert len(rules) >= 2
    for block in configured:
        Config.model_validate(block)
    named = {name.removesuffix("_bucket") for rule in rules for name in re.findall(r"tandem_\w+", rule)}
    assert named <= set(_table("Metrics"))


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_writes_files_that_can_be_used_once_they_are_filled_in(shell: Shell) -> None:
    """The configuration is valid, .env names every required secret and is its owner's alone."""
    made = shell.json("init", "new")
    config = load_config(Path("new/tandem.yml"))
    assert [(c.name, c.connector, c.mode) for c in config.connections] == [
        ("hubspot", "hubspot", "observe"),
        ("mailchimp", "mailchimp", "observe"),
    ]
    env = Path("new/.env").read_text(encoding="utf-8")
    assert stat.S_IMODE(Path("new/.env").stat().st_mode) == 0o600
    assert re.search(r"^TANDEM_TOKEN=\S{32,}$", env, re.MULTILINE)
    assert re.search(r"^TANDEM_MAILCHIMP_WEBHOOK_SECRET=\S{32,}$", env, re.MULTILINE)
    for variable in ("TANDEM_HUBSPOT_ACCESS_TOKEN", "TANDEM_HUBSPOT_CLIENT_SECRET", "TANDEM_MAILCHIMP_API_KEY"):
        assert re.search(rf"^{variable}=$", env, re.MULTILINE)
        assert variable in made["to_fill_in"]
    assert "settings.list_id of mailchimp" in made["to_fill_in"]


def test_init_tells_what_every_setting_is(shell: Shell) -> None:
    """Each connector's settings stand in one of the two files, with what they are about."""
    shell("init", ".", *(word for name in connectors.find() for word in ("--connector", name)))
    text = Path("tandem.yml").read_text(encoding="utf-8") + Path(".env").read_text(encoding="utf-8")
    abouts = [s.about for kind in connectors.find().values() for s in kind.settings]
    assert abouts
    assert [a for a in abouts if a not in text] == []


def test_init_makes_two_secrets_that_differ_each_time(shell: Shell) -> None:
    """No two installations share a token."""
    shell("init", "a")
    shell("init", "b")
    assert Path("a/.env").read_text(encoding="utf-8") != Path("b/.env").read_text(encoding="utf-8")


@pytest.mark.parametrize("there", ["tandem.yml", ".env"])
def test_init_overwrites_nothing(shell: Shell, there: str) -> None:
    """Where one of the files is there, it stays, and the other is not written either."""
    Path(there).write_text("mine", encoding="utf-8")
    shell("init", code=2)
    assert "not overwritten" in shell.told
    assert [(p.name, p.read_text(encoding="utf-8")) for p in shell.here.iterdir()] == [(there, "mine")]


def test_init_numbers_a_second_account(shell: Shell) -> None:
    """Two accounts of one vendor are two connections."""
    shell("init", "--connector", "hubspot", "--connector", "hubspot")
    assert [c.name for c in load_config(Path("tandem.yml")).connections] == ["hubspot", "hubspot-2"]


# --- what is wrong is said -------------------------------------------------------------------------------------------

GOOD = FILE.format(hubspot=NOWHERE, mailchimp=f"{NOWHERE}/3.0", list_id="abc")


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        ("status", None, "tandem.yml: not found; `tandem init` writes one"),
        ("status -c other.yml", None, "other.yml: not found"),
        ("status", "conections: []", "conections: Extra inputs are not permitted; valid keys: public_url"),
        ("status", "connections: [", "tandem.yml:1: not valid YAML"),
        ("status", GOOD, "there is no tandem.db yet; `tandem migrate` makes it"),
        ("pause nobody", "connections: []", "there is no tandem.db yet"),
        ("serve", GOOD.replace("connector: hubspot", "connector: hubspott"), "no connector 'hubspott'; there are:"),
        ("serve", GOOD.replace("abc", ""), "not set: settings.list_id"),
        ("work", GOOD.replace(f"{NOWHERE}/3.0", "http://example.com/3.0"), "base_url must be https"),
        ("migrate", "database: mysql://u:geheim@h/db", "'mysql' is not supported"),
        ("migrate", "database: nonsense", "the URL makes no sense"),
        ("init --connector acme", None, "no connector 'acme'; there are: activecampaign, brevo"),
        ("init /dev/null/here", None, "/dev/null/here: Not a directory"),
        ("connector new acme", None, "there is no directory `connectors` in it; say where with --root"),
        ("mapping check --against-connection acme", GOOD, "no connection 'acme'; there are: hubspot, mailchimp"),
    ],
)
def test_a_wrong_configuration_is_a_message_that_helps(shell: Shell, words: str, text: str | None, said: str) -> None:
    """Exit code 2, what is wrong, and what would be right."""
    if text is not None:
        Path("tandem.yml").write_text(text, encoding="utf-8")
    assert shell(*words.split(), code=2) == ""
    assert said in shell.told
    assert "geheim" not in shell.told


@pytest.mark.parametrize(
    "words",
    [
        "replay --since yesterday",
        "replay --status open",
        "events list --status open",
        "dead retry",
        "dead retry 3 --all",
        "serve --port 70000",
        "launch",
    ],
)
def test_a_wrong_call_is_a_usage_error(shell: Shell, words: str) -> None:
    """Exit code 2 and the usage."""
    shell.configure()
    shell(*words.split(), code=2)
    assert "Usage: " in shell.told


def test_a_wrong_setting_is_named_by_its_variable(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the variable, never the value."""
    monkeypatch.setenv("TANDEM_PORT", "hunter2")
    shell("status", code=2)
    assert "TANDEM_PORT: " in shell.told
    assert "hunter2" not in shell.told


def test_a_defect_is_no_traceback(shell: Shell, store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected ends with 1, a sentence, and without people's data."""

    def broken(*_: Any) -> None:
        raise RuntimeError("ann@example.com broke it")

    monkeypatch.setattr("app.console.standing.standings", broken)
    shell("status", code=1)
    assert "this is a defect of Tandem: RuntimeError: <address> broke it" in shell.told


def test_a_busy_port_is_said(shell: Shell, store: Database) -> None:
    """serve and demo say which address is taken and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("serve", "demo"):
            shell(command, "--port", str(port), code=2)
            assert f"cannot listen on 127.0.0.1:{port}: address already in use" in shell.told


# --- look and act ----------------------------------------------------------------------------------------------------


def test_migrate_says_what_it_did(shell: Shell) -> None:
    """The first time the tables are made, the second time nothing is left to do."""
    shell.configure()
    head = migrate.head()
    assert shell.json("migrate") == {"before": None, "after": head, "changed": True, "waiting": []}
    assert shell.json("migrate") == {"before": head, "after": head, "changed": False, "waiting": []}


def test_status_shows_how_connections_stand(shell: Shell, store: Database) -> None:
    """Backlog, dead letters and state, by connection."""
    add_events(store, {"connection": "hubspot", "status": "pending"}, {"connection": "hubspot"})
    add_letters(store, {"connection": "mailchimp"})
    add(store, t.work, {"connection": "hubspot", "contact_id": 1, "lane": 1, "gen": 1, "due_at": 0, "since": 0})
    found = {c["name"]: c for c in shell.json("status", code=1)["connections"]}
    assert {n: (c["state"], c["events"], c["links"], c["dead"], c["side"]) for n, c in found.items()} == {
        "hubspot": ("ok", 1, 1, 0, "crm"),
        "mailchimp": ("ok", 0, 0, 1, "marketing"),
    }


@pytest.mark.parametrize(
    ("connection", "alive", "code"),
    [(None, False, 0), ("hubspot", False, 1), ("hubspot", True, 0), ("mailchimp", False, 0)],
    ids=["nothing waits", "waits, no worker", "waits, a worker", "waits, but nothing is to be written there"],
)
def test_status_ends_with_1_where_nobody_does_what_waits(
    shell: Shell, store: Database, connection: str | None, alive: bool, code: int
) -> None:
    """Work without a live worker is a problem."""
    if connection is not None:
        add(store, t.work, {"connection": connection, "contact_id": 1, "lane": 1, "gen": 1, "due_at": 0, "since": 0})
    if alive:
        soon = clock.to_ms(clock.now()) + 3_600_000
        add(store, t.worker, {"id": "w", "host": "h", "pid": 1, "started_at": 0, "beat_at": soon})
    shell("status", code=code)


def test_pause_and_resume(shell: Shell, store: Database) -> None:
    """A paused connection is shown with its reason, and goes on when it is told to."""
    shell("pause", "hubspot", "--why", "moving")
    assert shell.json("status", code=1)["connections"][0]["why"] == "moving"
    assert rows_of(store, t.connection_state)[0]["paused_by"] == "operator"
    assert shell.json("resume", "hubspot") == {"connection": "hubspot", "paused": False, "rested": True}
    assert shell("resume", "hubspot") == "hubspot did not rest\n"
    assert shell.json("status")["ok"] is True


def test_looking_does_not_lift_a_pause(shell: Shell, store: Database) -> None:
    """What Tandem paused by itself stays so until a restart or an operator."""
    with store.write() as db:
        state.pause(db, "hubspot", "the key was refused")
    shell("status", code=1)
    shell("events", "list")
    assert rows_of(store, t.connection_state)[0]["paused"] == 1


def test_dead_letters_are_listed_and_tried_again(shell: Shell, store: Database) -> None:
    """The newest first, by connection and code; a retry marks the link dirty and takes the letter away."""
    add_contacts(store, {}, {}, {})
    first, second, third = add_letters(
        store,
        {"connection": "hubspot", "contact_id": 1, "code": "conflict"},
        {"connection": "mailchimp", "contact_id": 2, "code": "conflict"},
        {"connection": "mailchimp", "contact_id": 3, "code": "refused"},
    )
    assert [row["id"] for row in shell.json("dead", "list")] == [third, second, first]
    assert [row["id"] for row in shell.json("dead", "list", "--connection", "mailchimp", "--code", "conflict")] == [
        second
    ]
    assert shell.json("dead", "retry", str(first)) == {"retried": 1, "kept": []}
    assert shell.json("dead", "retry", "--all", "--code", "conflict") == {"retried": 1, "kept": []}
    assert {(row["connection"], row["contact_id"]) for row in rows_of(store, t.work)} == {
        ("hubspot", 1),
        ("mailchimp", 2),
    }
    shell("dead", "retry", str(first), code=2)
    assert f"there is no dead letter {first}" in shell.told


def test_a_dead_letter_that_cannot_be_tried_again_stays_and_says_why(shell: Shell, store: Database) -> None:
    """Exit code 1, and the reason."""
    (letter,) = add_letters(store, {"connection": "elsewhere"})
    found = shell.json("dead", "retry", "--all", code=1)
    assert [one["id"] for one in found["kept"]] == [letter]
    assert "elsewhere" in found["kept"][0]["reason"]


def test_dead_letters_beyond_one_batch_are_all_tried_again(
    shell: Shell, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches end at the last letter there was."""
    monkeypatch.setattr("app.commands.act.BATCH", 2)
    add_contacts(store, *({} for _ in range(5)))
    add_letters(store, *({"connection": "hubspot", "contact_id": n} for n in range(1, 6)))
    assert shell.json("dead", "retry", "--all")["retried"] == 5
    assert len(rows_of(store, t.work)) == 5


def test_events_are_listed_and_replayed(shell: Shell, store: Database) -> None:
    """By connection and status; a replay makes the chosen ones pending."""
    old, new = 1_767_225_600_000, 1_772_323_200_000  # 2026-01-01, 2026-03-01
    add_events(
        store,
        {"connection": "hubspot", "received_at": old},
        {"connection": "hubspot", "received_at": new},
        {"connection": "mailchimp", "received_at": new, "status": "ignored"},
    )
    assert [row["id"] for row in shell.json("events", "list", "--limit", "2")] == [3, 2]
    listed = shell.json("events", "list", "--connection", "hubspot", "--status", "done")
    assert [(row["id"], row["received_at"]) for row in listed] == [
        (2, "2026-03-01T00:00:00Z"),
        (1, "2026-01-01T00:00:00Z"),
    ]
    run = shell.json("replay", "--connection", "hubspot", "--since", "2026-03-01T01:00:00+01:00")
    assert (run["status"], run["done"]) == ("done", 1)
    assert [row["status"] for row in rows_of(store, t.inbox)] == ["done", "pending", "ignored"]


def test_a_list_never_shows_what_a_record_holds(shell: Shell, store: Database) -> None:
    """Events carry records and addresses; the list has neither."""
    add_events(store, {"connection": "hubspot", "ref_key": "email", "ref_value": "ann@example.com"})
    with store.write() as db:
        db.execute(update(t.inbox).values(record={"id": "1", "fields": {"email": "ann@example.com"}}))
    assert "ann@example.com" not in shell("events", "list") + shell("events", "list", "--json")


def test_cells_are_text_not_markup(shell: Shell, store: Database) -> None:
    """A vendor's words in brackets are shown as they are."""
    add_letters(store, {"connection": "hubspot", "reason": "[red]no[/red] [/] field"})
    assert "[red]no[/red] [/] field" in shell("dead", "list").replace("\n", "")


# --- mappings and connectors -----------------------------------------------------------------------------------------

BAD = """\
version: 1
connector: hubspot
keys: [email]
fields:
  email: {theirs: email, winner: crm, clear: ignored}
  given_nam: {theirs: firstname, winner: crm, clear: ignored}
"""


def test_shipped_mappings_pass_the_check(shell: Shell) -> None:
    """Without a configuration and without files the shipped ones are checked."""
    found = shell.json("mapping", "check")
    assert {Path(one["file"]).name for one in found} >= {"hubspot.yaml", "mailchimp.yaml"}
    assert all(one["ok"] and one["fields"] for one in found)


def test_a_wrong_mapping_is_told_by_line(shell: Shell) -> None:
    """File, line, place; exit code 1."""
    Path("mine.yaml").write_text(BAD, encoding="utf-8")
    assert "mine.yaml:6: fields.given_nam" in shell("mapping", "check", "mine.yaml", code=1)
    (found,) = shell.json("mapping", "check", "mine.yaml", code=1)
    assert (found["ok"], found["problems"][0]["line"]) == (False, 6)


def test_the_configured_mappings_are_checked(shell: Shell) -> None:
    """Where there is a configuration, its mappings count."""
    Path("mine.yaml").write_text(BAD, encoding="utf-8")
    shell.configure(FILE.replace("mode: live", "mapping: mine.yaml"))
    assert "mine.yaml:6" in shell("mapping", "check", code=1)


def test_the_schema_is_the_shipped_one(shell: Shell) -> None:
    """What editors use is what the mappings folder holds."""
    shipped = json.loads((ROOT / "mappings" / "schema.json").read_text(encoding="utf-8"))
    assert json.loads(shell("mapping", "schema")) == shipped


def test_connectors_are_listed(shell: Shell) -> None:
    """Every connector with what it can."""
    assert {one["name"]: set(one["can"]) for one in shell.json("connector", "list")} == {
        name: {str(c) for c in kind.can} for name, kind in connectors.find().items()
    }


def test_a_new_connector_is_begun_once(shell: Shell) -> None:
    """Files appear; the second time they are not overwritten."""
    Path("connectors").mkdir()
    made = [Path(name) for name in shell.json("connector", "new", "acme")]
    assert made
    assert all(path.is_file() for path in made)
    shell("connector", "new", "acme", code=2)
    assert "not overwritten" in shell.told


# --- doctor ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(HubSpotSim(), MailchimpSim()) as sandbox:
        yield sandbox


@pytest.fixture
def well(shell: Shell, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An installation of which the doctor has nothing to say."""
    shell.configure(
        "public_url: https://tandem.example.com\n" + FILE,
        hubspot=vendors.hubspot_url,
        mailchimp=vendors.mailchimp_url,
        list_id=vendors.mailchimp.audience.id,
    )
    monkeypatch.setenv("TANDEM_HUBSPOT_ACCESS_TOKEN", vendors.hubspot.token)
    monkeypatch.setenv("TANDEM_MAILCHIMP_API_KEY", vendors.mailchimp.key)
    monkeypatch.setattr("app.doctor._reachable", lambda _found, _public: True)  # the public name is nobody's
    shell.migrate()
    return shell


def _bad(found: Any) -> list[tuple[str, str, str]]:
    return [(f["area"], f["subject"], f["level"]) for f in found["findings"] if f["level"] != "ok"]


def test_the_doctor_finds_a_good_installation_good(well: Shell) -> None:
    """Nothing to mend; and it really asked the vendors."""
    found = well.json("doctor")
    database = well.database()
    assert rows_of(database, t.lease) == []  # the probe of the store left nothing
    database.close()
    assert _bad(found) == []
    assert {(f["area"], f["subject"]) for f in found["findings"]} >= {
        ("credentials", "hubspot"),
        ("fields", "mailchimp"),
        ("clock", "hubspot"),
        ("database", "disk"),
        ("webhooks", "mailchimp"),
    }


def _edit(old: str, new: str) -> Any:
    def edit(_: pytest.MonkeyPatch) -> None:
        path = Path("tandem.yml")
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def _set(name: str, value: str) -> Any:
    return lambda patch: patch.setenv(name, value)


def _fast(patch: pytest.MonkeyPatch) -> None:
    real = clock.now
    patch.setattr("app.core.clock.now", lambda: real() + timedelta(seconds=90))


def _open_env(_: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("", encoding="utf-8")
    Path(".env").chmod(0o644)


def _map(line: str) -> Any:
    def use(patch: pytest.MonkeyPatch) -> None:
        text = (ROOT / "mappings" / "hubspot.yaml").read_text(encoding="utf-8").split("\nexamples:")[0]
        Path("mine.yaml").write_text(text.replace("fields:\n", f"fields:\n  {line}\n", 1), encoding="utf-8")
        _edit("mode: live", "mapping: mine.yaml")(patch)

    return use


def _full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("app.doctor.DISK_PROBLEM", 2**80)


def _old_tables(_: pytest.MonkeyPatch) -> None:
    database = Database("sqlite:///tandem.db")
    with database.write() as db:
        db.exec_driver_sql("UPDATE alembic_version SET version_num = '0000_old'")
    database.close()


def _paused(_: pytest.MonkeyPatch) -> None:
    database = Database("sqlite:///tandem.db")
    with database.write() as db:
        state.ensure(db, ["hubspot"])
        state.pause(db, "hubspot", "the key of ann@example.com was refused")
    database.close()


@pytest.mark.parametrize(
    ("sabotage", "expected"),
    [
        (_edit("connections", "conections"), ("configuration", "tandem.yml", "problem")),
        (_edit("connector: mailchimp", "connector: mailchimpp"), ("connection", "mailchimp", "problem")),
        (_edit("name: mailchimp", "name: other"), ("connection", "other", "problem")),
        (_edit("https://tandem.example.com", "http://tandem.example.com"), ("webhooks", "public_url", "problem")),
        (_edit("tandem.example.com", "tandem.example.com/path"), ("webhooks", "public_url", "problem")),
        (_edit("public_url: https://tandem.example.com", ""), ("webhooks", "public_url", "warn")),
        (_set("TANDEM_HUBSPOT_ACCESS_TOKEN", "pat-na1-wrong"), ("credentials", "hubspot", "problem")),
        (_set("TANDEM_MAILCHIMP_API_KEYY", "x"), ("environment", "TANDEM_MAILCHIMP_API_KEYY", "warn")),
        (_set("TANDEM_TOKEN", "short"), ("environment", "TANDEM_TOKEN", "problem")),
        (_set("TANDEM_HOST", "0.0.0.0"), ("environment", "TANDEM_TOKEN", "warn")),
        (_open_env, ("environment", ".env", "warn")),
        (_map("nonsense: {theirs: firstname}"), ("mapping", "hubspot", "problem")),
        (_map("tags: {theirs: no_such_property, winner: crm, clear: allowed}"), ("fields", "hubspot", "problem")),
        (_fast, ("clock", "hubspot", "problem")),
        (_full, ("database", "disk", "problem")),
        (_old_tables, ("database", "sqlite:///tandem.db", "problem")),
        (_paused, ("connection", "hubspot", "warn")),
        (lambda _: Path("tandem.db").unlink(), ("database", "sqlite:///tandem.db", "warn")),
        (_set("TANDEM_DATABASE", "mysql://u:geheim@h/db"), ("database", "url", "problem")),
        (_set("TANDEM_DATABASE", "postgresql://u:geheim@127.0.0.1:9/db"), ("database", "", "problem")),
    ],
)
def test_the_doctor_finds_what_is_wrong(
    well: Shell, monkeypatch: pytest.MonkeyPatch, sabotage: Any, expected: tuple[str, str, str]
) -> None:
    """Each sabotage is found, with advice; problems end with 1, warnings with 0; no secret is shown."""
    sabotage(monkeypatch)
    area, subject, level = expected
    found = well.json("doctor", code=1 if level == "problem" else 0)
    assert [b for b in _bad(found) if b[0] == area and subject in b[1] and b[2] == level]
    assert all(f["advice"] for f in found["findings"] if f["level"] != "ok")
    text = json.dumps(found)
    assert [s for s in ("geheim", "ann@example.com", "pat-na1-wrong", 'short"', *SECRETS.values()) if s in text] == []


def test_the_doctor_offline_asks_nobody(shell: Shell, respx_mock: Any) -> None:
    """No call goes out: one that did would find no route here."""
    shell.configure()
    shell.migrate()
    found = shell.json("doctor", "--offline")
    assert not respx_mock.calls
    assert {f["area"] for f in found["findings"]} == {"configuration", "environment", "database", "clock"} | {
        "connection",
        "webhooks",
    }


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (502, False), (None, False)])
def test_the_way_to_the_door_is_tried(respx_mock: Any, status: int | None, reachable: bool) -> None:
    """The public name has to lead to this service."""
    route = respx_mock.get("https://tandem.example.com/health/live")
    route.mock(side_effect=httpx.ConnectError) if status is None else route.respond(status)
    found: list[doctor.Finding] = []
    assert doctor._reachable(found, "https://tandem.example.com") is reachable
    assert [f.level for f in found] == ([] if reachable else ["problem"])


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Contact already exists: ann@example.com.", "Contact already exists: <address>"),
        (
            "GET https://api.example.com/lists?email=a&secret=s failed",
            "GET https://api.example.com/lists?<hidden> failed",
        ),
        ("postgresql+psycopg://tandem:geheim@db/tandem", "postgresql+psycopg://tandem:<hidden>@db/tandem"),
        ("user%40example.com and 'b.c@d.org'", "<address> and '<address>'"),
        ("listens at http://127.0.0.1:8000", "listens at http://127.0.0.1:8000"),
        ("5 @ 3, a@b", "5 @ 3, a@b"),
    ],
)
def test_messages_lose_people_and_secrets(text: str, expected: str) -> None:
    """Whoever wrote the text."""
    assert logs.clean(text) == expected


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.set_up("INFO", json=True, stream=stream)
    yield stream
    logs.set_up("WARNING")


def test_log_lines_are_json_without_people_and_secrets(logged: io.StringIO) -> None:
    """Fields, nested ones, exceptions and lines of libraries."""
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
    ours.info("a.b", reason="ann@example.com", token="geheim", deep={"list": ["ann@example.com", b"ann"]}, n=1)
    try:
        raise ValueError("ann@example.com")
    except ValueError:
        ours.exception("c.d", error=ValueError("ann@example.com"))
    theirs.warning("for %s", "ann@example.com")
    theirs.debug("below the level")
    logging.getLogger("httpx").info("GET https://api.example.com/contacts/1")
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["a.b", "c.d", "for <address>"]
    assert (lines[0]["n"], lines[0]["deep"]) == (1, {"list": ["<address>", "<hidden>"]})
    assert "ann" not in logged.getvalue()
    assert "geheim" not in logged.getvalue()


def test_an_unknown_level_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With those that are known."""
    monkeypatch.setenv("TANDEM_LOG_LEVEL", "loud")
    shell("status", code=2)
    assert "known: DEBUG, INFO" in shell.told


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["serve --port 0", "serve --port 0 --no-workers", "work"])
def test_sigterm_is_a_clean_end(shell: Shell, words: str) -> None:
    """Exit code 0; nothing of the worker is left in the store; nothing was printed on stdout."""
    shell.configure()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TANDEM_LOG_JSON": "true"}
    command = [sys.executable, "-m", "app.cli", *words.split()]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        events = []
        for line in process.stderr:
            events.append(json.loads(line)["event"])
            if events[-1] == "tandem.started":
                break
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    assert "tandem.stopped" in err
    database = shell.database()
    assert rows_of(database, t.worker) == []
    database.close()


def test_version_names_both(shell: Shell) -> None:
    """Tandem's and Python's."""
    assert shell.json("version")["python"] == ".".join(map(str, sys.version_info[:3]))
