"""Checking what proves a delivery: vectors, rotation, tolerance, and everything malformed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from connectors._signing import (
    hmac_sha256_base64,
    hmac_sha256_hex,
    named,
    require,
    same,
    secrets,
    within,
)
from connectors.contract import Untrusted

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
STAMP = str(int(AT.timestamp()))
FIVE = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [  # RFC 4231, test cases 1, 2, 3 and 6
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        ("Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            b"\xaa" * 131,
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_hmac_keeps_the_published_vectors(key: str | bytes, data: str | bytes, expected: str) -> None:
    """The digests of RFC 4231, in hex and in base64, whole or in parts."""
    assert hmac_sha256_hex(key, data) == expected
    assert hmac_sha256_hex(key, data[:3], data[3:]) == expected
    assert hmac_sha256_base64(key, data) == base64.b64encode(bytes.fromhex(expected)).decode()


def test_a_standard_webhooks_signature_holds() -> None:
    """``{id}.{time}.{body}`` in base64, several signatures in the header, and a body that need not be text."""
    key, body = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), b'{"test": 2432232314}'
    wanted = hmac_sha256_base64(key, "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.", body)
    assert wanted == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # standardwebhooks.com, reference libraries
    require(named(f"v1,old v1,{wanted} v1a,x", between=" ", inside=",")["v1"], [wanted])
    with pytest.raises(Untrusted):
        require([wanted], [hmac_sha256_base64(key, "msg.1614265330.", b"\xff\xfe")])


@pytest.mark.parametrize("secret", ["", b""])
@pytest.mark.parametrize("digest", [hmac_sha256_hex, hmac_sha256_base64])
def test_nothing_is_signed_without_a_secret(digest: Callable[..., str], secret: str | bytes) -> None:
    """Anybody could sign with an empty key."""
    with pytest.raises(Untrusted, match="no secret"):
        digest(secret, b"body")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abc", "abc", True),
        ("abc", b"abc", True),
        ("ü", "ü", True),
        ("ü", "ü".encode(), True),
        ("\udcff", "\udcff", True),
        ("abc", "abd", False),
        ("abc", "ab", False),
        ("ü", "u", False),
        ("\udcff", b"\xff", False),
        ("", "a", False),
    ],
)
def test_same_compares_anything(a: str | bytes, b: str | bytes, expected: bool) -> None:
    """Text and bytes, ASCII or not, without an error of any kind."""
    assert same(a, b) is expected
    assert same(b, a) is expected


@pytest.mark.parametrize(
    ("given", "wanted", "holds"),
    [
        (["a"], ["a"], True),
        (["x", "a"], ["a"], True),
        (["a"], ["new", "a"], True),
        ([b"a"], ["a"], True),
        (["a", "a"], ["a"], True),
        (["b"], ["a"], False),
        ([], ["a"], False),
        (["a"], [], False),
        ([], [], False),
        ([""], [""], False),
        (["ä"], ["a"], False),
        (["\udcff"], ["a"], False),
    ],
)
def test_one_of_several_must_hold(given: list[str | bytes], wanted: list[str | bytes], holds: bool) -> None:
    """Several signatures or several secrets: one pair is enough, none is not, and emptiness proves nothing."""
    if holds:
        require(given, wanted)
    else:
        with pytest.raises(Untrusted):
            require(given, wanted)


@pytest.mark.parametrize(
    ("stamp", "unit", "off"),
    [
        (STAMP, timedelta(seconds=1), timedelta(0)),
        (STAMP.encode(), timedelta(seconds=1), timedelta(0)),
        (STAMP, timedelta(seconds=1), FIVE),
        (STAMP, timedelta(seconds=1), -FIVE),
        (STAMP + "250", timedelta(milliseconds=1), timedelta(minutes=1)),
    ],
)
def test_a_time_within_the_tolerance_is_given(stamp: str | bytes, unit: timedelta, off: timedelta) -> None:
    """In seconds or milliseconds, early or late, up to the border."""
    sent_at = within(FIVE, AT + off, stamp, unit=unit)
    assert sent_at - AT < timedelta(seconds=1)
    assert sent_at.tzinfo is UTC


@pytest.mark.parametrize(
    "stamp",
    [
        *(None, "", " ", "abc", f" {STAMP}", f"{STAMP}\n", f"+{STAMP}", f"-{STAMP}", f"{STAMP}.0", "1_772_443_800"),
        *("１７７２４４３８００", "0x10", "9" * 15, "9" * 400, "nan", "2026-03-02T09:30:00Z", b"\xff", "\udcff"),
    ],
)
def test_a_malformed_time_is_untrusted(stamp: str | bytes | None) -> None:
    """What is not plain digits, or no time at all, proves nothing."""
    with pytest.raises(Untrusted):
        within(timedelta(days=36500), AT, stamp)


@pytest.mark.parametrize("off", [FIVE + timedelta(seconds=1), -FIVE - timedelta(seconds=1), timedelta(days=9999)])
def test_a_time_outside_the_tolerance_is_untrusted(off: timedelta) -> None:
    """Too old or too far ahead, and it says by how much."""
    with pytest.raises(Untrusted, match=f"{int(off.total_seconds())} seconds off"):
        within(FIVE, AT + off, STAMP)


@pytest.mark.parametrize(
    ("header", "how", "expected"),
    [
        ("t=1,v1=a", {}, {"t": ["1"], "v1": ["a"]}),
        (" t=1 , v1=a,v1=b== ", {}, {"t": ["1"], "v1": ["a", "b=="]}),
        ("v1,a v1,b v1a,c", {"between": " ", "inside": ","}, {"v1": ["a", "b"], "v1a": ["c"]}),
    ],
)
def test_a_header_is_taken_apart(header: str, how: dict[str, str], expected: dict[str, list[str]]) -> None:
    """Names with all their values; only the first mark divides."""
    assert named(header, **how) == expected


@pytest.mark.parametrize("header", [None, "", " ", ",", "t", "t=", "=1", "t=1,", "t=1,v1", "é", "\udcff"])
def test_a_malformed_header_is_untrusted(header: str | None) -> None:
    """Missing, empty, without a mark, a name or a value: never another error."""
    with pytest.raises(Untrusted, match="missing or malformed"):
        named(header)


@pytest.mark.parametrize(
    ("setting", "expected"), [("a", ["a"]), ("new,old", ["new", "old"]), (" new , old ,", ["new", "old"])]
)
def test_a_setting_may_hold_several_secrets(setting: str, expected: list[str]) -> None:
    """While one is rotated, newest first; blanks are none."""
    assert secrets(setting) == expected


@pytest.mark.parametrize("setting", ["", " ", ",", " , "])
def test_a_setting_without_a_secret_is_refused(setting: str) -> None:
    """Before anything is received."""
    with pytest.raises(ValueError, match="no secret"):
        secrets(setting)
