"""Where calls may lead: what a URL says, what a name means, and what an answer unpacks to."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.errors import ConfigError
from app.core.settings import Config, Settings
from app.main import Tandem, public_url_of
from connectors import _decoding, _networks
from connectors._http import Http
from connectors._oauth import Authority
from connectors._oauth_facts import Client, Grant
from connectors._oauth_vendors import mautic
from connectors.contract import Limits, NeedsHuman, Problem, TryLater

NEVER = "never called"
OURS = "this machine"
PRIVATE = "not public"

ADDRESSES = [
    ("8.8.8.8", None, None),
    ("2606:4700::1111", None, None),
    ("10.1.2.3", PRIVATE, None),
    ("172.16.0.1", PRIVATE, None),
    ("192.168.1.1", PRIVATE, None),
    ("100.64.0.1", PRIVATE, None),
    ("198.18.0.1", PRIVATE, None),
    ("240.0.0.1", PRIVATE, None),
    ("fd12:3456::1", PRIVATE, None),
    ("127.0.0.1", OURS, OURS),
    ("127.9.9.9", OURS, OURS),
    ("::1", OURS, OURS),
    ("169.254.169.254", NEVER, NEVER),
    ("169.254.170.2", NEVER, NEVER),
    ("168.63.129.16", NEVER, NEVER),
    ("100.100.100.200", NEVER, NEVER),
    ("fd00:ec2::254", NEVER, NEVER),
    ("fe80::1", NEVER, NEVER),
    ("0.0.0.0", NEVER, NEVER),
    ("::", NEVER, NEVER),
    ("224.0.0.1", NEVER, NEVER),
    ("255.255.255.255", PRIVATE, None),
    ("::ffff:10.1.2.3", PRIVATE, None),
    ("::ffff:127.0.0.1", OURS, OURS),
    ("::ffff:169.254.169.254", NEVER, NEVER),
    ("::ffff:8.8.8.8", None, None),
    ("2002:a9fe:a9fe::1", NEVER, NEVER),
    ("2002:7f00:1::1", OURS, OURS),
    ("64:ff9b::a9fe:a9fe", NEVER, NEVER),
    ("64:ff9b::a01:203", PRIVATE, None),
]


@pytest.fixture(autouse=True)
def _certificates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them for each client would take most of the time."""
    monkeypatch.setattr(httpx, "create_ssl_context", certificates)


@cache
def certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let every name mean these addresses, one list after another; what was dialled is in what it returns."""

    def let(*lookups: list[str]) -> list[str]:
        answers = iter(lookups)
        dialled: list[str] = []

        def found(_host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(answers)]

        def dial(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
            dialled.append(address[0])
            raise OSError("nobody is there")

        monkeypatch.setattr(_networks.socket, "getaddrinfo", found)
        monkeypatch.setattr(socket, "create_connection", dial)
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        return dialled

    return let


def call(base: str, **how: Any) -> Problem:
    """What a call ends with."""
    http = Http(base_url=base, hosts=(), limits=Limits(), retries=0, **how)
    with pytest.raises(Problem) as raised:
        http.send("GET", "/x")
    http.close()
    return raised.value


@pytest.mark.parametrize(("address", "usual", "internal"), ADDRESSES)
def test_what_a_name_means_is_judged(
    address: str, usual: str | None, internal: str | None, means: Callable[..., list[str]]
) -> None:
    """A public name whose address is not public leads nowhere; a network of one's own has to be asked for."""
    for wanted, how in ((usual, {}), (internal, {"internal": True})):
        dialled = means([address])
        problem = call("https://api.acme.example", **how)
        if wanted is None:
            assert isinstance(problem, TryLater)
            assert dialled == [str(ipaddress.ip_address(address))]
        else:
            assert isinstance(problem, NeedsHuman)
            assert wanted in str(problem)
            assert dialled == []


@pytest.mark.parametrize(("address", "usual", "internal"), ADDRESSES)
def test_a_base_url_is_judged_before_any_call(address: str, usual: str | None, internal: str | None) -> None:
    """An address in a setting is refused at the start; this machine may be named, as tests and simulators do."""
    host = f"[{address}]" if ":" in address else address
    for wanted, how in ((usual, False), (internal, True)):
        if wanted is None or address in {"127.0.0.1", "127.9.9.9", "::1"}:
            Http(base_url=f"https://{host}", hosts=(), limits=Limits(), internal=how).close()
        else:
            with pytest.raises(ValueError, match=wanted):
                Http(base_url=f"https://{host}", hosts=(), limits=Limits(), internal=how)


