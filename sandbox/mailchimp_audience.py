"""What else belongs to a Mailchimp audience: its fields, segments and webhooks.  In: requests.  Out: answers.

Sources: the Marketing API's contract 3.0.55; the signing secret of a webhook, told once:
github.com/mailchimp/fern-marketing-api-docs, ``subscribe-to-webhooks``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json, operations
from sandbox.mailchimp_events import SOURCES, TYPES, VALIDATOR
from sandbox.mailchimp_groups import QuestionPages
from sandbox.mailchimp_http import Routes, answer, body, rows
from sandbox.mailchimp_rules import ARCHIVED, MergeField, invalid, not_found, utc
from sandbox.mailchimp_store import Audience, Member
from sandbox.webhooks import Target, Webhooks

_FIELD_TYPES = (
    "text", "number", "address", "phone", "date", "url", "imageurl", "radio", "dropdown", "birthday", "zip",
)  # fmt: skip
_TAG = re.compile(r"[A-Z][A-Z0-9_]{0,9}")  # ten bytes at most: well known, not in the contract
_MOST = 500  # members of one call on a segment (contract)
_BORN = "2024-01-15T09:00:00+00:00"


class About:
    """The endpoints over one audience and its webhooks."""

    def __init__(self, audience: Audience, webhooks: Webhooks, seed: int) -> None:
        """``seed``: of ids and signing secrets."""
        self._audience = audience
        self._webhooks = webhooks
        self._random = Random(seed)
        self._questions = QuestionPages(audience.questions, lambda: (m.interests for m in audience.members.values()))

    def routes(self) -> Routes:
        """See the class."""
        list_ = "/lists/{list_id}"
        return [
            ("GET", "/lists", self._lists),
            ("GET", list_, self._list),
            ("PATCH", list_, self._change),
            ("GET", f"{list_}/merge-fields", self._fields),
            ("POST", f"{list_}/merge-fields", self._add_field),
            *self._questions.routes(),
            ("GET", f"{list_}/tag-search", self._tag_search),
            ("GET", f"{list_}/segments", self._segments),
            ("POST", f"{list_}/segments", self._add_segment),
            ("GET", f"{list_}/segments/{{id:int}}", self._segment),
            ("POST", f"{list_}/segments/{{id:int}}", self._change_segment),
            ("GET", f"{list_}/segments/{{id:int}}/members", self._segment_members),
            ("GET", f"{list_}/webhooks", self._hooks),
            ("POST", f"{list_}/webhooks", self._add_hook),
            ("GET", f"{list_}/webhooks/{{id}}", self._hook),
            ("PATCH", f"{list_}/webhooks/{{id}}", self._change_hook),
            ("DELETE", f"{list_}/webhooks/{{id}}", self._drop_hook),
        ]

    async def _lists(self, request: Request) -> Response:
        return rows(request, "lists", [self._about()])

    async def _list(self, request: Request) -> Response:
        self._here(request)
        said = self._about()
        return answer(request, said, said.keys())

    async def _change(self, request: Request) -> Response:
        """Of all that can be set only the switch of the GDPR fields; what members permitted is kept behind it."""
        self._here(request)
        switch = (await body(request)).get("marketing_permissions")
        if not isinstance(switch, bool):
            raise invalid(("marketing_permissions", "Schema describes boolean"))
        self._audience.questions.gdpr = switch
        return Json(self._about())

    def _about(self) -> dict[str, Any]:
        counts = Counter(m.status for m in self._audience.members.values())
        return {
            "id": self._audience.id,
            "web_id": 501,
            "name": "Customers and friends",
            "permission_reminder": "You signed up on our website.",
            "date_created": _BORN,
            "list_rating": 3,
            "email_type_option": False,
            "visibility": "prv",
            "double_optin": False,
            "has_welcome": False,
            "marketing_permissions": self._audience.questions.gdpr,
            "stats": {
                "member_count": counts["subscribed"],
                "total_contacts": sum(counts.values()) - counts[ARCHIVED],
                "unsubscribe_count": counts["unsubscribed"],
                "cleaned_count": counts["cleaned"],
                "merge_field_count": len(self._audience.schema),
                "campaign_count": 0,
            },
        }

    # --- fields ------------------------------------------------------------------------------------------------------

    async def _fields(self, request: Request) -> Response:
        self._here(request)
        found = [m.public(self._audience.id) for m in self._audience.schema.values()]
        if (type_ := request.query_params.get("type")) is not None:
            found = [m for m in found if m["type"] == type_]
        return rows(request, "merge_fields", found, list_id=self._audience.id)

    async def _add_field(self, request: Request) -> Response:
        self._here(request)
        given = await body(request)
        if not isinstance(given.get("name"), str) or given.get("type") not in _FIELD_TYPES:
            raise invalid(("type", f"A field needs a name and a type, one of: {', '.join(_FIELD_TYPES)}"))
        schema = self._audience.schema
        number = max(m.merge_id for m in schema.values()) + 1
        tag = str(given.get("tag", f"MMERGE{number}")).upper()
        if _TAG.fullmatch(tag) is None:
            raise invalid(("tag", "A merge tag has at most 10 letters and digits"))
        if tag in schema:
            raise invalid(detail=f'A Merge Field with the tag "{tag}" already exists for this list.')
        options = given.get("options")
        options = dict(options) if isinstance(options, Mapping) else {}
        choices = tuple(map(str, options.pop("choices", ())))
        if given["type"] in {"dropdown", "radio"} and not choices:
            raise invalid(("options.choices", "This value should not be blank."))
        required = given.get("required") is True
        schema[tag] = MergeField(number, tag, given["name"], given["type"], required, choices, options)
        return Json(schema[tag].public(self._audience.id))

    # --- tags, which are static segments ------------------------------------------------------------------------------

    async def _tag_search(self, request: Request) -> Response:
        self._here(request)
        start = request.query_params.get("name", "").lower()
        tags = [{"id": i, "name": n} for n, i in self._audience.tag_ids.items() if n.lower().startswith(start)]
        return Json({"tags": tags, "total_items": len(tags)})

    async def _segments(self, request: Request) -> Response:
        self._here(request)
        found = [self._shown_segment(name) for name in self._audience.tag_ids]
        return rows(request, "segments", found, list_id=self._audience.id)

    async def _add_segment(self, request: Request) -> Response:
        self._here(request)
        given = await body(request)
        name, emails = given.get("name"), given.get("static_segment", [])
        if not isinstance(name, str) or not name or not isinstance(emails, list):
            raise invalid(("name", "This value should not be blank."))
        if name in self._audience.tag_ids:
            raise invalid(("name", "A segment of this name exists already"))
        self._audience.tag_ids[name] = 3001 + len(self._audience.tag_ids)
        for member in self._known(emails):
            self._audience.tag(member, [(name, True)])
        return Json(self._shown_segment(name))

    async def _segment(self, request: Request) -> Response:
        return answer(request, self._shown_segment(self._tag(request)))

    async def _change_segment(self, request: Request) -> Response:
        name = self._tag(request)
        given = await body(request)
        add, remove = given.get("members_to_add", []), given.get("members_to_remove", [])
        if not isinstance(add, list) or not isinstance(remove, list) or max(len(add), len(remove)) > _MOST:
            raise invalid(("members_to_add", f"At most {_MOST} addresses can be sent with each call"))
        operations(request, len(add) + len(remove))
        added, removed = self._known(add), self._known(remove)  # unknown addresses are ignored without a word
        for members, on in ((added, True), (removed, False)):
            for member in members:
                self._audience.tag(member, [(name, on)])
        return Json(
            {
                "members_added": [self._audience.show(m) for m in added],
                "members_removed": [self._audience.show(m) for m in removed],
                "errors": [],
                "total_added": len(added),
                "total_removed": len(removed),
                "error_count": 0,
            }
        )

    async def _segment_members(self, request: Request) -> Response:
        name = self._tag(request)
        found = [self._audience.show(m) for m in self._audience.members.values() if name in m.tags]
        return rows(request, "members", found)

    def _known(self, emails: list[Any]) -> list[Member]:
        return [m for e in emails if (m := self._audience.find(str(e))) is not None]

    def _tag(self, request: Request) -> str:
        self._here(request)
        for name, id_ in self._audience.tag_ids.items():
            if id_ == request.path_params["id"]:
                return name
        raise not_found()

    def _shown_segment(self, name: str) -> dict[str, Any]:
        added = [m.tags[name] for m in self._audience.members.values() if name in m.tags]
        return {
            "id": self._audience.tag_ids[name],
            "name": name,
            "member_count": len(added),
            "type": "static",
            "created_at": utc(min(added)) if added else _BORN,
            "updated_at": utc(max(added)) if added else _BORN,
            "options": {"match": "any", "conditions": []},
            "list_id": self._audience.id,
        }

    # --- webhooks -----------------------------------------------------------------------------------------------------

    async def _hooks(self, request: Request) -> Response:
        self._here(request)
        found = [self._shown_hook(t) for t in self._webhooks.targets.values()]
        return rows(request, "webhooks", found, list_id=self._audience.id)

    async def _add_hook(self, request: Request) -> Response:
        self._here(request)
        given = await body(request)
        url = await self._valid(given.get("url"))
        id_, secret = f"{self._random.getrandbits(40):010x}", f"{self._random.getrandbits(256):064x}"
        target = Target(id_, url, secret, _switches(given, "events", TYPES), _switches(given, "sources", SOURCES))
        self._webhooks.targets[id_] = target
        return Json({**self._shown_hook(target), "signing_secret": secret})  # told this once

    async def _hook(self, request: Request) -> Response:
        return Json(self._shown_hook(self._target(request)))

    async def _change_hook(self, request: Request) -> Response:
        target = self._target(request)
        given = await body(request)
        if "url" in given:
            target.url = await self._valid(given["url"])
        if "events" in given:
            target.events = _switches(given, "events", TYPES)
        if "sources" in given:
            target.sources = _switches(given, "sources", SOURCES)
        target.enabled = True
        return Json(self._shown_hook(target))

    async def _drop_hook(self, request: Request) -> Response:
        del self._webhooks.targets[self._target(request).id]
        return Response(status_code=204)

    async def _valid(self, url: object) -> str:
        if not isinstance(url, str) or re.match(r"https?://", url) is None:
            raise invalid(("url", "This value is not a valid URL."))
        if not await self._webhooks.validate(url, VALIDATOR):
            raise invalid(("url", "The resource did not answer a GET with 200"))
        return url

    def _target(self, request: Request) -> Target:
        self._here(request)
        target = self._webhooks.targets.get(request.path_params["id"])
        if target is None:
            raise not_found()
        return target

    def _shown_hook(self, target: Target) -> dict[str, Any]:
        return {
            "id": target.id,
            "url": target.url,
            "events": dict(target.events if target.events is not None else dict.fromkeys(TYPES, True)),
            "sources": dict(target.sources if target.sources is not None else dict.fromkeys(SOURCES, True)),
            "list_id": self._audience.id,
            "signing_enabled": target.secret != "",
        }

    def _here(self, request: Request) -> None:
        if request.path_params["list_id"] != self._audience.id:
            raise not_found()


def _switches(given: Mapping[str, Any], name: str, known: tuple[str, ...]) -> dict[str, bool] | None:
    """What is left out of the object is off (harsher: not documented); without the object everything is on."""
    switches = given.get(name)
    if not isinstance(switches, Mapping):
        return None
    return {key: switches.get(key) is True for key in known}
