"""Browsers before the whole app: with cookies, forms and an address of their own."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher

from app.core.settings import Config, Settings
from app.main import Tandem
from app.ops.access import passwords
from app.ops.access.permissions import Role
from app.ops.access.visitors import new_token
from app.records import accounts

HOME = "http://tandem.example"
PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
TOKEN = "the-token-of-this-installation"


class House:
    """The app, the way ``tandem serve`` builds it; ``loop``: one for all that a module asks."""

    def __init__(self, folder: Path, config: Config | None = None, **settings: Any) -> None:
        url = settings.pop("database", f"sqlite:///{folder / 'tandem.db'}")
        config = Config() if config is None else config
        self.tandem = Tandem(Settings(database=url, **settings), config, {})
        self.tandem.prepare()
        self.app: Any = self.tandem.app(workers=False)
        self.loop = asyncio.new_event_loop()

    @property
    def database(self) -> Any:
        return self.tandem.database

    def account(self, name: str, role: str = "admin", password: str = PASSWORD) -> int:
        with self.database.write() as db:
            return accounts.add(db, name, role, passwords.hashed(password, name), "Kim")

    def token(self, name: str, role: Role = Role.ADMIN, **more: Any) -> tuple[int, str]:
        how: dict[str, Any] = {"scopes": None, "days": 1, "by": "Kim", **more}
        row, secret = new_token(self.database, name, role, how["scopes"], how["days"], how["by"])
        return row["id"], secret

    def browser(self, address: str = "203.0.113.7", base: str = HOME) -> Browser:
        return Browser(self, address, base)

    def close(self) -> None:
        self.loop.close()
        self.tandem.close()


class Browser:
    """One browser: its cookies, its address."""

    def __init__(self, house: House, address: str, base: str) -> None:
        transport = httpx.ASGITransport(house.app, client=(address, 5000))
        self._loop = house.loop
        self.http = httpx.AsyncClient(transport=transport, base_url=base, headers={"accept": "text/html"})

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._loop.run_until_complete(self.http.request(method, path, **request))

    @property
    def cookies(self) -> dict[str, str]:
        return {c.name: str(c.value) for c in self.http.cookies.jar}

    def csrf(self, page: str = "/login") -> str:
        """What the form of a page carries."""
        found = re.search(r'name="csrf" value="([^"]+)"', self("GET", page).text)
        assert found is not None, page
        return found[1]

    def sign_in(self, name: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        """As a person does: load the page, fill it in, send it."""
        form = {"csrf": self.csrf(), "name": name, "password": password, **more}
        return self("POST", "/login", data=form)
