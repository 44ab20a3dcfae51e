"""Access to one vendor by OAuth, see ``connectors._oauth_facts.Tokens``.  Out: a token that is good.

A token is renewed by one thread of all processes (``app.core.flights``); the others wait for what it stores.  What is
stored is sealed.  The order of a renewal, so that a crash loses as little as possible: say in the store that it begins
(which also shows that the store takes writes), call the vendor, store the answer at once.  Where a vendor makes a new
refresh token each time, a crash between the last two loses it, and somebody has to connect again; the alarm says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy.exc import SQLAlchemyError

from app.core import flights
from app.core.clock import monotonic
from app.core.db import Database
from app.core.flights import Busy, Landed
from app.core.sealing import CannotOpen, Keys
from app.records import alarms, tokens
from app.records.tokens import Kept
from connectors._oauth import Authority, GrantLost
from connectors._oauth_facts import Grant, Granted, Token
from connectors.contract import NeedsHuman, TryLater

log = structlog.get_logger(__name__)

MARGIN_MS: Final = 300_000  # before its end a token is renewed, but at most a tenth of its life before it
LEAST: Final = 5.0  # seconds that a token has to be good for to be sent at all
AGAIN: Final = 30.0  # seconds between tries to renew a token that is still good
LEASE_MS: Final = 60_000  # longer than a call of a token endpoint takes (``connectors._oauth.TIMEOUT``)
FOREVER_MS: Final = 365 * 86_400_000  # how long others may share a token that does not expire
STORE_SECONDS: Final = 20.0  # how long an answer is held that the store does not take


@dataclass(slots=True)
class _Held:
    """The token that this process sends with, as long as it is good."""

    token: Token
    soft: float  # monotonic seconds at which to renew it
    hard: float  # and at which it ends


class Access:
    """One connection's tokens.  Safe for threads."""

    def __init__(
        self,
        database: Database,
        name: str,
        authority: Authority,
        keys: Keys,
        holder: str,
        *,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = monotonic,
    ) -> None:
        """``holder``: this process, by its worker's id.  ``now``: monotonic seconds."""
        self.name, self.authority, self.keys = name, authority, keys
        self.undone = authority.facts.undone
        self._database, self._holder, self._sleep, self._now = database, holder, sleep, now
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._unstored: tuple[Kept, Granted] | None = None

    def __repr__(self) -> str:
        return f"<access {self.name}>"

    def current(self, refused: Token | None = None) -> Token:
        """A token that is good for the next request.  Raises TryLater and NeedsHuman."""
        held = self._held
        if not self._lock.acquire(blocking=False):  # somebody is renewing it: an old one that is good will do
            if refused is None and held is not None and self._now() < held.hard:
                return held.token
            self._lock.acquire()
        try:
            return self._current(refused)
        finally:
            self._lock.release()

    def _current(self, refused: Token | None) -> Token:
        held = self._held
        if refused is None and held is not None and self._now() < held.soft:
            return held.token
        newer = refused is not None and held is not None and held.token.number > refused.number
        if newer and held is not None and self._now() < held.hard:
            return held.token
        if refused is not None:
            self._held = None
        try:
            return self._shared(refused)
        except (TryLater, Busy) as problem:
            if refused is None and held is not None and self._now() < held.hard:
                held.soft = self._now() + AGAIN
                log.warning("access.not_renewed", connection=self.name, why=str(problem))
                return held.token
            after = problem.after if isinstance(problem, TryLater) else None
            raise TryLater(f"{self.name}: {problem}", after=after) from None
        except SQLAlchemyError as error:
            raise TryLater(f"{self.name}: the token cannot be read: {type(error).__name__}") from None

    def _shared(self, refused: Token | None) -> Token:
        number = refused.number if refused is not None else None
        if self._unstored is not None:
            self._store(*self._unstored)
        found = self._opened()
        if found is not None and found.lost:
            raise NeedsHuman(self._lost())
        # A refusal of an older token than the one in the store says nothing of that one.
        if found is None or not found.lasts(self._margin_ms(found)) or found.version == number:
            flights.shared(
                self._database,
                tokens.flight(self.name),
                self._holder,
                lambda: self._renewed(number),
                refused=str(number) if number is not None else self._stale(found),
                lease_ms=LEASE_MS,
                sleep=self._sleep,
            )
            found = self._opened()
        if found is None:
            raise NeedsHuman(self._never())
        return self._hold(found)

    def _hold(self, found: Kept) -> Token:
        scheme = self.authority.facts.scheme
        token = Token(f"{scheme} {found.access}", found.version, found.place)
        left = (found.left_ms if found.left_ms is not None else FOREVER_MS) / 1000
        now = self._now()
        self._held = _Held(token, now + left - self._margin_ms(found) / 1000, now + left - LEAST)
        return token

    def _margin_ms(self, found: Kept) -> int:
        if found.left_ms is None or found.lives_ms is None:
            return 0
        return min(MARGIN_MS, found.lives_ms // 10)

    def _stale(self, found: Kept | None) -> str | None:
        """The version that ran out: the others may share it until its very end."""
        return str(found.version) if found is not None else None

    def _opened(self) -> Kept | None:
        with self._database.read() as db:
            return self._open(db)

    def _open(self, db: Db) -> Kept | None:
        try:
            return tokens.kept(db, self.keys, self.name)
        except CannotOpen as problem:
            raise NeedsHuman(f"{self.name}: the tokens in the store cannot be read: {problem}") from None

    # --- in the one thread of all processes -------------------------------------------------------------------------

    def _renewed(self, refused: int | None) -> Landed:
        """A good token in the store: what somebody else stored meanwhile, or a new one."""
        before = self._opened()
        if before is not None and before.version != refused and before.lasts(self._margin_ms(before)):
            return self._landed(before)
        self._store(before, self._obtained() if self.authority.grant is not Grant.CODE else self._refreshed(before))
        log.info("access.renewed", connection=self.name)
        after = self._opened()
        if after is None:
            raise NeedsHuman(self._never())
        return self._landed(after)

    def _landed(self, found: Kept) -> Landed:
        left = found.left_ms if found.left_ms is not None else FOREVER_MS
        return Landed(str(found.version), max(1, int(left - self._margin_ms(found))))

    def _obtained(self) -> Granted:
        try:
            return self.authority.obtain()
        except NeedsHuman as problem:
            raise self._ended(f"{self.name}: {problem}") from None

    def _refreshed(self, before: Kept | None) -> Granted:
        if before is None:
            raise NeedsHuman(self._never())
        if before.lost:
            raise NeedsHuman(self._lost())
        if before.refresh is None:
            with self._database.write() as db:
                tokens.tried(db, self.name, before.version, lost=True)
            raise self._ended(self._words("its token was refused or ran out, and it cannot be renewed"))
        with self._database.write() as db:
            tokens.trying(db, self.name)
        try:
            return self.authority.refresh(before.refresh)
        except GrantLost as problem:
            with self._database.write() as db:
                tokens.tried(db, self.name, before.version, lost=True)
            cut = "" if before.trying_at is None else "; an earlier renewal was cut off before its answer was stored"
            raise self._ended(self._words(f"{problem}{cut}")) from None
        except TryLater as problem:
            if not problem.landed:
                with self._database.write() as db:
                    tokens.tried(db, self.name, before.version, lost=False)
            raise
        except NeedsHuman as problem:
            with self._database.write() as db:
                tokens.tried(db, self.name, before.version, lost=False)
            raise self._ended(f"{self.name}: {problem}") from None

    def _store(self, before: Kept | None, granted: Granted) -> None:
        """Keep an answer, at once and stubbornly: nobody gets it a second time."""
        seen = before.version if before is not None else None

        def work(db: Db) -> None:
            row = self._open(db)
            if (row.version if row is not None else None) != seen:
                return  # somebody connected anew meanwhile: that is newer than what this came from
            tokens.keep(db, self.keys, self.name, granted, grant=str(self.authority.grant), before=row, by=None)
            alarms.cleared(db, alarms.Kind.ACCESS, self.name)

        if before is not None:
            self._unstored = (before, granted)
        end = self._now() + STORE_SECONDS
        while True:
            try:
                self._database.transact(work)
            except SQLAlchemyError:
                if self._now() > end:
                    log.error("access.not_stored", connection=self.name)
                    raise
                self._sleep(0.5)
            else:
                self._unstored = None
                return

    def _ended(self, words: str) -> NeedsHuman:
        """Raise the alarm; the error for the station, which lets the connection rest."""
        with self._database.write() as db:
            alarms.raised(db, alarms.Kind.ACCESS, self.name, "", words)
        log.error("access.lost", connection=self.name)
        return NeedsHuman(words)

    def _never(self) -> str:
        return self._words("it is not connected yet")

    def _lost(self) -> str:
        return self._words("the vendor takes its tokens no more")

    def _words(self, why: str) -> str:
        return f"{self.name}: {why}; connect it with `tandem connect {self.name}`"
