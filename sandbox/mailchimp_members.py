"""The member endpoints of one Mailchimp audience.  In: requests.  Out: answers.

Sources: the Marketing API's contract 3.0.55; PUT of an unknown hash: mailchimp/APIv3-examples#49; filters that need
a status: the contract and brandonseydel/MailChimp.Net#589.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json, operations
from sandbox.mailchimp_http import MEMBER, Routes, answer, body, flag, rows, source, span
from sandbox.mailchimp_rules import (
    ARCHIVED,
    PATCHABLE,
    STATUSES,
    Problem,
    invalid,
    member_exists,
    not_found,
    seconds,
    shape,
    utc,
)
from sandbox.mailchimp_store import Audience, Member, refusal, subscriber_hash

BATCH = 500  # members of one batch call (contract)
_LAX = "skip_merge_validation"
_UNKNOWN_TO_BATCH = "marketing_permissions"  # neither the request nor the answer of a batch has it (contract)
_STAYS = frozenset({"cleaned", "pending", ARCHIVED})  # who is not archived: fixtures recorded by grouparoo
_NOT_COMPATIBLE = "The requested method and resource are not compatible. See the Allow header."
_SORTS = ("last_changed", "timestamp_opt", "timestamp_signup")


class Members:
    """The endpoints over one audience."""

    def __init__(self, audience: Audience) -> None:
        """See the class."""
        self._audience = audience

    def routes(self) -> Routes:
        """See the class."""
        list_ = "/lists/{list_id}"
        member = f"{list_}/members/{{slot}}"
        return [
            ("POST", list_, self._batch),
            ("GET", f"{list_}/members", self._list),
            ("POST", f"{list_}/members", self._create),
            ("GET", member, self._get),
            ("PUT", member, self._put),
            ("PATCH", member, self._patch),
            ("DELETE", member, self._archive),
            ("GET", f"{member}/tags", self._tags),
            ("POST", f"{member}/tags", self._tag),
            ("POST", f"{member}/actions/delete-permanent", self._delete),
            ("POST", f"{member}/events", self._event),
            ("GET", f"{member}/activity-feed", self._activity),
            ("GET", "/search-members", self._search),
        ]

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        self._here(request)
        query = request.query_params
        status = query.get("status")
        if status is not None and status not in (*STATUSES, ARCHIVED):
            raise invalid(("status", f"Value must be one of: {', '.join((*STATUSES, ARCHIVED))}"))
        if "unsubscribed_since" in query and status != "unsubscribed":
            raise invalid(detail="unsubscribed_since is only allowed with the status unsubscribed.")
        if "since_last_campaign" in query and status is None:
            raise invalid(detail="Member status is required with since_last_campaign.")
        offset, count = span(request)
        found = self._filtered(request, status)
        sort = query.get("sort_field")
        if sort is not None and sort not in _SORTS:
            raise invalid(("sort_field", f"Value must be one of: {', '.join(_SORTS)}"))
        if sort in {"timestamp_opt", "timestamp_signup"}:
            found.sort(key=lambda m: (str(m.plain.get(sort, "")), m.web_id))
        elif sort is None:
            found.sort(key=lambda m: m.web_id)
        if sort is not None and query.get("sort_dir", "ASC").upper() == "DESC":
            found.reverse()
        said = {
            "members": [self._audience.show(m) for m in found[offset : offset + count]],
            "list_id": self._audience.id,
            "total_items": len(found),
        }
        return answer(request, said, MEMBER, "members")

    def _filtered(self, request: Request, status: str | None) -> list[Member]:
        """By last change, oldest first.

        "After" and "before" are taken at their word, so neither end of the window belongs to it (harsher: the contract
        does not say).  Without a status the archive is left out.
        """
        query = request.query_params
        since = seconds(query["since_last_changed"]) if "since_last_changed" in query else None
        before = seconds(query["before_last_changed"]) if "before_last_changed" in query else None
        left = seconds(query["unsubscribed_since"]) if "unsubscribed_since" in query else None
        vip, unique = flag(request, "vip_only"), query.get("unique_email_id")
        members = self._audience.by_change(None if since is None else int(since))
        return [
            m
            for m in members
            if (m.status == status if status is not None else m.status != ARCHIVED)
            and (since is None or m.changed > since)
            and (before is None or m.changed < before)
            and (left is None or m.changed > left)
            and (not vip or m.plain.get("vip") is True)
            and (unique is None or self._audience.show(m)["unique_email_id"] == unique)
        ]

    async def _get(self, request: Request) -> Response:
        return answer(request, self._audience.show(self._named(request)), MEMBER)

    async def _tags(self, request: Request) -> Response:
        ids, tags = self._audience.tag_ids, self._named(request).tags
        return rows(request, "tags", [{"id": ids[n], "name": n, "date_added": utc(at)} for n, at in tags.items()])

    async def _activity(self, request: Request) -> Response:
        member = self._named(request)
        wanted = [f for text in request.query_params.getlist("activity_filters") for f in text.split(",") if f]
        found = [a for a in reversed(member.activity) if not wanted or a["activity_type"] in wanted]
        offset, count = span(request)
        email_id = subscriber_hash(member.email)
        said = {"activity": found[offset : offset + count], "email_id": email_id, "list_id": self._audience.id}
        return answer(request, said)

    async def _search(self, request: Request) -> Response:
        query = request.query_params.get("query", "").lower()
        if len(query) < 1:
            raise invalid(("query", "This value should not be blank."))
        if request.query_params.get("list_id", self._audience.id) != self._audience.id:
            raise not_found()
        exact: list[dict[str, Any]] = []
        full: list[dict[str, Any]] = []
        for member in self._audience.members.values():
            name = f"{member.merge.get('FNAME', '')} {member.merge.get('LNAME', '')}".lower()
            if member.email.lower() == query:
                exact.append(self._audience.show(member))
            elif query in member.email.lower() or query in name:
                full.append(self._audience.show(member))
        said = {
            "exact_matches": {"members": exact, "total_items": len(exact)},
            "full_search": {"members": full[:30], "total_items": len(full)},
        }
        return answer(request, said)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        self._here(request)
        given = await self._member(request)
        member = self._audience.create(given, source(request), lax=flag(request, _LAX))
        return Json(self._audience.show(member))

    async def _put(self, request: Request) -> Response:
        self._here(request)
        given = await self._member(request)
        if "email_address" not in given:
            raise invalid(("email_address", "This value should not be blank."))
        member = self._audience.find(request.path_params["slot"])
        if member is None:
            # Where the hash in the path is not that of the address, this may meet a member: then Member Exists.
            if "status_if_new" in given:
                given["status"] = given["status_if_new"]
            given.pop("tags", None)
            member = self._audience.create(given, source(request), lax=flag(request, _LAX))
        else:
            self._audience.update(member, given, source(request), lax=flag(request, _LAX))
        return Json(self._audience.show(member))

    async def _patch(self, request: Request) -> Response:
        member = self._named(request)
        if member.status == ARCHIVED:  # harsher: the Allow header of an archived member, as recorded, names GET and PUT
            raise Problem(405, "Method Not Allowed", _NOT_COMPATIBLE)
        given = await self._member(request, PATCHABLE)
        self._audience.update(member, given, source(request), lax=flag(request, _LAX))
        return Json(self._audience.show(member))

    async def _archive(self, request: Request) -> Response:
        member = self._named(request)
        if member.status in _STAYS:
            detail = (
                "This list member cannot be removed. Can not archive a contact that is bounced, pending or archived"
            )
            raise Problem(405, "Method Not Allowed", detail)
        self._audience.archive(member, source(request))
        return Response(status_code=204)

    async def _delete(self, request: Request) -> Response:
        self._audience.delete(self._named(request), source(request))
        return Response(status_code=204)

    async def _tag(self, request: Request) -> Response:
        member = self._named(request)
        tags = (await body(request)).get("tags")
        if not isinstance(tags, list):
            raise invalid(("tags", "This value should not be blank."))
        changes: list[tuple[str, bool]] = []
        for i, tag in enumerate(tags):
            if not isinstance(tag, Mapping) or not tag.get("name") or tag.get("status") not in {"active", "inactive"}:
                raise invalid((f"tags.item:{i}", "A tag needs a name and a status, active or inactive"))
            changes.append((str(tag["name"]), tag["status"] == "active"))
        self._audience.tag(member, changes)
        return Response(status_code=204)

    async def _event(self, request: Request) -> Response:
        member = self._named(request)
        given = await body(request)
        name = given.get("name")
        if not isinstance(name, str) or not 2 <= len(name) <= 30:
            raise invalid(("name", "This value must be 2 to 30 characters long."))
        member.activity.append(
            {
                "activity_type": "event",
                "created_at_timestamp": given.get("occurred_at", utc(member.changed)),
                "event_name": name,
                "event_properties": given.get("properties", {}),
            }
        )
        return Response(status_code=204)

    async def _batch(self, request: Request) -> Response:
        self._here(request)
        given = await body(request)
        members = given.get("members")
        if not isinstance(members, list):
            raise invalid(("members", "This value should not be blank."))
        operations(request, len(members))
        if len(members) > BATCH:
            raise invalid(("members", f"At most {BATCH} members can be added or updated with each call"))
        # A member of the wrong shape refuses the whole call; one that is only refused for its content does not.
        if misfits := [e for i, m in enumerate(members) for e in shape(m, f"members.item:{i}.")]:
            raise invalid(*misfits)
        made: list[Member] = []
        changed: list[Member] = []
        errors: list[dict[str, Any]] = []
        seen: set[str] = set()
        for one in ({n: v for n, v in m.items() if n != _UNKNOWN_TO_BATCH} for m in members):
            email = str(one.get("email_address", ""))
            hashed = subscriber_hash(email)
            if hashed in seen:
                if not flag(request, "skip_duplicate_check"):
                    twice = f"{email} is more than once in this request"
                    errors.append(refusal(email, Problem(400, "Invalid Resource", twice)))
                continue
            seen.add(hashed)
            there = self._audience.find(hashed)
            try:
                if there is None:
                    made.append(self._audience.create(one, source(request), lax=flag(request, _LAX)))
                elif given.get("update_existing") is not True:
                    raise member_exists(there.email)
                else:
                    self._update_one(there, one, request, sync_tags=given.get("sync_tags") is True)
                    changed.append(there)
            except Problem as problem:
                errors.append(refusal(email, problem))
        return Json(
            {
                "new_members": [self._shown(m) for m in made],
                "updated_members": [self._shown(m) for m in changed],
                "errors": errors,
                "total_created": len(made),
                "total_updated": len(changed),
                "error_count": len(errors),
            }
        )

    def _shown(self, member: Member) -> dict[str, Any]:
        return {n: v for n, v in self._audience.show(member).items() if n != _UNKNOWN_TO_BATCH}

    def _update_one(self, member: Member, given: Mapping[str, Any], request: Request, *, sync_tags: bool) -> None:
        self._audience.update(member, given, source(request), lax=flag(request, _LAX))
        if "tags" in given:
            wanted = {str(t["name"]) if isinstance(t, Mapping) else str(t) for t in given["tags"]}
            dropped = set(member.tags) - wanted if sync_tags else set()
            self._audience.tag(member, [*((t, False) for t in dropped), *((t, True) for t in sorted(wanted))])

    async def _member(self, request: Request, statuses: tuple[str, ...] = STATUSES) -> dict[str, Any]:
        given = await body(request)
        if misfits := shape(given, statuses=statuses):
            raise invalid(*misfits)
        return given

    def _named(self, request: Request) -> Member:
        self._here(request)
        member = self._audience.find(request.path_params["slot"])
        if member is None:
            raise not_found()
        return member

    def _here(self, request: Request) -> None:
        if request.path_params["list_id"] != self._audience.id:
            raise not_found()
