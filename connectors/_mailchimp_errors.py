"""Mailchimp's refusals.  In: problem documents and errors in a batch answer.  Out: the name of the next step.  No I/O.

Sources: mailchimp.com/developer/marketing/docs/errors; the API's contract 3.0.55 (answer of a batch); wordings as
quoted in public issues, named beside them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from connectors import _mailchimp_topics as topics
from connectors._mailchimp_wire import EMAIL, MERGE, STATUS
from connectors._wording import masked, values
from connectors.contract import Fields, NeedsHuman, Refused, TryLater

_THROTTLED = timedelta(hours=6)  # stackoverflow.com/questions/41160763: a day later it worked, five minutes may too

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ADDRESS = re.compile(r"[^\s\"'<>()\[\]{},;:]+@[^\s\"'<>()\[\]{},;:]+")
_PLACE = re.compile(r"members\.item:(\d+)(?:\.(.+))?")


@dataclass(frozen=True, slots=True)
class Reason:
    """What one of the vendor's refusals means.  ``wait``: not a refusal but a later try."""

    code: str
    says: str
    field: str | None = None
    wait: timedelta | None = None


EXISTS = Reason("conflict", "the address is a member already", EMAIL)
FORGOTTEN = Reason("forgotten", "permanently deleted: only the person can come back, by a Mailchimp form", EMAIL)
COMPLIANCE = Reason("compliance", "unsubscribed, bounced or under review: only the person can subscribe again", STATUS)
_CHECK = "`tandem mapping check --against-connection` lists those that it has"
INTEREST = Reason("interest", f"the audience has no such interest: correct its id in the mapping; {_CHECK}")
PERMISSION = Reason(
    "permission",
    "the audience has no such marketing permission: switch on its GDPR fields, or correct the id in the mapping; "
    + _CHECK,
)

_TOPICS = {INTEREST: topics.INTEREST, PERMISSION: topics.PERMISSION}

# Texts and titles, in lower case, the narrower first.  `title` is said to be stable, `type` and `detail` are not
# (docs/errors), but inside a batch answer there is only a text.  Wordings as in public reports:
# ibericode/mailchimp-for-wordpress#673 and #798, DrewM/mailchimp-api ErrorHandler, hull-mailchimp's live tests.
# Some come in the language of the account; such a one is refused under the general code, with its text.
REASONS: Sequence[tuple[str, Reason]] = (
    ("error_contact_exists", EXISTS),
    ("member exists", EXISTS),
    ("already a list member", EXISTS),
    ("already in this list", EXISTS),  # a change of address (brandonseydel/MailChimp.Net#201)
    ("forgotten email", FORGOTTEN),
    ("permanently deleted", FORGOTTEN),
    ("compliance state", COMPLIANCE),
    ("signed up to a lot of lists", Reason("throttled", "signed up too often lately", EMAIL, wait=_THROTTLED)),
    ("looks fake or invalid", Reason("fake_address", "the address looks fake or invalid to Mailchimp", EMAIL)),
    ("portion of the email address is invalid", Reason("invalid_address", "the address is not valid", EMAIL)),
    ("valid email address", Reason("invalid_address", "the address is not valid", EMAIL)),
    ("merge fields were invalid", Reason("merge_field", "a merge field was refused")),
    ("complete address", Reason("merge_field", "a postal address needs addr1, city, state and zip")),
    ("invalid interest id", INTEREST),
    ("marketing permission", PERMISSION),  # how an unknown one is refused, if at all, is not documented
    ("marketing_permission", PERMISSION),
)


def forbidden(response: httpx.Response) -> NeedsHuman | TryLater:
    """A 403: with a problem document the user lacks the right, without one it is throttling (docs, fundamentals)."""
    problem = document(response)
    if "title" in problem or "status" in problem:
        return NeedsHuman(f"mailchimp: forbidden ({masked(str(problem.get('title', '')))})")
    return TryLater("mailchimp: throttled (403 without a problem document)")


def document(response: httpx.Response) -> Mapping[str, Any]:
    """The problem document; empty where the answer is none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def reason(error: Mapping[str, Any]) -> Reason | None:
    """What an error in a batch answer, or a problem document, means; None for one that is not in the table."""
    text = _text(error).lower()
    return next((found for words, found in REASONS if words in text), None)


def fault(error: Mapping[str, Any], sent: Fields, secrets: Collection[str]) -> Refused | TryLater:
    """The error as the next step.  ``sent``: the order's fields, to name the one that it was and repeat no value."""
    found = reason(error)
    named = _field(error, sent)
    if found in _TOPICS:
        named = _topic(error, sent, _TOPICS[found], named)
    if found is None:
        # The narrowest text there is: `detail` often just says that there are `errors`.
        said = [error.get("field_message"), *(e.get("message") for e in _errors(error))]
        said += [error.get(key) for key in ("error", "detail", "title")]
        text = next((t for t in said if isinstance(t, str) and t), "no reason")
        text = masked(_QUOTED.sub("***", text), {*secrets, *values(sent)})
        return Refused(f"mailchimp: {text}", field=named)
    if found.wait is not None:
        return TryLater(f"mailchimp: {found.says}", after=found.wait)
    field = named if found.field is None else found.field
    return Refused(f"mailchimp: {found.says}{f' ({field})' if field else ''}", code=found.code, field=field)


def blamed(error: Mapping[str, Any], sent: Fields) -> str | None:
    """The topic among the order's fields that an error names by its id; None where it names none."""
    return topics.named(_text(error), sent)


def lacking(name: str) -> Refused:
    """The answer to a write does not show this topic: the audience does not have it."""
    found = INTEREST if name.startswith(topics.INTEREST) else PERMISSION
    return Refused(f"mailchimp: {found.says} ({name})", code=found.code, field=name)


def places(problem: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Which members of a refused batch are named as bad (``members.item:3.status``), each with its error."""
    found: dict[int, Mapping[str, Any]] = {}
    for error in _errors(problem):
        if (place := _PLACE.match(str(error.get("field", "")))) is not None:
            inner = {"field": place[2] if place[2] is not None else "", "error": error.get("message")}
            found.setdefault(int(place[1]), inner)
    return found


def _topic(error: Mapping[str, Any], sent: Fields, prefix: str, otherwise: str | None) -> str | None:
    """The topic that was refused: named by its id, or the only one of its kind in the order."""
    own = [name for name in sent if name.startswith(prefix)]
    quoted = blamed(error, sent)
    if quoted is not None:
        return quoted
    return own[0] if len(own) == 1 else otherwise


def _text(error: Mapping[str, Any]) -> str:
    """All that is said, without the address that most texts begin with: it could hold any of the words."""
    texts = [error.get(key) for key in ("error_code", "title", "error", "detail", "field_message", "field")]
    texts += [e.get(key) for e in _errors(error) for key in ("message", "field")]
    return _ADDRESS.sub("", "\n".join(t for t in texts if isinstance(t, str)))


def _errors(problem: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = problem.get("errors")
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list) else []


def _field(error: Mapping[str, Any], sent: Fields) -> str | None:
    """The field that an error names: bare for a merge field (``ADDRESS``), as a path elsewhere."""
    for one in (error, *_errors(error)):
        name = one.get("field")
        if isinstance(name, str) and name:
            # In words for the member's own ("email address"), by tag for merge fields.
            return next((n for n in (name, MERGE + name, name.replace(" ", "_")) if n in sent), name)
    return None
