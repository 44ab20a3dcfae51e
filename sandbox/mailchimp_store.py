"""The members of one Mailchimp audience.  In: members as sent.  Out: members as shown, and events of what changed.

Sources: the Marketing API's contract 3.0.55; github.com/mailchimp/fern-marketing-api-docs (``set-consent-correctly``);
what is refused to whom: ibericode/mailchimp-for-wordpress#798, #673.  Where the vendor's documents are silent, the
harsher reading is taken, and said beside it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.journal import Journal
from sandbox.mailchimp_events import told
from sandbox.mailchimp_groups import Questions
from sandbox.mailchimp_rules import (
    ARCHIVED,
    MERGE_FIELDS,
    MergeField,
    Problem,
    check_email,
    clean_merge,
    compliance,
    forgotten,
    invalid,
    member_exists,
    taken,
    utc,
)
from sandbox.webhooks import Happening

TAGS_SHOWN = 50  # contract: the member resource shows no more
_PLAIN = ("email_type", "language", "vip", "ip_signup", "timestamp_signup", "ip_opt", "timestamp_opt")


def subscriber_hash(email: str) -> str:
    """MD5 of the address in lower case; the contract's id of a member."""
    return hashlib.md5(email.lower().encode()).hexdigest()


def _short(text: str) -> str:
    """Ten hex digits, the form of most of Mailchimp's ids."""
    return hashlib.md5(text.encode()).hexdigest()[:10]


@dataclass(slots=True)
class Member:
    """One member.  ``web_id`` is its place in the audience, ``contact_id`` its id for ever."""

    web_id: int
    contact_id: str
    email: str = field(repr=False)
    status: str
    changed: int  # seconds since 1970
    created: int
    source: str
    plain: dict[str, Any] = field(repr=False)
    merge: dict[str, Any] = field(default_factory=dict, repr=False)
    interests: dict[str, bool] = field(default_factory=dict)
    permissions: dict[str, bool] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)  # name -> when it was added
    left_by: str | None = None  # who unsubscribed this member: user, admin or api
    reason: str = ""
    activity: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=100), repr=False)

    @property
    def bound(self) -> bool:
        """In compliance state: only the person can subscribe again."""
        return self.left_by == "user" or self.status == "cleaned"


