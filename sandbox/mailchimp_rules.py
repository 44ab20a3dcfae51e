"""What Mailchimp takes and refuses.  In: members and values as sent.  Out: values as kept, or Mailchimp's problems.

Sources: the Marketing API's contract 3.0.55 (``spec/marketing.json``); github.com/mailchimp/fern-marketing-api-docs,
``pages/api-concepts/errors.mdx`` and ``merge-fields``; wording of problems as quoted in public issues, named beside.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")  # contract, to be written
PATCHABLE = STATUSES[:-1]  # contract, PATCH of a member
ARCHIVED = "archived"  # only to be read

_DOCS = "https://mailchimp.com/developer/marketing/docs/errors/"
_ANY_OF = "Data did not match any of the schemas described in anyOf."  # mailchimp/mc-magento#497
_INVALID = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."
_TEXT_BYTES = 255  # merge-fields: longer text is cut without a word
_EMAIL = re.compile(r"[^\s@<>\"(),:;\[\]\\]+@([\w-]+\.)+[^\W\d_][\w-]+")
_FAKE = frozenset({"test.com", "fake.com", "asdf.com"})  # domains that look fake or invalid to Mailchimp; a sample

_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d-%m-%Y", "%m/%d/%Y")  # merge-fields: the four notations of a date
_ADDRESS_NEEDS = ("addr1", "city", "state", "zip")  # merge-fields

# errors.mdx and the glossary: what the request header X-Trigger-Error can ask for.  (status, title)
TRIGGERS: Mapping[str, tuple[int, str]] = {
    "BadRequest": (400, "Bad Request"),
    "InvalidAction": (400, "Invalid Action"),
    "InvalidResource": (400, "Invalid Resource"),
    "JSONParseError": (400, "JSON Parse Error"),
    "RequestedFieldsInvalid": (400, "Requested Fields Invalid"),
    "APIKeyMissing": (401, "API Key Missing"),
    "APIKeyInvalid": (401, "API Key Invalid"),
    "Forbidden": (403, "Forbidden"),
    "UserDisabled": (403, "User Disabled"),
    "WrongDatacenter": (403, "Wrong Datacenter"),
    "ResourceNotFound": (404, "Resource Not Found"),
    "MethodNotAllowed": (405, "Method Not Allowed"),
    "ResourceNestingTooDeep": (414, "Resource Nesting Too Deep"),
    "InvalidMethodOverride": (422, "Invalid Method Override"),
    "TooManyRequests": (429, "Too Many Requests"),
    "InternalServerError": (500, "Internal Server Error"),
    "ComplianceRelated": (500, "Compliance Related"),
}


class Problem(Exception):
    """An error answer.  ``errors``: (field, message)."""

    def __init__(self, status: int, title: str, detail: str, errors: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)

    def body(self) -> dict[str, Any]:
        """The problem document."""
        said: dict[str, Any] = {
            "type": _DOCS,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": str(uuid.uuid4()),
        }
        if self.errors:
            said["errors"] = [{"field": f, "message": m} for f, m in self.errors]
        return said


def invalid(*errors: tuple[str, str], detail: str = _INVALID) -> Problem:
    """A body that does not fit."""
    return Problem(400, "Invalid Resource", detail, errors)


def not_found() -> Problem:
    """Nothing there."""
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")


def member_exists(email: str) -> Problem:
    """Creating who is there already (mailchimp/APIv3-examples#49)."""
    detail = f"{email} is already a list member. Use PUT to insert or update list members."
    return Problem(400, "Member Exists", detail)


def taken(email: str, status: str) -> Problem:
    """Changing an address to one that another member has (brandonseydel/MailChimp.Net#201)."""
    return invalid(("email address", f'"{email}" is already in this list with a status of "{status.title()}".'))


def compliance(email: str) -> Problem:
    """Subscribing who left by their own hand, or bounced (ibericode/mailchimp-for-wordpress#798)."""
    detail = (
        f"{email} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."
    )
    return Problem(400, "Member In Compliance State", detail)


def forgotten(email: str) -> Problem:
    """Adding who was deleted for good (alphagov/digitalmarketplace-utils and others)."""
    again = "The contact must re-subscribe to get back on the list."
    detail = f"{email} was permanently deleted and cannot be re-imported. {again}"
    return Problem(400, "Forgotten Email Not Subscribed", detail)


def check_email(email: object) -> str:
    """The address, if it is one."""
    if not isinstance(email, str) or not email:
        raise invalid(("email_address", "This value should not be blank."))
    if _EMAIL.fullmatch(email) is None:
        raise invalid(detail="Please provide a valid email address.")
    if email.rpartition("@")[2].lower() in _FAKE:
        raise invalid(detail=f"{email} looks fake or invalid, please enter a real email address.")
    return email


def utc(seconds: float) -> str:
    """A time as Mailchimp writes it, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def seconds(text: str) -> float | None:
    """A time in a query; None for one that Mailchimp ignores: more than six digits of fraction (MailChimp.Net#525)."""
    if re.search(r"\.\d{7,}", text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a bare "+" in a query is a space
    except ValueError:
        raise invalid(detail="A time must be in ISO 8601 format.") from None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()


def shape(given: object, prefix: str = "", *, statuses: Sequence[str] = STATUSES) -> list[tuple[str, str]]:
    """What in a member does not fit the contract's types, as (field, message)."""
    if not isinstance(given, Mapping):
        return [(prefix.rstrip("."), "Schema describes object, " + type(given).__name__ + " found instead")]
    found: list[tuple[str, str]] = []
    for name, value in given.items():
        match name, value:
            case (("email_address" | "email_type" | "language"), _) if not isinstance(value, str):
                found.append((prefix + name, f"Schema describes string, {_type(value)} found instead"))
            case "vip", _ if not isinstance(value, bool):
                found.append((prefix + name, f"Schema describes boolean, {_type(value)} found instead"))
            case (("status" | "status_if_new"), _) if value not in statuses:
                found.append((prefix + name, f"Value must be one of: {', '.join(statuses)}"))
            case (("ip_signup" | "ip_opt"), _) if value != "" and not _is_ip(value):
                found.append((prefix + name, "This value is not a valid IP address."))
            case (("timestamp_signup" | "timestamp_opt"), _) if value != "" and not _is_time(value):
                found.append((prefix + name, "This value is not a valid datetime."))
            case (("merge_fields" | "interests"), _) if not isinstance(value, Mapping):
                found.append((prefix + name, f"Schema describes object, {_type(value)} found instead"))
            case "merge_fields", Mapping():
                found += [(f"{prefix}{name}.{tag}", _ANY_OF) for tag, v in value.items() if not _is_value(v)]
            case "interests", Mapping():
                found += [
                    (f"{prefix}{name}.{id_}", f"Schema describes boolean, {_type(v)} found instead")
                    for id_, v in value.items()
                    if not isinstance(v, bool)
                ]
            case (("tags" | "marketing_permissions"), _) if not isinstance(value, list):
                found.append((prefix + name, f"Schema describes array, {_type(value)} found instead"))
            case "marketing_permissions", list():
                found += [
                    (f"{prefix}{name}.item:{at}.enabled", "Schema describes boolean")
                    for at, row in enumerate(value)
                    if not isinstance(row, Mapping) or not isinstance(row.get("enabled"), bool)
                ]
    return found


@dataclass(frozen=True, slots=True)
class MergeField:
    """One field of the audience.  ``choices``: of a dropdown or radio."""

    merge_id: int
    tag: str
    name: str
    type: str = "text"
    required: bool = False
    choices: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def clean(self, value: Any) -> Any:
        """The value as kept.  ``""`` clears.  Raises ValueError with Mailchimp's words."""
        if value == "":
            return ""
        match self.type:
            case "number":
                return _as_number(value)
            case "address":
                if not isinstance(value, Mapping) or not all(value.get(k) for k in _ADDRESS_NEEDS):
                    raise ValueError("Please enter a complete address")  # brandonseydel/MailChimp.Net#631
                return {"addr2": "", "country": "US", **{str(k): str(v) for k, v in value.items()}}
            case "date":
                return _as_date(str(value), _DATES).strftime("%Y-%m-%d")
            case "birthday":
                # A leap year, so that the 29th of February is a day.
                return _as_date(f"2000/{value}", ("%Y/%m/%d",)).strftime("%m/%d")
            case "radio" | "dropdown" if str(value) not in self.choices:
                raise ValueError(f"Value must be one of: {', '.join(self.choices)}")
            case "zip" if re.fullmatch(r"\d{5}", str(value)) is None:
                raise ValueError("Please enter a valid 5 digit zip code")
            case "url" | "imageurl" if re.match(r"https?://\S+\.\S", str(value)) is None:
                raise ValueError("Please enter a valid URL")
        return str(value).encode()[:_TEXT_BYTES].decode("utf-8", "ignore")

    def public(self, list_id: str) -> dict[str, Any]:
        """As the merge-fields endpoint shows it."""
        choices = {"choices": list(self.choices)} if self.choices else {}
        return {
            "merge_id": self.merge_id,
            "tag": self.tag,
            "name": self.name,
            "type": self.type,
            "required": self.required,
            "default_value": "",
            "public": True,
            "display_order": self.merge_id,
            "options": {**({"size": 25} if self.type == "text" else {}), **self.options, **choices},
            "help_text": "",
            "list_id": list_id,
        }


MERGE_FIELDS = (  # the first four are every new audience's (docs/merge-fields), the rest stands for an audience's own
    MergeField(1, "FNAME", "First Name"),
    MergeField(2, "LNAME", "Last Name"),
    MergeField(3, "ADDRESS", "Address", "address", options={"default_country": 164}),
    MergeField(4, "PHONE", "Phone Number", "phone", options={"phone_format": "none"}),
    MergeField(5, "COMPANY", "Company"),
    MergeField(6, "JOBTITLE", "Job title"),
    MergeField(7, "CITY", "City"),
    MergeField(8, "COUNTRY", "Country"),
    MergeField(9, "BIRTHDAY", "Birthday", "birthday", options={"date_format": "MM/DD"}),
    MergeField(10, "TIER", "Tier", "dropdown", choices=("Bronze", "Silver", "Gold")),
    MergeField(11, "SCORE", "Score", "number"),
    MergeField(12, "RENEWAL", "Renewal date", "date", options={"date_format": "MM/DD/YYYY"}),
    MergeField(13, "WEBSITE", "Website", "url"),
)


def clean_merge(
    schema: Mapping[str, MergeField], given: Mapping[str, Any], known: Mapping[str, Any], *, lax: bool
) -> dict[str, Any]:
    """The given merge fields as kept; tags that the audience does not have are ignored.  ``lax``: none is required."""
    cleaned: dict[str, Any] = {}
    errors: list[tuple[str, str]] = []
    for tag, value in given.items():
        if (merge := schema.get(tag.upper())) is None:
            continue
        try:
            cleaned[merge.tag] = merge.clean(value)
        except ValueError as error:
            errors.append((merge.tag, str(error)))
    if not lax:
        after = {**known, **cleaned}
        errors += [
            (m.tag, "Please enter a value") for m in schema.values() if m.required and after.get(m.tag, "") == ""
        ]
    if errors:
        raise invalid(*errors, detail="Your merge fields were invalid.")
    return cleaned


def _type(value: object) -> str:
    names = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "dict": "object", "list": "array"}
    return "NULL" if value is None else names.get(type(value).__name__, type(value).__name__)


def _is_ip(value: object) -> bool:
    try:
        ip_address(str(value))
    except ValueError:
        return False
    return True


def _is_time(value: object) -> bool:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return True


def _is_value(value: object) -> bool:
    return isinstance(value, (str, int, float, Mapping)) and not isinstance(value, bool)


def _as_number(value: object) -> int | float:
    try:
        number = float(str(value))
    except ValueError:
        raise ValueError("Please enter a number") from None
    return int(number) if number.is_integer() else number


def _as_date(text: str, formats: Sequence[str]) -> datetime:
    for form in formats:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError("Please enter a valid date")
