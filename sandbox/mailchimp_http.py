"""What Mailchimp's endpoints share: body, author of a change, paging, choice of fields, problems as answers.

Source: github.com/mailchimp/fern-marketing-api-docs, ``pages/api-concepts/{methods-and-parameters,errors}.mdx``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json, header
from sandbox.mailchimp_events import SOURCES
from sandbox.mailchimp_rules import Problem, invalid

Endpoint = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, str, Endpoint]]
"""(method, path, endpoint)."""

COUNT, MOST = 10, 1000  # rows of a page: by default, and at most (contract)

_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change

# Names in a member.  Others are refused in ``fields``; below these any name goes.
MEMBER = frozenset(
    {
        "id", "email_address", "unique_email_id", "contact_id", "full_name", "web_id", "email_type", "status",
        "unsubscribe_reason", "consents_to_one_to_one_messaging", "sms_phone_number", "sms_subscription_status",
        "sms_subscription_last_updated", "merge_fields", "interests", "stats", "ip_signup", "timestamp_signup",
        "ip_opt", "timestamp_opt", "member_rating", "last_changed", "language", "vip", "email_client", "location",
        "marketing_permissions", "last_note", "source", "tags_count", "tags", "list_id", "_links",
    }
)  # fmt: skip

_Tree = dict[str, Any]


async def body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; Mailchimp does not look at the content type."""
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        detail = "We encountered an unspecified JSON parsing error."
        raise Problem(400, "JSON Parse Error", detail) from None
    if not isinstance(found, dict):
        raise invalid(("", "Schema describes object"))
    return found


def source(request: Request) -> str:
    """Who is to be seen as the author: the API, unless the sandbox's own header says otherwise."""
    named = header(request.scope, _SOURCE)
    return named if named in SOURCES else "api"


def flag(request: Request, name: str) -> bool:
    """A boolean in the query."""
    return request.query_params.get(name, "").lower() in {"true", "1"}


def span(request: Request) -> tuple[int, int]:
    """(offset, count).  Raises 400 for what is beyond the limits."""
    query = request.query_params
    try:
        offset, count = int(query.get("offset", "0")), int(query.get("count", str(COUNT)))
    except ValueError:
        raise invalid(("count", "Schema describes integer, string found instead")) from None
    if not 0 <= count <= MOST or offset < 0:
        raise invalid(("count", f"Value must be between 0 and {MOST}"))
    return offset, count


def problem(error: Problem, retry_after: float | None = None) -> Response:
    """The problem as an answer."""
    said = error.body()
    headers = {"x-request-id": said["instance"]}
    if retry_after is not None:
        headers["retry-after"] = str(int(retry_after))
    answer = Json(said, status_code=error.status, headers=headers)
    answer.headers["content-type"] = "application/problem+json; charset=utf-8"
    return answer


def rows(request: Request, name: str, found: Sequence[Mapping[str, Any]], **more: Any) -> Response:
    """One page of a list, with its total."""
    offset, count = span(request)
    said = {name: found[offset : offset + count], **more, "total_items": len(found)}
    return answer(request, said)


def answer(request: Request, said: Mapping[str, Any], known: Collection[str] = (), inner: str = "") -> Response:
    """As JSON, cut down to ``fields`` or by ``exclude_fields``.

    ``known``: names that may be asked for, empty = any.  ``inner``: the key of the list whose rows have these names.
    """
    wanted, unwanted = _paths(request, "fields"), _paths(request, "exclude_fields")
    if wanted and unwanted:
        detail = "The 'fields' and 'exclude_fields' parameters cannot be used together."
        raise Problem(400, "Requested Fields Invalid", detail)
    if known:
        _check(wanted + unwanted, said, known, inner)
    if wanted:
        return Json(_only(said, _tree(wanted)))
    return Json(_without(said, _tree(unwanted)) if unwanted else said)


def _paths(request: Request, name: str) -> list[list[str]]:
    given = request.query_params.getlist(name)
    return [path.strip().split(".") for text in given for path in text.split(",") if path.strip()]


def _check(paths: Iterable[list[str]], said: Mapping[str, Any], known: Collection[str], inner: str) -> None:
    for path in paths:
        names = path[1:] if inner and path[0] == inner else path
        allowed = known if names is not path or not inner else said.keys()
        if names and names[0] not in allowed and names[0] != "_links":
            raise Problem(400, "Requested Fields Invalid", f"Invalid field: {'.'.join(path)}")


def _tree(paths: Iterable[list[str]]) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node.setdefault(path[-1], {})
    return tree


def _only(value: Any, tree: _Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_only(v, tree) for v in value]
    if isinstance(value, Mapping):
        return {name: _only(value[name], inner) for name, inner in tree.items() if name in value}
    return value


def _without(value: Any, tree: _Tree) -> Any:
    if isinstance(value, list):
        return [_without(v, tree) for v in value]
    if isinstance(value, Mapping):
        return {
            name: _without(inner, tree[name]) if name in tree else inner
            for name, inner in value.items()
            if name not in tree or tree[name]
        }
    return value
