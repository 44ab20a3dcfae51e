"""How a connection proves who it is.  In: settings.  Out: the headers of a call, and a new token when one has expired.

Three ways: user name and password (Basic, which Mautic's administrator has to allow), an access token as it is, or
OAuth 2 client credentials, for which a token is fetched and kept in memory only; it lives an hour.

The words of OAuth are those of ``_oauth_facts``.  ``_oauth.Authority`` is not used: it speaks over a client of its own,
in forms where Mautic is asked in JSON, and its tokens are kept sealed in the store, which this kind does not need.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/authentication.rst``; lifetimes:
github.com/mautic/mautic at 24271492, ``ApiBundle/Config/config.php``.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Final

from connectors._http import Http
from connectors._mautic_wire import fault, refusal
from connectors._oauth_facts import Grant, said
from connectors.contract import NeedsHuman, TryLater

WAYS: Final = (("username", "password"), ("access_token",), ("client_id", "client_secret"))
NEEDED: Final = "username and password, or client_id and client_secret, or access_token"


def way(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The settings that are to be used.  ValueError where none of the ways is whole, or several are begun."""
    begun = [names for names in WAYS if any(settings.get(name, "").strip() for name in names)]
    if len(begun) != 1 or not all(settings.get(name, "").strip() for name in begun[0]):
        raise ValueError(f"mautic: set {NEEDED} (one of the three)")
    return begun[0]


def headers(settings: Mapping[str, str]) -> dict[str, str]:
    """The headers that do not change; none for client credentials."""
    if settings.get("username", "").strip():
        pair = f"{settings['username'].strip()}:{settings.get('password', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    token = settings.get("access_token", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


class Login:
    """The token of client credentials, fetched when it is first needed.  Safe for threads."""

    def __init__(self, http: Http, settings: Mapping[str, str], root: str) -> None:
        """``root``: where the product is.  No I/O.  ValueError as ``way``."""
        self._http = http
        self._url = f"{root}/oauth/v2/token"
        self._body: dict[str, str] | None = None
        if way(settings) == WAYS[2]:
            self._body = {"grant_type": str(Grant.CLIENT)} | {n: settings[n].strip() for n in WAYS[2]}
        self._token: str | None = None
        self._lock = threading.Lock()

    @property
    def renews(self) -> bool:
        """Whether another token can be had."""
        return self._body is not None

    def headers(self) -> Mapping[str, str] | None:
        """What this call carries besides the headers that do not change."""
        if self._body is None:
            return None
        with self._lock:
            if self._token is None:
                self._token = self._fetch(self._body)
            return {"Authorization": f"Bearer {self._token}"}

    def expired(self, used: Mapping[str, str] | None) -> None:
        """The token of these headers was refused: the next call fetches another one."""
        with self._lock:
            if used is not None and used.get("Authorization") == f"Bearer {self._token}":
                self._token = None

    def _fetch(self, body: Mapping[str, str]) -> str:
        response = self._http.send("POST", self._url, json=body, take={400, 401}, safe=True)
        if response.status_code in {400, 401}:
            why = refusal(fault(response), body, body.values())
            raise NeedsHuman(f"mautic: client_id and client_secret get no token; {why}")
        token = said(self._http.json(response), "access_token")
        if token is None:
            raise TryLater("mautic: the answer holds no access token")
        return token
