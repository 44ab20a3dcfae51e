"""Tokens of programs, the audit log, and the names that acts are kept under."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import now_ms
from app.core.errors import NotPossible
from app.ops.access.auditing import ids
from app.ops.access.permissions import Permission, Role
from app.ops.access.principal import Kind, Principal
from app.ops.access.visitors import new_token
from app.records import apitokens, audit
from app.repair import prune
from app.repair.prune import Retention
from tests.apihelp import add_contacts
from tests.signin import House

P = Permission


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    it = House(tmp_path_factory.mktemp("tokens"), token="the-token-of-this-installation")
    add_contacts(it.database, {"values": {"email": "ann@example.org"}})
    yield it
    it.close()


def ask(house: House, token: str, method: str = "GET", path: str = "/me", **request: Any) -> Any:
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    return house.browser()(method, path, headers=headers, **request)


def test_a_program_is_known_by_its_token(house: House) -> None:
    """By name and role; when it was used is kept, the token is not."""
    number, secret = house.token("n8n", Role.OPERATOR)
    me = ask(house, secret).json()
    assert (me["kind"], me["name"], me["role"], me["masked"]) == ("token", "n8n", "operator", False)
    with house.database.read() as db:
        row = apitokens.one(db, number)
        everything = str([db.execute(select(table)).all() for table in t.metadata.sorted_tables])
    assert row["used_at"] is not None
    assert secret not in everything
    assert row["hash"] in everything


@pytest.mark.parametrize(
    "what", ["forged", "without its end", "its hash", "without its prefix", "expired", "revoked", "empty", "binary"]
)
def test_a_token_that_is_not_good_is_refused(house: House, what: str) -> None:
    """With 401, and the store is not asked about what cannot be one."""
    number, secret = house.token(f"for {what}")
    assert ask(house, secret).status_code == 200
    with house.database.write() as db:
        if what == "expired":
            db.execute(update(t.api_token).where(t.api_token.c.id == number).values(expires_at=now_ms()))
        elif what == "revoked":
            apitokens.revoke(db, number, "Kim")
        row = apitokens.one(db, number)
    sent = {
        "forged": "tandem_" + "A" * 43,
        "without its end": secret[:-1],
        "its hash": "tandem_" + str(row["hash"]),
        "without its prefix": secret.removeprefix("tandem_"),
        "empty": "",
        "binary": "tandem_\xff\xfe",
    }.get(what, secret)
    answer = house.browser()("GET", "/me", headers={"authorization": f"Bearer {sent}".encode("latin-1")})
    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_scopes_narrow_the_role(house: House) -> None:
    """What the role may not, no scope gives; and nobody gives more than they have."""
    _, secret = house.token("prometheus", Role.VIEWER, scopes=[P.STATUS])
    assert ask(house, secret, path="/metrics").status_code == 200
    assert ask(house, secret, path="/scorecard").status_code == 403
    with pytest.raises(NotPossible, match="has no operate"):
        new_token(house.database, "greedy", Role.VIEWER, [P.OPERATE], 1, "Kim")
    giver = Principal(Kind.TOKEN, Role.ADMIN, "small", 1, frozenset({P.ACCESS}))
    with pytest.raises(NotPossible, match="no more than whoever"):
        new_token(house.database, "greedy", Role.VIEWER, None, 1, "Kim", giver)


def test_tokens_are_made_listed_and_revoked_by_an_admin(house: House) -> None:
    """Shown once; a name in use is refused; an operator may none of it."""
    _, admin = house.token("admin")
    _, operator = house.token("operator", Role.OPERATOR)
    asked = {"by": "Kim", "name": "zapier", "role": "steward", "scopes": ["people"], "days": 1}
    made = ask(house, admin, "POST", "/tokens", json=asked)
    assert made.status_code == 201
    found = made.json()
    assert found["token"].startswith("tandem_")
    assert (found["made_by"], found["scopes"]) == ("admin", ["people"])
    assert ask(house, admin, "POST", "/tokens", json=asked).status_code == 409
    listed = ask(house, admin, path="/tokens").json()["items"]
    assert found["token"] not in str(listed)
    assert listed[0]["name"] == "zapier"
    ended = ask(house, admin, "POST", f"/tokens/{found['id']}/revoke", json={"by": "Kim"})
    assert ended.json()["revoked_by"] == "admin"
    assert ask(house, found["token"]).status_code == 401
    assert ask(house, admin, "POST", "/tokens/999/revoke", json={"by": "Kim"}).status_code == 404
    assert ask(house, operator, "POST", "/tokens", json=asked).status_code == 403
    first = ask(house, admin, path="/tokens?limit=1").json()
    assert ask(house, admin, path=f"/tokens?limit=1&after={first['next']}").json()["items"] != first["items"]


def test_an_act_is_kept_under_the_callers_own_name(house: House) -> None:
    """Whatever name is sent; only where several share what opened the door is the name taken that they give."""
    number, own = house.token("own name", Role.STEWARD)
    asked = {"by": "Somebody Else", "status": "granted", "channel": "email", "evidence": "said so"}
    for token, by in ((own, "own name"), ("the-token-of-this-installation", "Somebody Else")):
        answer = ask(house, token, "POST", "/contacts/1/consent", json=asked)
        assert answer.status_code < 300, answer.text
        with house.database.read() as db:
            newest = db.execute(select(t.consent.c.actor).order_by(t.consent.c.id.desc()).limit(1)).scalar_one()
            act = audit.listed(db, 1)[0]
        assert newest == by
        assert act["who"] == by
        assert act["act"] == "consent"
        assert act["target"] == {"contact_id": 1, "status": "granted"}
        assert act["ended"] == str(answer.status_code)
    assert number


def test_an_act_of_a_form_is_entered_too(house: House) -> None:
    """With the name that was typed, and nothing else of what was."""
    form = {"by": "Bo", "name": "ann", "reason": "ann@example.org", "csrf": "x"}
    ask(house, "the-token-of-this-installation", "POST", "/console/connections/nobody/pause", data=form)
    with house.database.read() as db:
        act = audit.listed(db, 1)[0]
    assert (act["kind"], act["who"], act["target"]) == ("installation", "Bo", {"name": "nobody"})


def test_every_act_is_entered_and_no_look(house: House) -> None:
    """Also one that was refused by what it asked for; what the gate refuses is not an act."""
    key, secret = house.token("watched", Role.OPERATOR)

    def acts() -> list[dict[str, Any]]:
        with house.database.read() as db:
            return audit.listed(db, 200, who="watched")

    ask(house, secret, path="/contacts")
    ask(house, secret, "POST", "/undo", json={"by": "x"})
    assert acts() == []
    ask(house, secret, "POST", "/ops/connections/nobody/pause", json={})
    ask(house, secret, "POST", "/ops/replay", json={"contact": 1, "status": ["dead"]})
    ask(house, secret, path="/scorecard/export/deals")
    found = acts()
    assert [(a["what"], a["key"], a["target"], a["ended"] is not None) for a in reversed(found)] == [
        ("POST /ops/connections/{name}/pause", key, {"name": "nobody"}, True),
        ("POST /ops/replay", key, {"contact": 1}, True),
        ("GET /scorecard/export/{name}", key, {"name": "deals"}, True),
    ]
    assert found[1]["made"].keys() <= {"run"}


def test_no_act_goes_unrecorded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log cannot be written, nothing is done."""
    _, secret = house.token("unrecorded", Role.STEWARD)

    def broken(*_: Any, **__: Any) -> int:
        raise RuntimeError("disk full")

    with house.database.read() as db:
        before = db.execute(select(t.consent.c.id)).all()
    monkeypatch.setattr(audit, "act", broken)
    asked = {"by": "x", "status": "granted", "channel": "email", "evidence": "said so", "purpose": "news"}
    assert ask(house, secret, "POST", "/contacts/1/consent", json=asked).status_code == 500
    with house.database.read() as db:
        assert db.execute(select(t.consent.c.id)).all() == before


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"contact_id": "7", "run": 3, "event": 2**63}, {"contact_id": 7, "run": 3}),
        ({"address": "ann@example.org", "email": "ann@example.org", "value": 49170123456}, {}),
        (
            {"name": "hubspot", "connection": "mail\nchimp", "field": "given_name"},
            {"name": "hubspot", "field": "given_name"},
        ),
        ({"name": "Ann Smith", "team": "ann@example.org", "contact": "ann"}, {}),
        ({"name": "a" * 300, "run": True, "evidence": "she said so", "token": "tandem_abc"}, {}),
        ({"name": {"a": 1}, "contact": [1], "older": -1}, {}),
        ({"contact_id": "9" * 5000, "run": "9" * 19, "merge": "12"}, {"merge": 12}),
    ],
)
def test_the_log_holds_ids_and_nothing_of_people(sent: dict[str, Any], kept: dict[str, Any]) -> None:
    """Whatever a request has in it: no address, no secret, no line end that would forge a line of a log."""
    assert ids(sent) == kept


