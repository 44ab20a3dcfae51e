"""Acme's connector, broken in how it subscribes.  See ``saboteurs``."""

from __future__ import annotations

from connectors.contract import Hooked
from tests.acme import Acme
from tests.saboteurs import breaks


@breaks("a_subscription_is_made_once")
class MakesAnother(Acme):
    def hook(self, url: str) -> Hooked:
        self._http.send("POST", "/hooks", json={"url": url})
        return Hooked(tuple(one for one in self.hooks() if one.url == url))


@breaks("a_subscription_is_removed")
class RemovesAll(Acme):
    def unhook(self, id: str) -> None:  # noqa: A002
        for one in self.hooks():
            super().unhook(one.id)
