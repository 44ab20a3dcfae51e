"""ActiveCampaign's API on the wire: contacts, states on lists, fields, webhooks.

What is answered stands in ``activecampaign_account``; here are sockets, the rate and what a person does in the product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox.activecampaign_account import KEY, Account
from sandbox.activecampaign_crm import KINDS
from sandbox.activecampaign_events import POLICY, encode
from sandbox.activecampaign_store import CampaignError
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json
from sandbox.people import Person
from sandbox.webhooks import Target

SECRET = "activecampaign-sandbox-secret"  # noqa: S105 - stands in the URL of its webhooks only
LIST = "1"  # the list that speaks for e-mail consent
_API = "/api/3"
_RATE = 5  # calls a second of the whole account ("Rate limits")


class CampaignSim(Simulator):
    """One account of ActiveCampaign."""

    def __init__(
        self,
        *,
        key: str = KEY,
        secret: str = SECRET,
        webhook: str | None = None,
        limits: bool = False,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without people.

        ``webhook``: where all events go, with ``secret`` at the end of its URL.  ``limits``: five calls a second.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.secret = secret
        self._limits = limits
        self._window = (0, 0)
        self.account = Account(now=self.clock, emit=self.webhooks.emit, targets=self.webhooks.targets, key=key)
        self.app = self.build()
        self.deliver_to(webhook)

    @property
    def key(self) -> str:
        """What opens the account."""
        return self.account.key

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path without the slash at its end."""
        return path.rstrip("/")

    def is_read(self, _method: str, _path: str, /) -> bool:
        """No writing method only reads."""
        return False

    def gate(self, _scope: Scope, _path: str, _in_flight: int, /) -> Response | None:
        """The published rate, where it is kept to; the account looks at the key itself."""
        if not self._limits:
            return None
        second = int(self.clock())
        calls = self._window[1] if self._window[0] == second else 0
        self._window = (second, calls + 1)
        return self.trouble(429, 1) if calls >= _RATE else None

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error with a message."""
        answer = Json({"message": "Something went wrong."}, status_code=status)
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """In the vendor's two shapes."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, CampaignError)  # noqa: S101 - registered for this class
            return Json(error.body, status_code=error.status)

        async def theirs(_request: Request, error: Exception) -> Response:
            return self.trouble(error.status_code if isinstance(error, HTTPException) else 404, None)

        return {CampaignError: ours, HTTPException: theirs}

    def routes(self) -> list[BaseRoute]:
        """All of the API."""
        return [Route(f"{_API}/{{rest:path}}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])]

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix(_API)
        body = await request.body()
        status, said = self.account.answer(request.method, path, request.query_params, request.headers, body)
        return Json(said, status_code=status)

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """A webhook for all events, whoever caused them."""
        return Target("sandbox", f"{url}?secret={given.get('secret', self.secret)}")

    def clear(self) -> None:
        """Forget all people, and what stands around them."""
        self.account.people.clear()
        self.account.crm.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Contacts in the order of their ids, each with its states on lists."""
        people = self.account.people
        every = list(people.contacts.values())
        end = after + limit
        shown = [{**people.show(c), "lists": dict(c.lists), "values": dict(c.values)} for c in every[after:end]]
        return shown, end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in ActiveCampaign.

        ``action``: ``update`` (default), ``create`` (``fields``), ``delete``, ``subscribe`` and ``unsubscribe``
        (``list``, default 1), ``bounce``, ``tag`` (``tag``).  ``id``: whom.  Around them: ``put`` (``kind``, such as
        ``deals``, ``fields``, ``id`` of one that is there).
        """
        people, action = self.account.people, given.get("action", "update")
        fields = given.get("fields")
        body = fields if isinstance(fields, Mapping) else {}
        try:
            if action == "create":
                return people.show(people.create(body, source="admin"))
            if action == "put":
                return self._put(str(given.get("kind")), given.get("id"), body)
            found = people.find(str(given.get("id", "")))
            match action:
                case "update":
                    people.update(found, body, source="admin")
                case "delete":
                    people.delete(found)
                case "subscribe" | "unsubscribe":
                    status = "1" if action == "subscribe" else "2"
                    people.put_on(found, str(given.get("list", LIST)), status, source="public")
                case "bounce":
                    people.bounce(found)
                case "tag":
                    people.tag(found, str(given.get("tag", "")))
                case _:
                    raise BadEdit("action must be one of those that the simulator's description names")
        except CampaignError as error:
            raise BadEdit(f"{error.status}: {error}") from None
        return people.show(found)

    def _put(self, kind: str, id_: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        if kind not in KINDS:
            raise BadEdit(f"kind must be one of {', '.join(KINDS)}")
        made = self.account.crm.put(kind, None if id_ is None else str(id_), **fields)
        return self.account.crm.rows[kind][made]


def fill(sim: CampaignSim, crowd: Iterable[Person]) -> None:
    """People as contacts, as if they had come over the years; nobody is told.  Some are subscribed, some have left."""
    people = sim.account.people
    for n, person in enumerate(crowd):
        said = {"email": person.email, "firstName": person.given, "lastName": person.family, "phone": person.phone}
        given = {name: value for name, value in said.items() if value is not None}
        made = people.create(given, at=person.changed.timestamp())
        if n % 2:
            made.lists[LIST] = "1"
        elif n % 10 == 0:
            made.lists[LIST] = "2"
