"""From the configuration to the connections: mapping, settings, tokens and client of each.  Nobody is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import connectors
from app.core import clock
from app.core.db import Database
from app.core.errors import ConfigError
from app.core.fields import FIELDS
from app.core.sealing import Keys
from app.core.settings import Config, ConnectionConfig, Settings, connection_settings, variable_of
from app.core.trace import Trace
from app.core.words import Only
from app.match import weights
from app.match.weights import Weights
from app.ops.metrics import Metrics
from app.records.access import Access
from app.records.budgets import Budgets
from app.sync import mapping
from app.sync.connection import Connection, Connections
from connectors._http import Http
from connectors._oauth import Authority
from connectors._oauth_facts import Client, grant_of
from connectors.contract import Connector, Side, missing

MAPPINGS: Final = Path(mapping.__file__).resolve().parents[2] / "mappings"


def weights_of(path: Path | None) -> Weights | None:
    """The weights of matching in a file; None where none is named.  Raises ConfigError."""
    if path is None:
        return None
    try:
        return weights.from_json(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"matching.weights: {path}: not a file of `tandem match train`: {error}") from None


def only_of(config: ConnectionConfig, map_: mapping.Map, way: str) -> Only:
    """Whom a connection is about.  Raises ConfigError for a field that says nothing there."""
    only = config.only.value(way)
    known = map_.in_fields if way == "in" else frozenset(FIELDS) | map_.in_fields | map_.out_fields
    unknown = sorted(only.fields - known)
    if unknown:
        what = "its mapping does not read" if way == "in" else "no canonical field:"
        raise ConfigError(
            f"connection {config.name}: only.{way}: {what} {', '.join(unknown)}; valid: {', '.join(sorted(known))}"
        )
    return only


class Accounts:
    """Builds the connections; ``clients`` and ``access`` hold the HTTP client and the OAuth of each by its name."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        env: Mapping[str, str],
        worker_id: str,
        metrics: Metrics,
        trace: Trace,
        *,
        shared: bool,
    ) -> None:
        """``shared``: whether budgets of calls are kept in the store, for all replicas together."""
        self.clients: dict[str, Http] = {}
        self.access: dict[str, Access] = {}
        self._database = database
        self._settings = settings
        self._env = env
        self._worker_id = worker_id
        self._metrics = metrics
        self._trace = trace
        self._shared = shared

    def connections(self, config: Config) -> Connections:
        """All that the configuration names.  Raises ConfigError (or mapping.MappingError)."""
        return Connections(
            {c.name: self._connection(c) for c in config.connections},
            erasure_key=self._settings.erasure_key,
            likeness=config.matching.likeness,
            weights=weights_of(config.matching.weights),
        )

    def _connection(self, config: ConnectionConfig) -> Connection:
        kind = connectors.named(config.connector)
        if kind is None:
            known = ", ".join(connectors.find())
            raise ConfigError(f"connection {config.name}: no connector {config.connector!r}; there are: {known}")
        path = config.mapping if config.mapping is not None else MAPPINGS / f"{config.connector}.yaml"
        map_ = mapping.load(path, default_country=config.default_country)
        values = connection_settings(config, {s.name: s.secret for s in kind.settings}, self._env)
        for name, value in {**kind.from_mapping(map_.theirs()), **kind.from_objects(map_.objects.theirs())}.items():
            values.setdefault(name, value)
        for name, value in map_.objects.named().items():
            if name not in {s.name for s in kind.settings}:
                section = name.removesuffix("_object")
                raise ConfigError(
                    f"connection {config.name}: {section}.object: {kind.name} knows no objects of your own"
                )
            values.setdefault(name, value)
        lacking = missing(kind.settings, values)
        if lacking:
            wanted = [variable_of(config.name, s.name) if s.secret else f"settings.{s.name}" for s in lacking]
            raise ConfigError(
                f"connection {config.name}: not set: {', '.join(wanted)} ({'; '.join(s.about for s in lacking)})"
            )
        try:
            http = self._client(config, kind, values)
            connector = kind(values, http)
        except ValueError as error:
            raise ConfigError(f"connection {config.name}: {error}") from None
        self.clients[config.name] = http
        side = Side(config.side) if config.side is not None else kind.side
        # People sign up with the marketing platform: its evidence counts unless the configuration says otherwise.
        may_grant = config.may_grant if config.may_grant is not None else side is Side.MARKETING
        return Connection(
            config.name,
            side,
            config.mode,
            connector,
            map_,
            config.poll_seconds,
            may_grant,
            deletes_in=config.deletes.in_,
            deletes_out=config.deletes.out,
            duplicates=config.duplicates,
            brake=config.brake.value(),
            watch=config.watch(),
            canary=config.canary.value(),
            only_in=only_of(config, map_, "in"),
            only_out=only_of(config, map_, "out"),
            call_share=config.call_share,
        )

    def _tokens(self, config: ConnectionConfig, kind: type[Connector], values: Mapping[str, str]) -> Access | None:
        """Its OAuth, where it has a client id; None where it has a static key.  Raises ConfigError, ValueError."""
        facts = kind.oauth_for(values)
        if facts is None or not values.get("client_id", "").strip():
            return None
        if values.get(facts.instead_of, "").strip():
            either = f"{variable_of(config.name, facts.instead_of)} (a key of your own) or settings.client_id (OAuth)"
            raise ConfigError(f"connection {config.name}: both are set: {either}; take one of them away")
        authority = Authority(
            facts,
            grant_of(facts, values),
            Client.of(values),
            now=lambda: clock.to_ms(clock.now()) / 1000,
            internal=config.internal,
        )
        keys = Keys.of(self._settings.encryption_keys)
        self.access[config.name] = Access(self._database, config.name, authority, keys, self._worker_id)
        return self.access[config.name]

    def _client(self, config: ConnectionConfig, kind: type[Connector], values: Mapping[str, str]) -> Http:
        def count(method: str, family: str, status: int, seconds: float) -> None:
            self._metrics.call(config.name, method, status, seconds)
            if self._trace.on:
                self._trace.call(config.name, method, family, status, seconds)

        return Http(
            base_url=kind.base_url(values),
            hosts=kind.hosts,
            limits=kind.limits_for(values),
            headers=kind.headers(values),
            tokens=self._tokens(config, kind, values),
            share=config.call_share,
            timeout=max(self._settings.http_timeout, kind.timeout),
            internal=config.internal,
            ledger=Budgets(self._database, config.name) if self._shared else None,
            on_call=count,
        )