def test_one_bad_address_among_good_ones_is_enough(means: Callable[..., list[str]]) -> None:
    """Who mixes them hopes that the client takes the other one."""
    dialled = means(["8.8.8.8", "169.254.169.254"])
    assert isinstance(call("https://api.acme.example"), NeedsHuman)
    assert dialled == []


def test_a_name_is_looked_up_once_for_each_connection(means: Callable[..., list[str]]) -> None:
    """What was judged is dialled: that the name means something else a moment later changes nothing."""
    dialled = means(["8.8.8.8", "8.8.4.4"], ["169.254.169.254"])
    assert isinstance(call("https://api.acme.example"), TryLater)
    assert dialled == ["8.8.8.8", "8.8.4.4"]


def test_other_spellings_of_an_address_are_judged(means: Callable[..., list[str]]) -> None:
    """0x7f.1 and 2130706433 are 127.0.0.1 to the system that looks names up."""
    for host in ("2130706433", "0x7f.1", "017700000001", "localhost.localdomain"):
        dialled = means(["127.0.0.1"])
        assert isinstance(call(f"https://{host}"), NeedsHuman)
        assert dialled == []


def test_the_guard_is_where_httpx_dials(means: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur: without it the same name is dialled, so the tests above are about the guard and nothing else."""
    monkeypatch.setattr("connectors._http.guarded", lambda *_, **__: None)
    dialled = means(["169.254.169.254"], ["169.254.169.254"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    call("https://api.acme.example")
    assert dialled == ["api.acme.example"]


def test_a_proxy_decides_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks names up itself; this machine is never behind one."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert _networks.transport("api.acme.example", internal=False, connections=1) is None
    assert _networks.transport("127.0.0.1", internal=False, connections=1) is not None


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "[fd00:ec2::254]"])
def test_a_token_endpoint_is_judged_too(address: str) -> None:
    """Where a setting says where the installation is, its authorization server is there as well."""
    with pytest.raises(ValueError, match="base_url"):
        Authority(mautic(f"https://{address}"), Grant.CLIENT, Client("id", "secret"), now=lambda: 0.0)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://tandem.example.com", True),
        ("http://localhost:8000", True),
        ("http://10.0.0.7:8000", True),
        ("https://169.254.169.254", False),
        ("http://[fd00:ec2::254]/", False),
        ("https://0.0.0.0", False),
        ("https://user@tandem.example.com", False),
        ("https://tandem.example.com\r\nX: y", False),
        ("https://tandem.example.com/ x", False),
        ("https://t\u0430ndem.example.com", False),
        ("https://", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_the_public_url_is_a_place_of_ours(url: str, fine: bool) -> None:
    """It ends up in redirects and at vendors: one host, nothing hidden in it, nothing that only a cloud has."""
    if fine:
        assert public_url_of(Settings(), Config(public_url=url)) == url
    else:
        with pytest.raises(ConfigError, match="public_url"):
            public_url_of(Settings(), Config(public_url=url))


@pytest.mark.parametrize(
    ("base", "internal", "fine"),
    [
        ("https://crm.acme.example", False, True),
        ("http://127.0.0.1:8080", False, True),
        ("https://10.0.0.7", False, False),
        ("https://10.0.0.7", True, True),
        ("https://169.254.169.254", True, False),
        ("http://metadata.google.internal", True, False),
        ("https://[::ffff:169.254.169.254]", True, False),
    ],
)
def test_a_connection_is_judged_by_its_settings(base: str, internal: bool, fine: bool, tmp_path: Path) -> None:
    """The connection is named, and what would be right."""
    said = {"name": "crm", "connector": "espocrm", "settings": {"base_url": base}, "internal": internal}
    config = Config.model_validate({"connections": [said]})
    env = {"TANDEM_CRM_API_KEY": "a-key-of-some-length", "TANDEM_CRM_WEBHOOK_SECRETS": "x=a-secret-of-some-length"}
    settings = Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}")
    if fine:
        Tandem(settings, config, env).close()
    else:
        with pytest.raises(ConfigError, match="connection crm"):
            Tandem(settings, config, env)


# --- answers that break whoever reads them ----------------------------------------------------------------------------

MEGABYTE = 1024 * 1024
LIMIT = MEGABYTE
CALM = 16 * MEGABYTE  # what a client may take for an answer whose limit is LIMIT


def head(*more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *more, "", ""]).encode()


def endless(piece: bytes, begin: bytes) -> Iterator[bytes]:
    yield begin
    while True:
        yield piece


@cache
def bomb(window: int = 31) -> bytes:
    """Thirty megabytes in thirty kilobytes; zlib's window: gzip, zlib, or neither's frame."""
    pack = zlib.compressobj(9, wbits=window)
    return pack.compress(bytes(30 * MEGABYTE)) + pack.flush()


HOSTILE: list[tuple[str, Callable[[], Iterator[bytes]], str]] = [
    ("a gzip bomb", lambda: iter([head("Content-Encoding: gzip"), bomb()]), "more than"),
    ("a deflate bomb", lambda: iter([head("Content-Encoding: deflate"), bomb(15)]), "more than"),
    ("one without a frame", lambda: iter([head("Content-Encoding: deflate"), bomb(-15)]), "more than"),
    ("a bomb in a bomb", lambda: iter([head("Content-Encoding: gzip, gzip"), gzip.compress(bomb())]), "DecodingError"),
    ("a coding that nobody asked for", lambda: iter([head("Content-Encoding: br"), b"\x8b"]), "DecodingError"),
    ("half of a packed body", lambda: iter([head("Content-Encoding: gzip"), bomb()[:100]]), "DecodingError"),
    ("not packed at all", lambda: iter([head("Content-Encoding: gzip"), b"<html>"]), "DecodingError"),
    ("a body without end", lambda: endless(b"x" * 65_536, head()), "more than"),
    ("headers without end", lambda: endless(b"X-More: " + b"x" * 8_000 + b"\r\n", head()[:-2]), "ProtocolError"),
    ("a page", lambda: iter([head("Content-Type: text/html"), b"<html><body>Log in</body></html>"]), "text/html"),
    ("JSON 100,000 deep", lambda: iter([head(), b"[" * 100_000 + b"]" * 100_000]), "not JSON"),
    ("half of a document", lambda: iter([head(), b'{"results": [1, 2']), "not JSON"),
    ("a number of 900,000 digits", lambda: iter([head(), b"1" * 900_000]), "not JSON"),
    ("not UTF-8", lambda: iter([head(), b'"\xff\xfe"']), "not JSON"),
]  # fmt: skip


@contextmanager
def serving(answer: Iterator[bytes]) -> Iterator[str]:
    """A server that answers one request with these bytes, as long as anybody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                try:
                    for piece in answer:
                        connection.sendall(piece)
                except OSError:  # had enough
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


def taken(answer: Iterator[bytes]) -> tuple[Problem, int]:
    """How asking for an answer ends, and how many bytes it took at most."""
    with serving(answer) as base:
        http = Http(base_url=base, hosts=(), limits=Limits(), retries=0, max_bytes=LIMIT)
        tracemalloc.start()
        try:
            with pytest.raises(Problem) as raised:
                http.json(http.send("GET", "/x"))
            return raised.value, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            http.close()


@pytest.mark.parametrize(("answer", "said"), [pytest.param(a, s, id=n) for n, a, s in HOSTILE])
def test_a_hostile_answer_is_tried_again_later(answer: Callable[[], Iterator[bytes]], said: str) -> None:
    """It ends in the same way as no answer, within the memory of one that is in order."""
    problem, most = taken(answer())
    assert isinstance(problem, TryLater)
    assert said in str(problem)
    assert most < CALM


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a": "\xc3\xa9"}' + b" " * 300_000)),
        ("x-gzip", gzip.compress(b'{"a": "\xc3\xa9"}')),
        ("deflate", zlib.compress(b'{"a": "\xc3\xa9"}')),
        ("identity", b'{"a": "\xc3\xa9"}'),
        ("", b'{"a": "\xc3\xa9"}'),
    ],
    ids=["gzip", "x-gzip", "deflate", "identity", "none named"],
)
def test_a_packed_answer_is_read(coding: str, packed: bytes) -> None:
    """Bounds take nothing from those who pack as asked."""
    with serving(iter([head(f"Content-Encoding: {coding}", f"Content-Length: {len(packed)}"), packed])) as base:
        http = Http(base_url=base, hosts=(), limits=Limits(), retries=0)
        assert http.json(http.send("GET", "/x")) == {"a": "é"}
        http.close()


def test_the_bound_is_what_holds_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur: the client's own decoder gives back what one piece unpacks to, whatever that is."""
    monkeypatch.setattr("connectors._http.pieces", httpx.Response.iter_bytes)
    _, most = taken(iter([head("Content-Encoding: gzip"), bomb()]))
    assert most > CALM


def test_no_piece_is_larger_than_it_may_be() -> None:
    """Whoever counts them can stop in time."""
    response = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=_Stream(bomb()))
    assert max(len(piece) for piece in _decoding.pieces(response)) <= _decoding.PIECE


class _Stream(httpx.SyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
