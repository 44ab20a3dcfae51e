"""The composition root: settings → store → connectors → stations → the ASGI app.

``create_app`` is what ``uvicorn --factory app.main:create_app`` starts; ``tandem serve`` and ``tandem work`` build the
same ``Tandem`` and start the door, the workers or both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import func, select
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from app import logs
from app.accounts import MAPPINGS, Accounts
from app.agreement.leads import Leads
from app.core import clock, leases
from app.core import tables as t
from app.core.bell import Listener
from app.core.db import Database, now_ms
from app.core.errors import ConfigError
from app.core.retry import Schedule
from app.core.settings import (
    Config,
    Settings,
    database_url,
    environment,
    load_config,
)
from app.core.words import LANES, Mode, Station, Waits
from app.entry.commit import GroupCommit
from app.entry.door import PREFIX, Door
from app.memory import look_past, one_heap
from app.ops import sinks, tracing
from app.ops.access import permissions
from app.ops.access.oidc import provider_of
from app.ops.access.visitors import Visitors
from app.ops.metrics import Metrics
from app.ops.replay import Replay
from app.ops.telling import Telling
from app.push import trust
from app.push.push import Push
from app.push.refilter import Refilter
from app.push.timeline import Timeline
from app.records import state, suspended
from app.records.migrate import upgrade
from app.repair.connecting import Connecting
from app.repair.erase import Erase
from app.repair.poll import Poll
from app.repair.prune import Prune, retention_of
from app.repair.reconcile import Reconcile
from app.repair.rounds import Rounds
from app.repair.undoing import Undo
from app.repair.watch import Watch
from app.sync.fetch import Fetch
from app.sync.summarising import Summarise
from app.worker import SILENT_MS, Wake, Workers
from connectors._networks import own

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger(__name__)

POLLS = 4  # connections read at the same time at most


def public_url_of(settings: Settings, config: Config) -> str | None:
    """How vendors reach the door; None where nothing says it.  Raises ConfigError for what is no place of ours."""
    url = config.public_url if config.public_url is not None else settings.public_url
    try:
        return url if url is None else own(url)
    except ValueError as error:
        raise ConfigError(f"public_url: {error}") from None


class Tandem:
    """Everything, built but not started."""

    def __init__(self, settings: Settings, config: Config, env: Mapping[str, str] | None = None) -> None:
        """Raises ConfigError (or mapping.MappingError) where the configuration cannot be used.  No call goes out."""
        self.settings = settings
        self.config = config
        env = environment() if env is None else env
        self.database = Database(database_url(settings, config), pool=4 + 2 * settings.workers)
        shared = settings.shared_budget
        self.shares_budgets = shared if shared is not None else self.database.dialect == "postgresql"
        observed = {c.name for c in config.connections if c.mode is Mode.OBSERVE}
        self.metrics = Metrics(
            self.database,
            [c.name for c in config.connections],
            promises={
                c.name: c.freshness / 1000
                for c in config.connections
                if c.freshness is not None and c.name not in observed
            },
            observed=observed,
        )
        self.worker_id = leases.new_worker_id()
        public = public_url_of(settings, config)
        self.trace = tracing.of(config.traces, env, self.worker_id, public)
        accounts = Accounts(
            self.database, settings, env, self.worker_id, self.metrics, self.trace, shared=self.shares_budgets
        )
        self.connections = accounts.connections(config)
        self.clients, self.access = accounts.clients, accounts.access
        self.metrics.calling(self.clients)
        self.wake = Wake()
        self.database.heard = self.wake
        self.listener = Listener(self.database, self.wake)
        self.writer = GroupCommit(self.database, trace=self.trace)
        self.door = Door(
            {c.name: c.connector for c in self.connections.values()},
            self.writer,
            clock.now,
            public_url=public,
            body_limit=settings.body_limit,
            count=self.metrics.delivery,
            took=self.metrics.took,
        )
        schedule = Schedule(settings.retry_base_seconds, settings.retry_cap_seconds, settings.retry_hours)
        lease_ms = int(settings.lease_seconds * 1000)
        self.fetch = Fetch(
            self.database,
            self.connections,
            self.worker_id,
            lease_ms=lease_ms,
            schedule=schedule,
            observe=self.metrics.record,
            trace=self.trace,
        )
        self.push = Push(
            self.database,
            self.connections,
            self.worker_id,
            lease_ms=lease_ms,
            schedule=schedule,
            landed=self.metrics.landed,
            withdrawn=self.metrics.withdrawn,
            count=self.metrics.receipt,
            trace=self.trace,
        )
        self.poll = Poll(self.database, self.connections, self.worker_id, lease_ms=lease_ms, schedule=schedule)
        self.rounds = Rounds(self.database, self.connections, self.worker_id, lease_ms=lease_ms, schedule=schedule)
        self.summarise = Summarise(self.database, self.connections, self.worker_id, lease_ms=lease_ms)
        self.refilter = Refilter(self.database, self.connections, self.worker_id, lease_ms=lease_ms)
        self.timeline = Timeline(self.database, self.connections, self.worker_id, lease_ms=lease_ms, schedule=schedule)
        self.erase = Erase(self.database, self.connections, self.worker_id, lease_ms=lease_ms, schedule=schedule)
        self.replay = Replay(self.database, self.connections)
        self.undo = Undo(self.database, self.connections)
        self.reconcile = Reconcile(
            self.database, self.connections, self.worker_id, lease_ms=lease_ms, schedule=schedule
        )
        self.leads = Leads(self.database, self.connections, self.worker_id, lease_ms=lease_ms)
        self.watch = Watch(self.database, self.connections, self.metrics.recorder, door=public, access=self.access)
        self.public_url = public
        self.telling = Telling(
            self.database,
            sinks.of(config.alarms, env, [c.name for c in config.connections]),
            self.worker_id,
            lease_ms=lease_ms,
            schedule=schedule,
            repeat=config.alarms.repeat,
            settle=config.alarms.settle,
            where=public,
            count=self.metrics.message,
        )
        here = f"http://localhost:{settings.port}"  # RFC 8252 7.3: vendors take it for a browser on this machine
        self.connecting = Connecting(self.database, self.access, public_url=public if public is not None else here)
        self.visitors = Visitors(
            self.database, config.login, token=settings.token, secure=(public or "").startswith("https://")
        )
        self.provider = provider_of(config.login, settings.oidc_client_secret, public if public is not None else here)
        retention = retention_of(settings)
        self.prune = Prune(self.database, retention, self.worker_id, lease_ms=lease_ms, connections=self.connections)
        self.workers = Workers(
            self.database,
            self.worker_id,
            {
                Station.FETCH: (self.fetch.step, settings.workers),
                Station.PUSH: (self.push.step, settings.workers),
                Station.WITHDRAWALS: (partial(self.push.step, LANES[:1]), 1),
                Station.POLL: (self.poll.step, max(1, min(len(self.connections), POLLS))),
                Station.ROUNDS: (self.rounds.step, max(1, min(len(self.connections), POLLS))),
                Station.TIMELINE: (self.timeline.step, 1),
                Station.SUMMARISE: (self.summarise.step, 1),
                Station.REFILTER: (self.refilter.step, 1),
                Station.REPLAY: (self.replay.step, 1),
                Station.RECONCILE: (self.reconcile.step, 1),
                Station.LEADS: (self.leads.step, 1),
                Station.WATCH: (self.watch.step, 1),
                Station.ALARMS: (self.telling.step, 1),
                Station.UNDO: (self.undo.step, 1),
                Station.ERASE: (self.erase.step, 1),
                Station.PRUNE: (self.prune.step, 1),
            },
            self.wake,
            lease_ms=lease_ms,
            failed=self.metrics.failed,
        )

    def prepare(self) -> None:
        """Bring the database up to date and enter the connections."""
        upgrade(self.database)
        with self.database.write() as db:
            state.ensure(db, self.connections)
            self.connections.suspend(suspended.fields(db))
        # What waited for trust is looked at again: the configuration may trust more than before.
        trust.awake(self.database, Waits.MODE, [c.name for c in self.connections.values() if c.writes])

    def start(self, *, door: bool = True, workers: bool = True) -> None:
        """Start the threads."""
        one_heap()
        if door:
            self.writer.start()
        if workers:
            self.listener.start()
            self.workers.start()
            self._warn_alone()
        log.info("tandem.started", connections=list(self.connections), door=door, workers=workers)

    def _warn_alone(self) -> None:
        """Say so where several processes would each make as many calls as the vendor allows one account."""
        if self.shares_budgets:
            return
        w = t.worker.c
        others = select(func.count()).where(w.id != self.worker_id, w.beat_at > now_ms() - SILENT_MS)
        with self.database.read() as db:
            count = db.execute(others).scalar_one()
        if count:
            log.warning("tandem.calls_not_counted_together", others=count, set="TANDEM_SHARED_BUDGET=true")

    def stop(self, *, door: bool = True, workers: bool = True) -> None:
        """Store what waits at the door, finish what is in hand, give back the rest."""
        if door:
            self.writer.stop()
        if workers:
            self.workers.stop()
            self.listener.stop()
        self.close()
        log.info("tandem.stopped")

    def close(self) -> None:
        """Close the connections to vendors and to the store."""
        for client in self.clients.values():
            client.close()
        self.telling.close()
        self.trace.close()
        for access in self.access.values():
            access.authority.close()
        if self.provider is not None:
            self.provider.close()
        self.database.close()

    def app(self, *, workers: bool = True) -> ASGIApp:
        """The ASGI app: the door beside the API and the pages."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            self.prepare()
            self.start(workers=workers)
            beside.build_behind()
            try:
                yield
            finally:
                self.stop(workers=workers)

        beside = _Beside(self.door, partial(self._surfaces, workers), lifespan)
        return beside

    def _surfaces(self, workers: bool) -> FastAPI:
        """The API and the pages.  Raises Unlisted where a route has no permission."""
        # Loaded here and not with the module: it takes longer than all the rest, and a process of workers has none.
        from app.console.pages import console
        from app.ops.api import build_api

        api = build_api(
            self.database,
            self.connections,
            self.metrics,
            self.replay,
            self.wake,
            token=self.settings.token,
            worker_expected=workers,
            connecting=self.connecting,
            telling=self.telling,
            visitors=self.visitors,
            demo=self.settings.demo,
        )
        api.include_router(
            console(
                self.database,
                self.connections,
                demo=self.settings.demo,
                wake=self.wake,
                worker_expected=workers,
                connecting=self.connecting,
                visitors=self.visitors,
                provider=self.provider,
                agreement=self.config.agreement if self.config.agreement is not None else MAPPINGS / "agreement.yaml",
                public_url=self.public_url,
            )
        )
        permissions.check(api)
        return api


