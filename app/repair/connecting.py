"""Connecting an account by OAuth: somebody is sent to the vendor, comes back, and the tokens are stored.

The state that comes back is good once, for one connection, for ten minutes, and the store has its hash only.  What the
vendor gives is sealed at once; nobody is shown it.  A connection that was of another account stays with that one: its
links would point at somebody else's records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core.clock import from_ms
from app.core.db import Database
from app.core.errors import NotFound, NotPossible
from app.core.sealing import CannotOpen
from app.records import alarms, state, tokens
from app.records.access import Access
from app.records.tokens import Expected
from connectors._oauth import GrantLost, new_secret
from connectors._oauth_facts import Grant, Granted
from connectors.contract import NeedsHuman, Refused, TryLater

log = structlog.get_logger(__name__)

DAY_MS: Final = 86_400_000
SOON_MS: Final = 7 * DAY_MS  # how long before an end that nobody can put off there is an alarm; ours
ENDS: Final = "end"  # the subject of these alarms; what was refused has its own
PATH: Final = "/connections/{name}/callback"

# What RFC 6749 4.1.2.1 lets a server answer in a person's browser; other words are not repeated, as anybody can put
# any into a link.
_DENIED: Final = {
    "access_denied": "the vendor was told not to allow it",
    "invalid_scope": "the vendor does not give this app the scopes that are needed",
    "unauthorized_client": "the vendor does not let this app ask",
    "temporarily_unavailable": "the vendor could not answer; try again later",
    "server_error": "the vendor could not answer; try again later",
}


class NotExpected(NotPossible):
    """Nobody is expected with this state: it is made up, used, too old, or of another connection."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send somebody, and until when he may come back."""

    url: str  # holds the state: for the one who is to go there
    redirect_uri: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Connected:
    """What came of it; nothing secret."""

    connection: str
    account: str | None
    scopes: tuple[str, ...]
    renews: bool
    resumed: bool  # it rested since its tokens were lost, and goes on now