class Audience:
    """All members, and the fields that they can have."""

    def __init__(
        self,
        list_id: str,
        now: Callable[[], float],
        emit: Callable[[Iterable[Happening]], None],
        *,
        questions: Questions,
        tags_touch: bool = False,
    ) -> None:
        """``now``: seconds since 1970.  ``tags_touch``: a change of tags moves ``last_changed`` (not documented)."""
        self.id = list_id
        self.questions = questions
        self.schema: dict[str, MergeField] = {m.tag: m for m in MERGE_FIELDS}
        self._now = now
        self._emit = emit
        self._tags_touch = tags_touch
        self.clear()

    def clear(self) -> None:
        """Forget all members."""
        self.members: dict[int, Member] = {}  # by web_id
        self.journal = Journal()
        self.tag_ids: dict[str, int] = {}
        self._by_hash: dict[str, int] = {}
        self._by_contact: dict[str, int] = {}
        self._gone: set[str] = set()  # hashes of addresses that were deleted for good
        self._next = 100_001

    # --- reading ------------------------------------------------------------------------------------------------------

    def find(self, slot: str) -> Member | None:
        """The member of this md5 hash, address or contact id, archived ones too."""
        web_id = self._by_hash.get(slot.lower())
        if web_id is None:
            web_id = self._by_contact.get(slot) if "@" not in slot else self._by_hash.get(subscriber_hash(slot))
        return None if web_id is None else self.members[web_id]

    def by_change(self, since: int | None) -> Iterator[Member]:
        """Members by ``last_changed`` from ``since`` on."""
        return (self.members[i] for i in self.journal.since(since))

    def show(self, member: Member) -> dict[str, Any]:
        """As JSON."""
        merge = {tag: member.merge.get(tag, "") for tag in self.schema}
        name = f"{merge.get('FNAME', '')} {merge.get('LNAME', '')}".strip()
        plain = member.plain
        shown: dict[str, Any] = {
            "id": subscriber_hash(member.email),
            "email_address": member.email,
            "unique_email_id": _short(member.email.lower()),
            "contact_id": member.contact_id,
            "full_name": name,
            "web_id": member.web_id,
            "email_type": plain.get("email_type", "html"),
            "status": member.status,
            "consents_to_one_to_one_messaging": member.status == "subscribed",
            "sms_phone_number": "",
            "sms_subscription_status": "nonsubscribed",
            "merge_fields": merge,
            "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
            "ip_signup": plain.get("ip_signup", ""),
            "timestamp_signup": plain.get("timestamp_signup", ""),
            "ip_opt": plain.get("ip_opt", ""),
            "timestamp_opt": plain.get("timestamp_opt", ""),
            "member_rating": 2,
            "last_changed": utc(member.changed),
            "language": plain.get("language", ""),
            "vip": plain.get("vip", False),
            "email_client": "",
            "location": {
                "latitude": 0,
                "longitude": 0,
                "gmtoff": 0,
                "dstoff": 0,
                "country_code": "",
                "timezone": "",
                "region": "",
            },
            **self.questions.shown(member.interests, member.permissions),
            "source": member.source,
            "tags_count": len(member.tags),
            "tags": [{"id": self.tag_ids[n], "name": n} for n in list(member.tags)[:TAGS_SHOWN]],
            "list_id": self.id,
        }
        if member.status == "unsubscribed":
            shown["unsubscribe_reason"] = member.reason or "N/A (Unsubscribed by admin)"
        return shown

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, given: Mapping[str, Any], source: str, *, lax: bool, at: int | None = None) -> Member:
        """A new member.  ``lax``: no merge field is required.  ``at``: seconds, for filling the sandbox with a past."""
        email = check_email(given.get("email_address"))
        if (there := self.find(subscriber_hash(email))) is not None:
            raise member_exists(there.email)
        if subscriber_hash(email) in self._gone and source != "user":
            raise forgotten(email)
        status = given.get("status", given.get("status_if_new"))
        if status is None:
            raise invalid(("status", "This value should not be blank."))
        quiet, at = at is not None, int(self._now()) if at is None else at
        merge = clean_merge(self.schema, given.get("merge_fields", {}), {}, lax=lax)
        interests = self.questions.chosen(given)
        member = Member(
            web_id=self._next,
            contact_id=hashlib.md5(f"{self.id}:{self._next}".encode()).hexdigest(),
            email=email,
            status=status,
            changed=at,
            created=at,
            source="API - Generic" if source == "api" else "Hosted Signup Form" if source == "user" else "Admin Add",
            plain={"timestamp_opt": utc(at), **{n: given[n] for n in _PLAIN if n in given}},
            merge={t: v for t, v in merge.items() if v != ""},
            interests=interests,
            permissions=self.questions.permitted(given),
            left_by=source if status == "unsubscribed" else None,
        )
        self._next += 1
        self._gone.discard(subscriber_hash(email))
        self.members[member.web_id] = member
        self._by_hash[subscriber_hash(email)] = member.web_id
        self._by_contact[member.contact_id] = member.web_id
        for tag in given.get("tags", []):
            self._tag(member, str(tag["name"]) if isinstance(tag, Mapping) else str(tag), at)
        self.journal.note(member.web_id, at)
        if status == "subscribed" and not quiet:
            self._emit([self._told("subscribe", member, source)])
        return member

    def update(self, member: Member, given: Mapping[str, Any], source: str, *, lax: bool) -> None:
        """Change a member.  Either everything is taken or nothing.  What does not change is no change."""
        email = check_email(given["email_address"]) if "email_address" in given else member.email
        self._check_move(member, email)
        status = given.get("status", member.status)
        if status == "subscribed" and status != member.status and member.bound and source != "user":
            raise compliance(member.email)
        # An archived member stays in the archive unless a status is given (harsher: status_if_new does not count).
        merge = clean_merge(self.schema, given.get("merge_fields", {}), member.merge, lax=lax)
        interests, permissions = self.questions.chosen(given), self.questions.permitted(given)
        profile = any(member.merge.get(t, "") != v for t, v in merge.items())
        profile = profile or any(member.interests.get(i, False) != on for i, on in interests.items())
        plain = {n: given[n] for n in _PLAIN if n in given and member.plain.get(n) != given[n]}
        permitted = any(member.permissions.get(i, False) != on for i, on in permissions.items())
        moved = subscriber_hash(email) != subscriber_hash(member.email)
        if not (profile or plain or permitted or moved or status != member.status):
            return
        old_email, old_status = member.email, member.status
        if moved:
            del self._by_hash[subscriber_hash(old_email)]
            self._by_hash[subscriber_hash(email)] = member.web_id
            member.email = email
        member.merge = {t: v for t, v in {**member.merge, **merge}.items() if v != ""}
        member.interests |= interests
        member.permissions |= permissions
        member.plain |= plain
        self._set_status(member, status, source)
        self._touch(member)
        events = []
        if profile:
            events.append(self._told("profile", member, source))
        if moved:
            events.append(self._told_move(member, old_email, source))
        if status != old_status:
            events += self._told_status(member, old_status, source)
        self._emit(events)

    def tag(self, member: Member, tags: Iterable[tuple[str, bool]]) -> None:
        """Set and take away tags.  Fires no event; does not move ``last_changed`` (harsher: not documented)."""
        before = set(member.tags)
        for name, on in tags:
            if on:
                self._tag(member, name, int(self._now()))
            else:
                member.tags.pop(name, None)
        if self._tags_touch and set(member.tags) != before:
            self._touch(member)

    def archive(self, member: Member, source: str) -> None:
        """To the archive; who left by their own hand stays in compliance state."""
        if member.bound:
            member.left_by = "user"
        before, member.status = member.status, ARCHIVED
        self._touch(member)
        if before == "subscribed":
            self._emit([self._told_leave(member, source, "archive")])

    def delete(self, member: Member, source: str) -> None:
        """For good: the address can never be imported again."""
        before = member.status
        event = self._told_leave(member, source, "delete")
        del self.members[member.web_id], self._by_contact[member.contact_id]
        del self._by_hash[subscriber_hash(member.email)]
        self.journal.forget(member.web_id)
        self._gone.add(subscriber_hash(member.email))
        if before == "subscribed":
            self._emit([event])

    # --- keeping order ------------------------------------------------------------------------------------------------

    def _check_move(self, member: Member, email: str) -> None:
        if subscriber_hash(email) == subscriber_hash(member.email):
            return
        if (there := self.find(subscriber_hash(email))) is not None:
            raise taken(there.email, there.status)
        if subscriber_hash(email) in self._gone:
            raise forgotten(email)

    def _set_status(self, member: Member, status: str, source: str) -> None:
        if status == member.status:
            return
        if status == "unsubscribed":
            # Whoever left first by their own hand is not set free by an administrator's entry.
            member.left_by = "user" if member.left_by == "user" else source
            member.activity.append(
                {
                    "activity_type": "unsub",
                    "created_at_timestamp": utc(self._now()),
                    "is_admin_unsubscribed": source != "user",
                    "unsubscribe_reason": member.reason,
                }
            )
        elif status == "subscribed":
            member.left_by = None
        elif status == "pending" and member.status == "cleaned":
            member.left_by = "user"  # stays bound until the person confirms
        member.status = status

    def _touch(self, member: Member) -> None:
        member.changed = int(self._now())
        self.journal.note(member.web_id, member.changed)

    def _tag(self, member: Member, name: str, at: int) -> None:
        self.tag_ids.setdefault(name, 3001 + len(self.tag_ids))
        member.tags.setdefault(name, at)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _told(self, type_: str, member: Member, source: str, **more: str) -> Happening:
        address = member.merge.get("ADDRESS")
        merges = {tag: member.merge.get(tag, "") for tag in self.schema}
        if isinstance(address, Mapping):
            merges["ADDRESS"] = address
        data = {
            "id": _short(member.email.lower()),
            "email": member.email,
            "email_type": member.plain.get("email_type", "html"),
            "ip_opt": member.plain.get("ip_opt", ""),
            "ip_signup": member.plain.get("ip_signup", ""),
            "web_id": member.web_id,
            "merges": {"EMAIL": member.email, **merges, **self.questions.told(member.interests)},
            "list_id": self.id,
            **more,
        }
        return told(type_, source, self._now(), data)

    def _told_leave(self, member: Member, source: str, action: str) -> Happening:
        return self._told("unsubscribe", member, source, action=action, reason="manual")

    def _told_move(self, member: Member, old: str, source: str) -> Happening:
        data = {
            "list_id": self.id,
            "new_id": _short(member.email.lower()),
            "new_email": member.email,
            "old_email": old,
        }
        return told("upemail", source, self._now(), data)

    def _told_status(self, member: Member, before: str, source: str) -> list[Happening]:
        match member.status:
            case "subscribed":
                return [self._told("subscribe", member, source)]
            case "unsubscribed" if before == "subscribed":
                return [self._told_leave(member, source, "unsub")]
            case "cleaned":
                data = {"list_id": self.id, "campaign_id": "4fjk2ma9xd", "reason": "hard", "email": member.email}
                return [told("cleaned", source, self._now(), data)]
        return []


def refusal(email: str, problem: Problem) -> dict[str, Any]:
    """A problem as one of the errors of a batch answer."""
    exists = problem.title == "Member Exists"
    named = problem.errors[0] if problem.errors else ("", "")
    return {
        "email_address": email,
        "error": f"{email} is already a list member, do you want to update? please provide update_existing:true"
        if exists
        else problem.detail,
        "error_code": "ERROR_CONTACT_EXISTS" if exists else "ERROR_GENERIC",
        "field": named[0],
        "field_message": named[1],
    }