def test_the_log_is_read_by_admins_in_pages(house: House) -> None:
    """The newest first; by name; and reading it is entered, too."""
    _, admin = house.token("reader")
    first = ask(house, admin, path="/audit?limit=2").json()
    second = ask(house, admin, path=f"/audit?limit=2&after={first['next']}").json()
    numbers = [a["id"] for a in first["items"] + second["items"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 4
    mine = ask(house, admin, path="/audit?who=reader").json()["items"]
    assert {a["what"] for a in mine} == {"GET /audit"}
    assert ask(house, admin, path="/audit?whom=x").status_code == 422


STATEMENTS = {"insert": {"app.records.audit"}, "delete": {"app.records.audit"}, "update": set()}


def uses(source: str) -> set[str]:
    """The statements of a source that change the table of acts."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and any(ast.unparse(one) == "t.audit" for one in node.args[:1]):
            found.add(ast.unparse(node.func).rpartition(".")[2])
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("t.audit.") and node.attr != "c":
            found.add(node.attr)
    return found - {"select", "alias", "c"}


def test_the_log_is_append_only() -> None:
    """One module names the table; it adds, and removes by age; nothing is changed."""
    root = Path(__file__).parents[1]
    found = {
        str(path.relative_to(root)): statements
        for path in sorted((root / "app").rglob("*.py"))
        if (statements := uses(path.read_text(encoding="utf-8")))
    }
    assert found == {"app/records/audit.py": {"insert", "delete"}}
    deleting = [name for name, _ in _functions(root / "app/records/audit.py", "delete(t.audit)")]
    assert deleting == ["forget"]


def _functions(path: Path, text: str) -> list[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [(n.name, ast.unparse(n)) for n in tree.body if isinstance(n, ast.FunctionDef)]
    return [(name, body) for name, body in bodies if text in body]


@pytest.mark.parametrize("source", ["update(t.audit)", "db.execute(delete(t.audit).where(x))", "t.audit.update()"])
def test_a_change_to_the_log_is_found(source: str) -> None:
    """Guards the guard."""
    assert uses(source) & {"update", "delete"}


def test_the_log_ends_by_age_alone_and_sessions_by_themselves(house: House) -> None:
    """Kept for ever where no retention is set."""
    with house.database.write() as db:
        audit.end(db, audit.act(db, "shell", "Old", None, "command", "tandem x", {}), "done")
        db.execute(update(t.audit).where(t.audit.c.who == "Old").values(at=1_000))
        db.execute(t.session.insert().values(id="old", account_id=1, token_hash=None, made_at=1, seen_at=1, ends_at=2))
        prune.prune(db, Retention())
        assert len(audit.listed(db, 200, who="Old")) == 1
        assert db.execute(select(t.session.c.id).where(t.session.c.id == "old")).first() is None
        some = len(audit.listed(db, 200))
        prune.prune(db, Retention(audit=30))
        assert audit.listed(db, 200, who="Old") == []
        assert len(audit.listed(db, 200)) == some - 1
