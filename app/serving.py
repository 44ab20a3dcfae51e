"""Serve an ASGI app with uvicorn: the socket first, so that a busy port is a clear message, and quiet about URLs."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import uvicorn

from app.core.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

GRACE_SECONDS: Final = 20  # for requests in hand at the stop; the workers' time comes after it (``app.worker``)
BACKLOG: Final = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 = a free one.  Raises ConfigError where the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror if error.strerror is not None else type(error).__name__
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason.lower()}; choose another address with --host and --port"
        ) from None


def url_of(listening: socket.socket) -> str:
    """The URL under which this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for this app.

    No access log, since the URLs of some webhooks hold a secret.  No proxy headers: they can be forged, and whoever
    stands behind a proxy says ``public_url``.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
        )
    )
