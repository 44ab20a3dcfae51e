"""What every connector promises about itself: its declarations, its repr, and honesty about what it does not do."""

from __future__ import annotations

import re
from collections.abc import Callable

from connectors.contract import Can, Connector, Delivery, Failed, Kind, Note, Order, Refused, Side, Unsupported, Verb
from tests.promise import Promises, promise
from tests.stage import CONTACT, SIGNED

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")

_CALLS: dict[Can, Callable[[Connector], object]] = {
    Can.WEBHOOK: lambda it: it.receive(Delivery("POST", "https://here.example/", {}, b"", SIGNED)),
    Can.READ: lambda it: it.read(CONTACT, ["1"]),
    Can.CHANGED: lambda it: it.changed(CONTACT, None),
    Can.FIND: lambda it: it.find(CONTACT, "email", ["somebody@people.example"]),
    Can.WRITE: lambda it: it.write([Order("k", CONTACT, Verb.UPDATE, {}, id="1")]),
    Can.ARCHIVE: lambda it: it.write([Order("k", CONTACT, Verb.ARCHIVE, {}, id="1")]),
    Can.ERASE: lambda it: it.write([Order("k", CONTACT, Verb.ERASE, {}, id="1")]),
    Can.MERGE: lambda it: it.write([Order("k", CONTACT, Verb.MERGE, {}, id="1", loser="2")]),
    Can.DESCRIBE: lambda it: it.describe(CONTACT),
    Can.HOOKS: lambda it: it.hooks(),
    Can.COMPANIES: lambda it: it.read(Kind.COMPANY, ["1"]),
    Can.DEALS: lambda it: it.changed(Kind.DEAL, None),
    Can.COLLEAGUES: lambda it: it.changed(Kind.COLLEAGUE, None),
    Can.ENGAGEMENT: lambda it: it.acts(None),
    Can.TIMELINE: lambda it: it.note([Note("k", "1", SIGNED, "opened")]),
}
_VERBS = frozenset({Can.ARCHIVE, Can.ERASE, Can.MERGE})  # a write() that is claimed may refuse these by receipt


class Self(Promises):
    """See the module."""

    @promise()
    def test_it_declares_itself(self) -> None:
        """Name, side, claims, limits, hosts and settings are there and make sense."""
        kind = self.kind
        assert _NAME.fullmatch(kind.name), f"the name {kind.name!r} must fit URLs, files and variables"
        assert kind.side in Side
        assert kind.can, "it claims nothing: fill in `can`"
        assert kind.can <= set(Can), f"unknown claims: {kind.can - set(Can)}"
        limits = kind.limits
        assert min(limits.read_batch, limits.find_batch, limits.write_batch, limits.concurrency) >= 1
        assert all(r.calls > 0 and r.seconds > 0 for own in (limits.rates, *limits.keys.values()) for r in own)
        assert all(_HOST.fullmatch(host) for host in kind.hosts), f"hosts too wide or malformed: {sorted(kind.hosts)}"
        names = [s.name for s in kind.settings]
        assert len(set(names)) == len(names)
        assert all(_NAME.fullmatch(n) for n in names)
        assert all(s.about.strip() for s in kind.settings)
        assert any(s.secret for s in kind.settings), "no setting is marked secret"

    @promise()
    def test_it_needs_its_required_settings(self) -> None:
        """A connection without a required setting is refused by name, whatever the others hold."""
        for setting in self.kind.settings:
            if setting.required:
                stage = self.stage()
                settings = {k: v for k, v in stage.settings.items() if k != setting.name}
                error = self.raises(ValueError, lambda s=settings, h=stage.it._http: self.kind(s, h), setting.name)
                assert setting.name in str(error)

    @promise()
    def test_oauth_takes_the_place_of_its_key(self) -> None:
        """Where it has OAuth, a client id replaces the static key, which is neither needed nor sent then."""
        stage = self.stage()
        facts = self.kind.oauth_for(stage.settings)
        if facts is None:
            return
        settings = {s.name: s for s in self.kind.settings}
        assert "client_id" in settings, "OAuth is chosen by the setting client_id"
        assert settings[facts.instead_of].unless == "client_id", f"{facts.instead_of} is needed with OAuth too"
        given = {k: v for k, v in stage.settings.items() if k != facts.instead_of} | {"client_id": "an-app"}
        self.kind(given, stage.it._http)
        assert "authorization" not in {name.lower() for name in self.kind.headers(given)}, "its own Authorization"
        for url in filter(None, (facts.token_url, facts.authorize_url, facts.revoke_url)):
            assert url.startswith(("https://", "http://127.0.0.1", "http://localhost")), f"not https: {url}"

    @promise()
    def test_its_repr_holds_no_secret(self) -> None:
        """What a log or a traceback would print of it holds no secret."""
        stage = self.stage()
        self.clean(stage.it, stage.it._http, where="repr")

    @promise()
    def test_check_says_who_we_are(self) -> None:
        """``check`` calls the vendor and answers in one line without secrets; a revoked key needs a human."""
        stage = self.stage()
        said = stage.it.check()
        assert said.strip()
        assert "\n" not in said
        assert stage.calls, "check made no call"
        self.clean(said, where="check")

    @promise()
    def test_what_it_does_not_claim_is_unsupported(self) -> None:
        """A capability that is not claimed raises Unsupported (or refuses the order) and calls nobody."""
        for can, call in _CALLS.items():
            if can in self.kind.can:
                continue
            stage = self.stage()
            if can in _VERBS and Can.WRITE in self.kind.can:
                self._refuses(can, stage.it)
            else:
                self.raises(Unsupported, lambda c=call, s=stage: c(s.it), f"{can} is not claimed")
            assert not stage.calls, f"{can} is not claimed, but the vendor was called"

    @promise()
    def test_only_allowed_hosts_are_called(self) -> None:
        """Nothing goes past the shared client, and all of it to the hosts that were declared."""
        stage = self.stage()
        stage.it.check()
        for can in (Can.READ, Can.CHANGED, Can.FIND, Can.DESCRIBE):
            if can in self.kind.can:
                _CALLS[can](stage.it)
        assert stage.calls

    def _refuses(self, can: Can, it: Connector) -> None:
        try:
            receipts = _CALLS[can](it)
        except Unsupported:
            return
        assert isinstance(receipts, (list, tuple))
        assert all(isinstance(r, Failed) and isinstance(r.problem, Refused) for r in receipts), receipts
