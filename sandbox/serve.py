"""The simulators behind real sockets: in a thread for tests, or until a signal for the command line.

with Sandbox() as sandbox:
    httpx.get(sandbox.mailchimp_url + "/ping", auth=("any", sandbox.mailchimp.key))
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.control import Simulator
from sandbox.front import TRANSPORT
from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim

_BACKLOG = 2048
_GRACE = 2  # seconds for calls in hand at the stop
_T = TypeVar("_T")


class _Protocol(HttpToolsProtocol):
    """Hands the connection to the app, so that a fault can cut it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}


class _Server(uvicorn.Server):
    """A server that leaves signals to others and says when it listens."""

    def __init__(self, sim: Simulator, listening: socket.socket) -> None:
        config = uvicorn.Config(
            sim.app,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the simulator's own clock dates its answers
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)
        self._sim = sim
        self._listening = listening
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self.ready.set()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        serving = asyncio.create_task(self.serve([self._listening]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._sim.released.set()
        self.should_exit = True
        await serving


def loop_factory(sim: Simulator) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The fastest event loop that is installed."""
    return uvicorn.Config(sim.app, log_config=None).get_loop_factory()


class Sandbox:
    """HubSpot and Mailchimp on ports of this machine, and further vendors where they are given."""

    def __init__(
        self,
        hubspot: HubSpotSim | None = None,
        mailchimp: MailchimpSim | None = None,
        *,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] = MappingProxyType({}),
        **further: Simulator,
    ) -> None:
        """Ports are taken at once (0 or none = a free one), answers come after ``start``.

        ``further``: by the connector's name.  Raises OSError for a taken port.
        """
        self.hubspot = HubSpotSim() if hubspot is None else hubspot
        self.mailchimp = MailchimpSim() if mailchimp is None else mailchimp
        sims: dict[str, Simulator] = {"hubspot": self.hubspot, "mailchimp": self.mailchimp, **further}
        self._sims = list(sims.values())
        self._sockets: list[socket.socket] = []
        try:
            for name in sims:
                self._sockets.append(socket.create_server((host, ports.get(name, 0)), backlog=_BACKLOG))
        except OSError:
            self._close_sockets()
            raise
        taken = [s.getsockname()[1] for s in self._sockets]
        self._urls = {name: f"http://{host}:{port}" for name, port in zip(sims, taken, strict=True)}
        self.hubspot_url = self._urls["hubspot"]
        self.mailchimp_url = f"{self._urls['mailchimp']}/3.0"
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

    def url(self, name: str) -> str:
        """Where a vendor listens.  KeyError for one that was not given."""
        return self._urls[name]

    def start(self) -> Self:
        """Serve in a thread; returns once all listen."""
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="sandbox", daemon=True)
        self._thread.start()
        listening.wait()
        if self._error is not None:
            self._thread.join()
            raise RuntimeError("the sandbox did not start") from self._error
        return self

    def stop(self) -> None:
        """Stop serving; harmless the second time."""
        if self._thread is not None:
            if self._loop is not None and self._stop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None
        self._close_sockets()

    def call(self, function: Callable[[], _T]) -> _T:
        """Run ``function`` where the simulators live, between two of their calls; what it returns or raises."""
        if self._loop is None:
            raise RuntimeError("the sandbox does not run")

        async def called() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    async def serve(self, stop: asyncio.Event, listening: Callable[[], None]) -> None:
        """Serve in the running loop until ``stop``; ``listening`` is called once both listen."""
        servers = [_Server(sim, sock) for sim, sock in zip(self._sims, self._sockets, strict=True)]
        running: asyncio.Future[Any] = asyncio.gather(*(server.run_until(stop) for server in servers))
        both: asyncio.Future[Any] = asyncio.gather(*(server.ready.wait() for server in servers))
        await asyncio.wait({running, both}, return_when=asyncio.FIRST_COMPLETED)
        if both.done():
            listening()
        else:
            both.cancel()
        await running

    def _run(self, listening: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await self.serve(self._stop, listening.set)

        try:
            with asyncio.Runner(loop_factory=loop_factory(self.hubspot)) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            self._loop = None
            listening.set()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