class _Beside:
    """Deliveries go to the door, everything else to the API and the pages.

    The door opens first: what is behind it is built while it takes deliveries already, or by whoever asks before that.
    """

    def __init__(
        self,
        door: Door,
        surfaces: Callable[[], FastAPI],
        lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]],
    ) -> None:
        self._door = door
        self._surfaces = surfaces
        self._life = Starlette(lifespan=lifespan)
        self._lock = threading.Lock()
        self._built: FastAPI | None = None

    @property
    def api(self) -> FastAPI:
        """The API and the pages; built where they are not yet."""
        with self._lock:
            if self._built is None:
                self._built = self._surfaces()
            return self._built

    def build_behind(self) -> None:
        """Build them in a thread of their own, so that nobody who asks for them has to wait."""

        def build() -> None:
            _ = self.api
            look_past()  # the routes are most of what lives as long as the process

        threading.Thread(target=build, name="surfaces", daemon=True).start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._life(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await self._door(scope, receive, send)
        else:
            built = self._built
            await (built if built is not None else await run_in_threadpool(lambda: self.api))(scope, receive, send)


def build(settings: Settings | None = None) -> Tandem:
    """Tandem as the environment and ``tandem.yml`` describe it."""
    settings = Settings() if settings is None else settings
    return Tandem(settings, load_config(settings.config))


def create_app() -> ASGIApp:
    """The app for an ASGI server (``uvicorn --factory app.main:create_app``), workers included."""
    settings = Settings()
    logs.set_up(settings.log_level, json=settings.log_json)
    return build(settings).app()
