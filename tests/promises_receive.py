"""What a connector that claims WEBHOOK promises of ``receive``."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import pytest

from connectors.contract import Can, Delivery, Event, Received, Unreadable, Untrusted
from tests.promise import Promises, promise
from tests.stage import MARK, SIGNED, Stage

_NONSENSE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"[1]",
    b'"text"',
    b"{}",
    b'{"a":',
    b"\xff\xfe\x00",
    b"[" * 5000,
    b"a=b&c",
    b"%ff=%fe",
)
_SPOILED = ("", " ", ",", "=", "t=,v1=", "v1", "v1,", "v1,a,b", "t=1=2", "é", "\udcff", "0" * 64, "=" * 64, "A" * 4000)


class Receive(Promises):
    """See the module."""

    def signed(self, stage: Stage, body: bytes, at: datetime = SIGNED, secret: str | None = None) -> Delivery:
        """A delivery as the vendor would send it."""
        e = self.example
        proof = (*e.proof, e.proof_in_url) if e.proof_in_url else e.proof
        self.need(sign=e.sign, secret=e.secret, proof=proof, body=e.body, events=e.events, unknown=e.unknown)
        assert e.sign is not None
        return e.sign(body, at, stage.settings[e.secret] if secret is None else secret)

    @promise(Can.WEBHOOK)
    def test_a_delivery_is_exactly_its_events(self) -> None:
        """A good delivery leads to exactly its events and the vendor's answer, without a call."""
        stage = self.stage()
        received = stage.it.receive(self.signed(stage, self.example.body))
        assert list(received.events) == list(self.example.events)
        assert received.answer == self.example.answer
        assert not stage.calls, "receive called the vendor"

    @promise(Can.WEBHOOK)
    def test_a_spoiled_proof_is_untrusted(self) -> None:
        """A header of the proof that is missing, cut, garbled or another's is Untrusted, never another error."""
        stage = self.stage()
        good = self.signed(stage, self.example.body)
        for name in self.example.proof:
            value = good.headers[name]
            spoiled = [*_SPOILED, value[:-1], value[:-1] + ("0" if value[-1] != "0" else "1"), value[1:], value[::-1]]
            for bad in (None, *(s for s in spoiled if s != value)):
                headers = {k: v for k, v in good.headers.items() if k != name}
                if bad is not None:
                    headers[name] = bad
                delivery = replace(good, headers=headers)
                self.raises(Untrusted, lambda d=delivery: stage.it.receive(d), f"{name}: {str(bad)[:70]!r}")
        if name := self.example.proof_in_url:
            base, _, query = good.url.partition("?")
            (value,) = parse_qs(query)[name]
            spoiled = [
                "",
                " ",
                value[:-1],
                value + "0",
                value[::-1],
                value.upper(),
                "é",
                "%ff",
                f"{value}&{name}={value}",
            ]
            urls = [base, f"{base}?other={value}", *(f"{base}?{name}={bad}" for bad in spoiled)]
            for url in urls:
                delivery = replace(good, url=url)
                self.raises(Untrusted, lambda d=delivery: stage.it.receive(d), f"{name} in the URL")

    @promise(Can.WEBHOOK)
    def test_a_spoiled_body_is_untrusted(self) -> None:
        """A body that is not the one that was signed is Untrusted."""
        stage = self.stage()
        good = self.signed(stage, self.example.body)
        body, half = good.body, len(good.body) // 2
        flipped = [body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :] for i in (0, half, len(body) - 1)]
        for bad in (*flipped, body[:half], body[:-1], body + b" ", b"", b"\xff\xfe", body * 2):
            delivery = replace(good, body=bad)
            if self.example.body_is_signed:
                self.raises(Untrusted, lambda d=delivery: stage.it.receive(d), f"a body of {len(bad)} bytes")
            else:
                self.harmless(stage, delivery)

    @promise(Can.WEBHOOK)
    def test_another_secret_is_untrusted(self) -> None:
        """What another secret signed is Untrusted."""
        stage = self.stage()
        forged = self.signed(stage, self.example.body, secret="somebody-else-s-secret")
        self.raises(Untrusted, lambda: stage.it.receive(forged), "another secret")

    @promise(Can.WEBHOOK)
    def test_an_empty_secret_trusts_nobody(self) -> None:
        """Without a secret the connection is refused, or everything is Untrusted, even what emptiness signed."""
        for empty in ("", " ", ",", " , "):
            stage = self.stage()
            forged = self.signed(stage, self.example.body)
            with contextlib.suppress(Untrusted):  # the connector's own signing may refuse to sign with nothing
                forged = self.signed(stage, self.example.body, secret=empty.strip())
            try:
                stage = self.stage(**{self.example.secret: empty})
            except ValueError:
                continue
            self.raises(Untrusted, lambda s=stage, d=forged: s.it.receive(d), f"the secret {empty!r}")

    @promise(Can.WEBHOOK)
    def test_a_stale_delivery_is_untrusted(self) -> None:
        """Where the signature holds a time, one outside the tolerance is Untrusted, to either side."""
        stage, tolerance = self.stage(), self.example.tolerance
        good = self.signed(stage, self.example.body)
        if tolerance is None:
            pytest.skip("the Example says no tolerance: the signature holds no time")
        for off in (tolerance - timedelta(seconds=2), timedelta(seconds=2) - tolerance):
            assert stage.it.receive(replace(good, received_at=SIGNED + off)).events, f"{off} is within the tolerance"
        for off in (tolerance + timedelta(seconds=2), -tolerance - timedelta(seconds=2), timedelta(days=400)):
            delivery = replace(good, received_at=SIGNED + off)
            self.raises(Untrusted, lambda d=delivery: stage.it.receive(d), f"received {off} after it was signed")

    @promise(Can.WEBHOOK)
    def test_both_secrets_count_while_one_is_rotated(self) -> None:
        """Where the setting takes several secrets, each of them is accepted, and no other."""
        e = self.example
        if e.secrets_apart is None:
            pytest.skip("the Example says no secrets_apart: the setting holds one secret")
        stage = self.stage(**{e.secret: f"the-new-secret-1{e.secrets_apart}the-old-secret-2"})
        for secret in ("the-new-secret-1", "the-old-secret-2"):
            assert stage.it.receive(self.signed(stage, e.body, secret=secret)).events, f"{secret} is not accepted"
        for secret in ("the-third-secret", f"the-new-secret-1{e.secrets_apart}the-old-secret-2"):
            forged = self.signed(stage, e.body, secret=secret)
            self.raises(Untrusted, lambda d=forged: stage.it.receive(d), "a secret that is not set")

    @promise(Can.WEBHOOK)
    def test_signed_junk_is_unreadable(self) -> None:
        """What is trusted but no delivery is Unreadable; any nonsense is that or ignored, never another error."""
        stage = self.stage()
        junk = self.signed(stage, self.example.junk)
        self.raises(Unreadable, lambda: stage.it.receive(junk), f"signed {self.example.junk!r}")
        half = self.example.body[: len(self.example.body) // 2]
        for body in (*_NONSENSE, half, self.example.body + b"\xff", f'{{"{MARK}": "{MARK}@people.example"'.encode()):
            self.harmless(stage, self.signed(stage, body))

    @promise(Can.WEBHOOK)
    def test_an_unknown_type_is_ignored(self) -> None:
        """A delivery of a type that concerns nobody has no events and is answered like any other."""
        stage = self.stage()
        received = stage.it.receive(self.signed(stage, self.example.unknown))
        assert received.events == ()
        assert 200 <= received.answer.status < 300

    @promise(Can.WEBHOOK)
    def test_the_same_happening_has_the_same_key(self) -> None:
        """A copy has the keys of the original, also later, newly signed, or with the counter of tries raised."""
        stage = self.stage()
        first = self.keys(stage, self.example.body)
        assert self.keys(stage, self.example.body) == first
        assert self.keys(stage, self.example.body, at=SIGNED + self.example.copies) == first
        if self.example.retried is not None:
            assert self.example.retried != self.example.body
            assert self.keys(stage, self.example.retried) == first, "the counter of tries changes the key"

    @promise(Can.WEBHOOK)
    def test_different_happenings_have_different_keys(self) -> None:
        """Two happenings never share a key, within a delivery or across; and a key names nobody."""
        self.need(other=self.example.other)
        stage = self.stage()
        first, second = self.keys(stage, self.example.body), self.keys(stage, self.example.other)
        assert len({*first, *second}) == len(first) + len(second)
        assert all(key.strip() for key in first)

    @promise(Can.WEBHOOK)
    def test_events_have_aware_times_and_show_nobody(self) -> None:
        """Times are aware and in UTC; the repr of an event holds no address."""
        stage = self.stage()
        events = self.events(stage, self.example.body)
        for event in events:
            at = event.occurred_at
            assert at is None or (at.tzinfo is not None and at.utcoffset() == timedelta(0)), f"{at!r} is not aware UTC"
            assert "@" not in repr(event)
            assert event.ref.value

    def events(self, stage: Stage, body: bytes, at: datetime = SIGNED) -> tuple[Event, ...]:
        """The events of a good delivery."""
        return tuple(stage.it.receive(self.signed(stage, body, at)).events)

    def keys(self, stage: Stage, body: bytes, at: datetime = SIGNED) -> list[str]:
        """The dedupe keys of a good delivery, which are there."""
        found = [event.dedupe for event in self.events(stage, body, at)]
        assert found, "a good delivery without events"
        return found

    def harmless(self, stage: Stage, delivery: Delivery) -> None:
        """Whatever it is, it is received, Untrusted or Unreadable."""
        try:
            assert isinstance(stage.it.receive(delivery), Received)
        except (Untrusted, Unreadable) as error:
            self.clean(error, where=f"a delivery of {delivery.body[:20]!r}")
        except Exception as error:  # any other is the finding
            raise AssertionError(f"{type(error).__name__} for {delivery.body[:40]!r}: {error}") from error
