"""Salesforce as it behaves on the wire: the people of one org and what stands around them, SOQL, collections, tokens,
outbound messages.

The endpoints are in ``salesforce_api``, rules and recycle bin in ``salesforce_org``, objects and their fields in
``salesforce_fields``, queries in ``salesforce_soql``, tokens in ``salesforce_login``.  Outbound messages:
developer.salesforce.com, "Outbound Messaging".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json, header
from sandbox.people import Person
from sandbox.salesforce_api import Api, Reply, error
from sandbox.salesforce_fields import ALL, FIELDS
from sandbox.salesforce_login import Login
from sandbox.salesforce_org import ORG, Org, SfError
from sandbox.webhooks import Happening, Policy, Target

TOKEN = "00D5f000000ABCD!AQEAQSandboxSessionOpensNothingElse"  # noqa: S105 - opens nothing but this simulator
SECRET = "4f1c2a5b6d7e8f90"  # noqa: S105 - in the URL of its messages
CLIENT_ID = "3MVG9sandboxConnectedApp"
CLIENT_SECRET = "sandbox-consumer-secret"  # noqa: S105
USER = "tandem@sandbox.example.com"

POLICY = Policy(
    batch=100,
    window=0.05,
    timeout=60.0,
    # Up to two hours apart, dropped after a day ("Outbound Messaging"); the steps in between are not published.
    waits=(60, 300, 900, 1800, *(7200,) * 11),
)
_SHOWN = ("Id", "Email", "HasOptedOutOfEmail", "DoNotCall", "SystemModstamp")
_LEAD = ("IsConverted", "ConvertedContactId")
_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change


class SalesforceSim(Simulator):
    """One org."""

    def __init__(
        self,
        *,
        token: str = TOKEN,
        secret: str = SECRET,
        webhook: str | None = None,
        certificate: str | None = None,
        rotates: bool = True,
        duplicates: str = "off",
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without people.

        ``webhook``: where outbound messages go; with ``?secret=``.  ``certificate``: the connected app's public key.
        ``rotates``: refresh tokens.  ``duplicates``: see ``Org``.  ``retry_span``: seconds for all retries.
        """
        super().__init__(POLICY, self._encode, seed=seed, span=retry_span, clock=clock)
        self.token, self.secret = token, secret
        self.org = Org(self.clock, self.webhooks.emit, duplicates=duplicates)
        self.api = Api(self.org)
        self.login = Login(
            self.clock,
            token=token,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            user=USER,
            certificate=certificate,
            rotates=rotates,
        )
        self._counted = 0
        self.app = self.build()
        self.deliver_to(webhook)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """As it came."""
        return path

    def is_read(self, _method: str, path: str, /) -> bool:
        """Tokens, and records that are read in collections."""
        return path.startswith("/services/oauth2/") or path.rpartition("/composite/sobjects/")[2] in ALL

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """The token; the list of versions and the token endpoint are open."""
        if path.rstrip("/") == "/services/data" or path.startswith("/services/oauth2/"):
            return None
        self._counted += 1
        if self.login.takes(header(scope, b"authorization")):
            return None
        return _answer(error(401, "INVALID_SESSION_ID", "Session expired or invalid"))

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error as Salesforce words it."""
        codes = {400: "UNKNOWN_EXCEPTION", 401: "INVALID_SESSION_ID", 403: "REQUEST_LIMIT_EXCEEDED"}
        answer = _answer(error(status, codes.get(status, "SERVER_UNAVAILABLE"), "It did not work"))
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def more_headers(self, _path: str) -> list[tuple[bytes, bytes]]:
        """How much of the quota is used."""
        return [(b"sforce-limit-info", f"api-usage={self._counted}/15000".encode())]

    def errors(self) -> dict[Any, ExceptionHandler]:
        """Unknown paths and methods."""

        async def theirs(_request: Request, found: Exception) -> Response:
            status = found.status_code if isinstance(found, HTTPException) else 404
            return _answer(error(status, "NOT_FOUND", "The requested resource does not exist"))

        return {HTTPException: theirs}

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """See ``salesforce_api``."""
        return [
            Route("/services/oauth2/token", self._token, methods=["POST"]),
            Route("/services/{rest:path}", self._call, methods=["GET", "POST", "PATCH", "DELETE"]),
        ]

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        status, body = self.login.answer(form, str(request.base_url).rstrip("/"))
        return Json(body, status_code=status)

    async def _call(self, request: Request) -> Response:
        query, headers = dict(request.query_params), dict(request.headers)
        who = "user" if header(request.scope, _SOURCE) == "user" else "api"
        return _answer(self.api.call(request.method, request.url.path, query, await request.body(), headers, who))

    # --- outbound messages --------------------------------------------------------------------------------------------

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """Messages about both objects."""
        secret = given.get("secret", self.secret)
        mark = "&" if "?" in url else "?"
        return Target("messages", f"{url}{mark}{urlencode({'secret': secret})}" if secret else url)

    def _encode(self, _target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
        """One message; the values are those of now."""
        notes = "".join(self._notification(h.data) for h in happenings)
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
            ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            '<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
            f"<OrganizationId>{ORG}</OrganizationId><ActionId>04k5f000000ABCDAA4</ActionId>"
            '<SessionId xsi:nil="true"/><EnterpriseUrl>https://acme.my.salesforce.com/services/Soap/c/67.0</EnterpriseUrl>'
            "<PartnerUrl>https://acme.my.salesforce.com/services/Soap/u/67.0</PartnerUrl>"
            f"{notes}</notifications></soapenv:Body></soapenv:Envelope>"
        )
        return body.encode(), {"content-type": "text/xml; charset=utf-8", "soapaction": '""'}

    def _notification(self, about: Mapping[str, Any]) -> str:
        entity = about["entity"]
        row = self.org.rows[entity].get(about["id"], {"Id": about["id"]})
        names = [*_SHOWN, *(_LEAD if entity == "Lead" else ())]
        # A field without a value is left out.
        said = "".join(f"<sf:{n}>{_xml(row[n])}</sf:{n}>" for n in names if row.get(n) is not None)
        return (
            f"<Notification><Id>{about['notification']}</Id>"
            f'<sObject xsi:type="sf:{entity}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{said}</sObject>'
            "</Notification>"
        )

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all people."""
        self.org.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Contacts, then leads, in the order of their creation."""
        every = [row for entity in FIELDS for row in self.org.all(entity)]
        end = after + limit
        return every[after:end], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in Salesforce.

        ``action``: ``update`` (default), ``create``, ``remove``, ``restore``, ``merge`` (``losers``), ``convert`` (of a
        lead; ``into``: a contact).  ``entity``: ``Contact`` (default), ``Lead``, ``Account`` and so on.  ``id``: whom.
        ``fields``: as in a PATCH.
        """
        entity, action, fields = str(given.get("entity", "Contact")), given.get("action", "update"), given.get("fields")
        id_, body = str(given.get("id", "")), fields if isinstance(fields, Mapping) else {}
        if entity not in ALL:
            raise BadEdit(f"entity must be one of {', '.join(ALL)}")
        try:
            match action:
                case "create":
                    return dict(self.org.create(entity, body, "user", save=True))
                case "update":
                    return dict(self.org.update(entity, id_, body, "user", save=True))
                case "remove":
                    self.org.remove(entity, id_)
                    return dict(self.org.find(entity, id_, removed=True))
                case "restore":
                    return dict(self.org.restore(entity, id_, "user"))
                case "merge":
                    return dict(self.org.merge(entity, id_, list(given.get("losers", [])), "user"))
                case "convert":
                    into = given.get("into")
                    return dict(self.org.convert(id_, "user", into=str(into) if into is not None else None))
        except SfError as no:
            raise BadEdit(f"{no.code}: {no.message}") from None
        raise BadEdit("action must be one of create, update, remove, restore, merge, convert")


def fill(sim: SalesforceSim, crowd: Iterable[Person]) -> None:
    """People as contacts, every fourth as a lead, as if they had come over the years.  No message is sent."""
    for n, person in enumerate(crowd):
        fields = {
            "Email": person.email,
            "FirstName": person.given,
            "LastName": person.family if person.family is not None else person.email.partition("@")[0],
            "Phone": person.phone,
            "Title": person.job,
        }
        lead = n % 4 == 3
        place = {"City": person.town, "Country": person.country}
        fields |= place if lead else {f"Mailing{name}": value for name, value in place.items()}
        known = {name: value for name, value in fields.items() if value is not None}
        if lead:
            known["Company"] = "[not provided]"
        sim.org.create("Lead" if lead else "Contact", known, "user", save=True, at=person.changed.timestamp())


def _answer(reply: Reply) -> Response:
    return Response(status_code=reply.status) if reply.body is None else Json(reply.body, status_code=reply.status)


def _xml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else escape(str(value))