class Connecting:
    """The flow for all connections that use OAuth."""

    def __init__(self, database: Database, access: Mapping[str, Access], *, public_url: str) -> None:
        """``public_url``: scheme and host by which the person's browser reaches us."""
        self._database, self._access, self._public = database, access, public_url.rstrip("/")

    @property
    def names(self) -> list[str]:
        """The connections that use OAuth."""
        return sorted(self._access)

    def access(self, name: str) -> Access:
        """Of one connection.  Raises NotFound where it has a static key."""
        if name not in self._access:
            known = ", ".join(sorted(self._access)) or "none"
            raise NotFound(f"connection {name!r} does not use OAuth; those that do: {known}")
        return self._access[name]

    def redirect_uri(self, name: str) -> str:
        """Where the vendor sends people back to: what the app has to be registered with."""
        return self._public + PATH.format(name=name)

    def begin(self, name: str, by: str | None) -> Begun:
        """Expect somebody.  ``by``: who connects.  Raises NotFound, and NotPossible where no person is needed."""
        access = self.access(name)
        if access.authority.grant is not Grant.CODE:
            raise NotPossible(f"{name}: gets its tokens by itself ({access.authority.grant}): nobody has to agree")
        one, verifier, back = new_secret(), new_secret(), self.redirect_uri(name)
        expected = Expected(name, verifier, back, by)
        until = self._database.transact(lambda db: tokens.expect(db, access.keys, one, expected))
        url = access.authority.url(state=one, verifier=verifier, redirect_uri=back)
        return Begun(url, back, from_ms(until))

    def finish(self, name: str, query: Mapping[str, str]) -> Connected:
        """Take what the vendor sent somebody back with.

        Raises NotExpected (the state), NotPossible (the vendor said no, or it is another account), TryLater (it did not
        answer; the state is used up all the same), NeedsHuman (the app is refused).
        """
        access = self.access(name)
        given = query.get("state", "")
        try:
            found = self._database.transact(lambda db: tokens.returned(db, access.keys, name, given)) if given else None
        except CannotOpen:
            found = None  # begun under a key that is gone: begin again
        if found is None:
            raise NotExpected(
                f"{name}: this link was used already, is older than ten minutes, or was not made here; begin again"
            )
        error, code = query.get("error"), query.get("code")
        if error is not None or not code:
            raise NotPossible(f"{name}: not connected: {_DENIED.get(error or '', 'the vendor said no')}; begin again")
        try:
            granted = access.authority.exchange(code, verifier=found.verifier, redirect_uri=found.redirect_uri)
        except GrantLost as problem:
            raise NotPossible(f"{name}: not connected: {problem}; begin again") from None
        return self._keep(access, granted, found.by if found.by is not None else "somebody")

    def obtain(self, name: str, by: str) -> Connected:
        """Get a token that needs no person.  Raises NotFound, NotPossible, TryLater, NeedsHuman."""
        access = self.access(name)
        if access.authority.grant is Grant.CODE:
            raise NotPossible(f"{name}: somebody has to agree at the vendor")
        return self._keep(access, access.authority.obtain(), by)

    def finish_pasted(self, name: str, url: str) -> Connected:
        """``finish`` with the address at which somebody's browser ended.  Raises NotPossible where it is none."""
        query = {key: values[-1] for key, values in parse_qs(urlsplit(url.strip()).query).items()}
        if "state" not in query:
            raise NotPossible(
                "this is not the address that the vendor sent the browser to: it has `code` and `state` in it"
            )
        return self.finish(name, query)

    def forget(self, name: str, by: str) -> bool:
        """Remove a connection's tokens, at the vendor too where it has a way; False where there were none.

        A vendor that does not answer does not keep them here.  ``by``: who says so.
        """
        access = self.access(name)
        with self._database.read() as db:
            try:
                kept = tokens.kept(db, access.keys, name)
            except CannotOpen:
                kept = None
        if kept is not None:
            try:
                access.authority.revoke(kept.refresh if kept.refresh is not None else kept.access)
            except (TryLater, NeedsHuman, Refused) as problem:
                log.warning("access.not_revoked", connection=name, why=str(problem))

        def work(db: Db) -> bool:
            alarms.cleared(db, alarms.Kind.ACCESS, name)
            state.ensure(db, [name])
            state.pause(db, name, f"disconnected by {by}: connect it with `tandem connect {name}`")
            return tokens.forget(db, name)

        gone = self._database.transact(work)
        log.info("operator.disconnected", connection=name)
        return gone

    def _keep(self, access: Access, granted: Granted, by: str) -> Connected:
        name = access.name

        def work(db: Db) -> bool:
            try:
                before = tokens.kept(db, access.keys, name, lock=True)
            except CannotOpen:
                before = None  # sealed with a key that is gone: what comes is as good
            if before is not None and before.account is not None and granted.account not in (None, before.account):
                raise NotPossible(
                    f"{name}: this is another account ({granted.account}) than before ({before.account}), and the "
                    f"links here point to records of that one; for another account add another connection, or, if it "
                    f"is right, begin with `tandem disconnect {name}`"
                )
            tokens.keep(db, access.keys, name, granted, grant=str(access.authority.grant), before=before, by=by)
            alarms.cleared(db, alarms.Kind.ACCESS, name)
            return state.mended(db, name)

        resumed = self._database.transact(work)
        log.info("operator.connected", connection=name, resumed=resumed)
        renews = granted.refresh is not None or access.authority.grant is not Grant.CODE
        return Connected(name, granted.account, granted.scopes, renews, resumed)


def endings(row: RowMapping | None, access: Access) -> str | None:
    """What is about to end, in words for an alarm; None where all is well.  ``row``: of ``tokens.listed``."""
    name, facts, grant = access.name, access.authority.facts, access.authority.grant
    act = f"`tandem connect {name}`"
    if grant is not Grant.CODE:
        return None  # gets a new one whenever it needs one; what it is refused raises the alarm
    if row is None:
        return f"{name}: not connected: {act}"
    if row["lost_at"] is not None:
        return None  # whoever found that raised the alarm
    if not row["renews"] and row["expires_at"] is not None and row["expires_at"] - row["now"] < SOON_MS:
        return f"{name}: its token ends at {_day(row['expires_at'])} and cannot be renewed: {act}"
    if row["renews"] and facts.idle is not None:
        end = row["refreshed_at"] + facts.idle * 1000
        if end - row["now"] < min(SOON_MS, facts.idle * 1000 // 2):
            return (
                f"{name}: was not used for long, and its refresh token ends at {_day(end)}: "
                f"`tandem resume {name}` if it rests, else {act}"
            )
    return None


def judge(db: Db, access: Mapping[str, Access]) -> list[str]:
    """Raise and clear the alarms about access; the connections whose alarm is new."""
    rows = {row["connection"]: row for row in tokens.listed(db)}
    new = []
    for name, one in access.items():
        words = endings(rows.get(name), one)
        if words is not None:
            if alarms.raised(db, alarms.Kind.ACCESS, name, ENDS, words):
                new.append(name)
        else:
            alarms.cleared(db, alarms.Kind.ACCESS, name, [ENDS])
    return new


def _day(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="minutes").replace("+00:00", "Z")
