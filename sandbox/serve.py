"""The simulators behind real sockets: in a thread for tests, or until a signal for the command line.

with Sandbox() as sandbox:
    httpx.get(sandbox.mailchimp_url + "/ping", auth=("any", sandbox.mailchimp.key))
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.brevo import BrevoSim
from sandbox.control import Simulator
from sandbox.espocrm import EspoSim
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
    """HubSpot and Mailchimp on ports of this machine; EspoCRM and Brevo too where they are given."""

    def __init__(
        self,
        hubspot: HubSpotSim | None = None,
        mailchimp: MailchimpSim | None = None,
        *,
        host: str = "127.0.0.1",
        hubspot_port: int = 0,
        mailchimp_port: int = 0,
        espocrm: EspoSim | None = None,
        espocrm_port: int = 0,
        brevo: BrevoSim | None = None,
        brevo_port: int = 0,
    ) -> None:
        """Ports are taken at once (0 = a free one), answers come after ``start``.  Raises OSError for a taken port."""
        self.hubspot = HubSpotSim() if hubspot is None else hubspot
        self.mailchimp = MailchimpSim() if mailchimp is None else mailchimp
        self._sims: list[Simulator] = []
        self._sockets: list[socket.socket] = []
        wanted: list[tuple[Simulator | None, int]] = [(self.hubspot, hubspot_port), (self.mailchimp, mailchimp_port)]
        wanted += [(espocrm, espocrm_port), (brevo, brevo_port)]
        urls: dict[int, str] = {}
        try:
            for sim, port in wanted:
                if sim is not None:
                    listening = socket.create_server((host, port), backlog=_BACKLOG)
                    self._sims.append(sim)
                    self._sockets.append(listening)
                    urls[id(sim)] = f"http://{host}:{listening.getsockname()[1]}"
        except OSError:
            self._close_sockets()
            raise
        self.hubspot_url = urls[id(self.hubspot)]
        self.mailchimp_url = f"{urls[id(self.mailchimp)]}/3.0"
        self.espocrm_url = urls.get(id(espocrm), "")
        self.brevo_url = f"{urls[id(brevo)]}/v3" if brevo is not None else ""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

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
