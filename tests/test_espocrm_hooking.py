"""EspoCRM's webhooks as subscriptions: one for each event, keys that reach a person, what is missing or off."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import typer

from app.commands import webhooks as commands
from connectors import _espocrm_hooking as hooking
from connectors import _espocrm_hooks as hooks
from connectors.contract import Delivery, Refused, Untrusted
from connectors.espocrm import EspoCrm
from sandbox.webhooks import Target
from tests.examples.espocrm import FakeEspo, connect, refused

URL = "https://tandem.example/webhooks/mine"
EVENTS = ["Contact.create", "Contact.update", "Contact.delete"]
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def api() -> FakeEspo:
    return FakeEspo()


@pytest.fixture
def it(api: FakeEspo) -> EspoCrm:
    return connect(api, webhook_secrets="")


def put(api: FakeEspo, name: str, event: str, url: str, *, enabled: bool = True) -> None:
    api.webhooks[name] = Target(name, url, f"key-of-{name}", events={event: True}, sources=None, enabled=enabled)


def there(api: FakeEspo) -> dict[str, str]:
    """Event -> URL of what leads to ours."""
    return {next(iter(t.events or [""])): t.url for t in api.webhooks.values() if t.url.startswith(URL)}


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, []),
        ({"company_attributes": "name"}, ["Account"]),
        ({"deal_attributes": "stage", "deal_object": "CDeal"}, ["CDeal"]),
    ],
)
def test_one_webhook_for_each_event_of_what_is_read(
    api: FakeEspo, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], more: list[str]
) -> None:
    """Of contacts, and of accounts and opportunities where they are read; each says its event in its URL."""
    monkeypatch.setattr("sandbox.espocrm_subscriptions._ENTITIES", {"Contact", "Account", "CDeal"})
    made = connect(api, **settings).hook(URL)
    events = [*EVENTS, *(f"{entity}.{what}" for entity in more for what in ("create", "update", "delete"))]
    assert there(api) == {event: f"{URL}?event={event}" for event in events}
    assert sorted(hook.about for hook in made.hooks) == sorted(events)
    assert all(target.sources == {"user": True, "api": False} for target in api.webhooks.values()), "our own come back"


def test_the_keys_reach_a_person(api: FakeEspo, it: EspoCrm) -> None:
    """Told with those that are known, until all are known; they prove deliveries, and no repr holds them."""
    body = b'[{"id":"65f0c1d2e3a4b5c6d","title":"CTO"}]'
    made = it.hook(URL)
    assert made.setting == "webhook_secrets"
    assert made.secret is not None
    keys = made.secret.split(",")
    assert sorted(keys) == sorted(target.secret for target in api.webhooks.values())
    assert not any(key in repr(made) for key in keys)
    told = it.hook(URL).secret
    assert told is not None
    assert sorted(told.split(",")) == sorted(keys), "a key that nobody wrote down is told again"
    knows = connect(api, webhook_secrets=made.secret)
    for name, target in api.webhooks.items():
        signed = Delivery("POST", target.url, {"signature": hooks.sign(name, target.secret, body)}, body, AT)
        assert knows.receive(signed).events
        with pytest.raises(Untrusted, match="tandem webhooks install"):
            it.receive(signed)
    assert knows.hook(URL).secret is None
    api.webhooks.popitem()
    again = knows.hook(URL).secret
    assert again is not None
    assert again.split(",")[:-1] == keys
    assert "webhook_secrets is not set" in it.check()
    assert "webhook_secrets" not in knows.check()


def test_keys_that_lists_do_not_show_are_told_once(api: FakeEspo, it: EspoCrm) -> None:
    """Where an installation shows no key, the answers to the creations are all there is."""
    plain = api.listed

    def without(*given: Any, **said: Any) -> httpx.Response:
        body = plain(*given, **said).json()
        return httpx.Response(200, json={**body, "list": [{**row, "secretKey": None} for row in body["list"]]})

    api.listed = without  # type: ignore[method-assign]
    made = it.hook(URL)
    assert made.secret is not None
    assert len(made.secret.split(",")) == 3
    assert it.hook(URL).secret is None


def test_what_is_missing_or_off_is_said_and_mended(api: FakeEspo, it: EspoCrm) -> None:
    """Switched off, gone, twice, or at an URL that does not say the event; those of others stay as they are."""
    put(api, "a1", "Contact.create", URL)  # without an event it tells of changes, which is right
    put(api, "b1", "Contact.update", f"{URL}?event=Contact.update", enabled=False)
    put(api, "b2", "Contact.update", f"{URL}?event=Contact.update")
    put(api, "e1", "Contact.fieldUpdate.emailAddress", f"{URL}?event=Contact.create", enabled=False)
    put(api, "z9", "Contact.delete", "https://elsewhere.example/?key=geheim")
    found = {hook.id: hook for hook in it.hooks()}
    assert {i: hook.on for i, hook in found.items()} == {"a1": True, "b1": False, "b2": True, "e1": False, "z9": True}
    assert found["a1"].missing == ("Contact.delete",)
    assert not any(hook.lacks for i, hook in found.items() if i != "z9")
    assert not any(hook.missing for i, hook in found.items() if i not in {"a1", "z9"})
    assert "geheim" not in repr(found)
    made = it.hook(URL)
    assert there(api) == {e: f"{URL}?event={e}" for e in (*EVENTS, "Contact.fieldUpdate.emailAddress")}
    assert {"a1", "b2", "e1", "z9"} < api.webhooks.keys()
    assert "b1" not in api.webhooks, "both would tell everything"
    assert all(hook.on and not hook.lacks and not hook.missing for hook in made.hooks)
    assert api.webhooks["z9"].sources is None
    put(api, "d1", "Contact.delete", URL)
    assert next(hook for hook in it.hooks() if hook.id == "d1").lacks == ("?event=Contact.delete",)


@pytest.mark.parametrize(
    ("method", "reason", "says"),
    [
        ("GET", "", "role of the API user needs Webhooks"),
        ("GET", "Max size should not exceed 20. Use offset and limit.", "page_size"),
        ("POST", "Entity type is forbidden.", r"Entity type is forbidden: Contact\.create; the role"),
        ("POST", "Webhook number per user exceeded the limit.", "webhookMaxCountPerUser"),
    ],
)
def test_what_the_role_forbids_is_said(api: FakeEspo, it: EspoCrm, method: str, reason: str, says: str) -> None:
    """A 403 about webhooks stops nothing else, and names what to do."""
    api.trouble = lambda request: refused(403, reason) if request.method == method else None
    with pytest.raises(Refused, match=says) as raised:
        it.hook(URL)
    assert raised.value.code == "webhooks"


def test_an_url_that_espocrm_does_not_take_is_refused(api: FakeEspo, it: EspoCrm) -> None:
    """Longer than its field."""
    with pytest.raises(Refused, match="maxLength") as raised:
        it.hook(f"{URL}/{'a' * 512}")
    assert raised.value.field == "url"
    assert not api.webhooks


def test_the_command_prints_the_line_for_the_environment(
    api: FakeEspo, it: EspoCrm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the name of the vendor's own setting, as text and as JSON; the status says what has no webhook."""

    @contextlib.contextmanager
    def whole(_: object) -> Iterator[Any]:
        one = SimpleNamespace(name="my-crm", connector=it)
        yield SimpleNamespace(connections={"my-crm": one}, public_url="https://tandem.example")

    monkeypatch.setattr(commands, "whole", whole)
    commands.webhooks_install("my-crm")
    secret = ",".join(target.secret for target in api.webhooks.values())
    assert f"TANDEM_MY_CRM_WEBHOOK_SECRETS={secret}\n" in capsys.readouterr().out
    commands.webhooks_install("my-crm", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["setting"], set(shown["signing_secret"].split(","))) == ("webhook_secrets", set(secret.split(",")))
    api.webhooks.popitem()
    with pytest.raises(typer.Exit):
        commands.webhooks_status(as_json=True)
    assert "no webhook for Contact.delete" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["one event only", "sees no gap", "always another", "keeps keys"])
def test_broken_subscriptions_are_caught(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """The saboteurs: one event only, a gap that is not seen, a second webhook each time, keys that nobody is told."""
    install, rows, shown = hooking.install, hooking._rows, hooking._hook
    match broken:
        case "one event only":
            monkeypatch.setattr(hooking, "_wanted", lambda kinds: [f"{entity}.create" for entity in kinds])
        case "sees no gap":
            monkeypatch.setattr(hooking, "_hook", lambda row, kinds, _: shown(row, kinds, ()))
        case "always another":
            monkeypatch.setattr(hooking, "_rows", lambda records, *more: rows(records, *more) if more else [])
        case "keeps keys":
            monkeypatch.setattr(hooking, "install", lambda *given: dataclasses.replace(install(*given), secret=None))
    with pytest.raises(AssertionError):
        _both()


def _both() -> None:
    for test in (test_the_keys_reach_a_person, test_what_is_missing_or_off_is_said_and_mended):
        api = FakeEspo()
        test(api, connect(api, webhook_secrets=""))
