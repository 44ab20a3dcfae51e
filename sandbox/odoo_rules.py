"""What Odoo knows of its fields, conditions and errors.  In: fields, domains, values.  Out: whether they hold; errors.

Sources: github.com/odoo/odoo, ``odoo/addons/base/models/res_partner.py`` (fields, constraint on names),
``addons/mail/models/mail_blacklist.py``, ``mail_message.py``, ``addons/crm/models/crm_lead.py``,
``addons/calendar/models/calendar_event.py``; github.com/odoo/documentation, ``developer/reference/backend/orm.rst``
(domains) and ``external_api.rst`` (errors).  The status of an exception is confirmed for 401 alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import getaddresses
from typing import Any

STAMP = "%Y-%m-%d %H:%M:%S"
LANGUAGES = (("en_US", "English (US)"), ("de_DE", "German / Deutsch"), ("fr_FR", "French / Français"))
TYPES = (("contact", "Contact"), ("invoice", "Invoice"), ("delivery", "Delivery"), ("other", "Other"))
COUNTRIES = {
    56: ("DE", "Germany"),
    75: ("FR", "France"),
    13: ("AU", "Australia"),
    12: ("AT", "Austria"),
    231: ("GB", "United Kingdom"),
    233: ("US", "United States"),
    165: ("NL", "Netherlands"),
    43: ("CH", "Switzerland"),
}
STATES = {1350: ("BY", "Bavaria", 56), 1351: ("BE", "Berlin", 56)}
STAGES = {1: "New", 2: "Qualified", 3: "Proposition", 4: "Won", 5: "lost"}  # the last one is a trap
WON_STAGE = 4
NAMED: Mapping[str, Mapping[int, str]] = {  # links whose rows have a name and nothing else here
    "crm.stage": STAGES,
    "crm.team": {1: "Sales", 2: "Partners"},
    "crm.lost.reason": {1: "Too expensive", 2: "We don't have people/skills"},
    "res.currency": {1: "USD", 125: "EUR"},
    "utm.source": {1: "Search engine", 2: "Newsletter"},
    "res.partner.industry": {1: "Agriculture", 2: "Manufacturing"},
}
LINKED: Mapping[str, Collection[int]] = {"res.country": COUNTRIES, "res.country.state": STATES, **NAMED}
ACTIVITIES = {  # mail.activity.type: name, category, icon
    1: ("Email", "default", "fa-envelope"),
    2: ("Call", "phonecall", "fa-phone"),
    3: ("Meeting", "meeting", "fa-users"),
    4: ("To-Do", "default", "fa-check"),
}
SUBTYPES = {1: ("Discussions", False), 2: ("Note", True), 3: ("Activities", True)}  # mail.message.subtype


def _field(type_: str, label: str, *, fixed: bool = False, required: bool = False, **more: Any) -> dict[str, Any]:
    return {"type": type_, "string": label, "readonly": fixed, "required": required, **more}


_LOG = {
    "id": _field("integer", "ID", fixed=True),
    "create_date": _field("datetime", "Created on", fixed=True),
    "write_date": _field("datetime", "Last Updated on", fixed=True),
    "create_uid": _field("many2one", "Created by", fixed=True, relation="res.users"),
    "write_uid": _field("many2one", "Last Updated by", fixed=True, relation="res.users"),
}
FIELDS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "res.partner": {
        **_LOG,
        "name": _field("char", "Name"),
        "display_name": _field("char", "Display Name", fixed=True),
        "email": _field("char", "Email"),
        "email_normalized": _field("char", "Normalized Email", fixed=True),
        "is_blacklisted": _field("boolean", "Blacklist", fixed=True),
        **{n: _field("char", n.title()) for n in ("phone", "function", "website", "street", "street2", "zip", "city")},
        "ref": _field("char", "Reference"),
        "comment": _field("html", "Notes"),
        "color": _field("integer", "Color Index"),
        "employee": _field("boolean", "Employee"),
        "lang": _field("selection", "Language", selection=[list(x) for x in LANGUAGES]),
        "type": _field("selection", "Address Type", selection=[list(x) for x in TYPES]),
        "is_company": _field("boolean", "Is a Company"),
        "partner_share": _field("boolean", "Share Partner", fixed=True),
        "active": _field("boolean", "Active"),
        "country_id": _field("many2one", "Country", relation="res.country"),
        "state_id": _field("many2one", "State", relation="res.country.state"),
        "parent_id": _field("many2one", "Related Company", relation="res.partner"),
        "user_id": _field("many2one", "Salesperson", relation="res.users"),
        "industry_id": _field("many2one", "Industry", relation="res.partner.industry"),
    },
    "crm.lead": {
        **_LOG,
        "name": _field("char", "Opportunity", required=True),
        "type": _field("selection", "Type", selection=[["lead", "Lead"], ["opportunity", "Opportunity"]]),
        "active": _field("boolean", "Active"),
        "probability": _field("float", "Probability"),
        "won_status": _field("selection", "Is Won", fixed=True, selection=[["won", ""], ["lost", ""], ["pending", ""]]),
        "expected_revenue": _field("monetary", "Expected Revenue"),
        "date_closed": _field("datetime", "Closed Date", fixed=True),
        "date_deadline": _field("date", "Expected Closing"),
        "partner_id": _field("many2one", "Customer", relation="res.partner"),
        "stage_id": _field("many2one", "Stage", relation="crm.stage"),
        "team_id": _field("many2one", "Sales Team", relation="crm.team"),
        "user_id": _field("many2one", "Salesperson", relation="res.users"),
        "lost_reason_id": _field("many2one", "Lost Reason", relation="crm.lost.reason"),
        "company_currency": _field("many2one", "Currency", fixed=True, relation="res.currency"),
        "source_id": _field("many2one", "Source", relation="utm.source"),
    },
    "res.users": {
        **_LOG,
        **{n: _field("char", n.title()) for n in ("name", "login", "email")},
        "active": _field("boolean", "Active"),
        "share": _field("boolean", "Share User", fixed=True),
        "sale_team_id": _field("many2one", "User Sales Team", relation="crm.team"),
    },
    "mail.message": {
        **_LOG,
        **{n: _field("char", n.title()) for n in ("model", "subject", "message_type")},
        "body": _field("html", "Contents"),
        "res_id": _field("many2one_reference", "Related Document ID"),
        "date": _field("datetime", "Date"),
        "author_id": _field("many2one", "Author", relation="res.partner"),
        "subtype_id": _field("many2one", "Subtype", relation="mail.message.subtype"),
        "mail_activity_type_id": _field("many2one", "Mail Activity Type", relation="mail.activity.type"),
    },
    "mail.message.subtype": {
        "id": _LOG["id"],
        "name": _field("char", "Message Type"),
        "internal": _field("boolean", "Internal Only"),
    },
    "mail.activity.type": {
        "id": _LOG["id"],
        **{n: _field("char", n.title()) for n in ("name", "category", "icon")},
    },
    "calendar.event": {
        **_LOG,
        "name": _field("char", "Meeting Subject", required=True),
        "start": _field("datetime", "Start", required=True),
        "stop": _field("datetime", "Stop", required=True),
        "active": _field("boolean", "Active"),
        "partner_ids": _field("many2many", "Attendees", relation="res.partner"),
        "user_id": _field("many2one", "Organizer", relation="res.users"),
        "opportunity_id": _field("many2one", "Opportunity", relation="crm.lead"),
    },
    "mail.blacklist": {
        **_LOG,
        "email": _field("char", "Email Address", required=True),
        "active": _field("boolean", "Active"),
    },
    "res.country": {"id": _LOG["id"], "name": _field("char", "Name"), "code": _field("char", "Country Code")},
}


class OdooError(Exception):
    """An exception of Odoo's: its whole name, the status of JSON-2, the message."""

    def __init__(self, name: str, status: int, message: str) -> None:
        super().__init__(message)
        self.name, self.status, self.message = name, status, message


def access(message: str) -> OdooError:
    """What the user may not do."""
    return OdooError("odoo.exceptions.AccessError", 403, message)


def missing(model: str, ids: Sequence[int]) -> OdooError:
    """What is not there."""
    text = f"Record does not exist or has been deleted.\n(Record: {model}({', '.join(map(str, ids))},), User: 7)"
    return OdooError("odoo.exceptions.MissingError", 404, text)


def invalid(message: str) -> OdooError:
    """What a constraint refuses."""
    return OdooError("odoo.exceptions.ValidationError", 422, message)


def wrong(message: str) -> OdooError:
    """What Python stumbles over."""
    return OdooError("builtins.ValueError", 500, message)


def normalized(text: Any) -> str | bool:
    """The first address of a text in lower case; False where there is none."""
    found = [a for _, a in getaddresses([text])] if isinstance(text, str) else []
    first = found[0].strip().lower() if found else ""
    local, at, host = first.rpartition("@")
    return first if local and at and host and " " not in first else False


def told(at: float, *, whole: bool = False) -> str:
    """A time as it is shown: seconds over the API, microseconds (``whole``) in webhooks and in the database."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime(STAMP + ".%f" if whole else STAMP)


def seconds(text: str) -> float:
    """A time as it is written, in seconds since 1970."""
    form = STAMP + ".%f" if "." in text else STAMP
    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()


def check(model: str, name: str, value: Any) -> Any:
    """The value as it is kept.  ``wrong`` for a field that is not there or a value that it cannot hold."""
    about = FIELDS[model].get(name)
    if about is None:
        raise wrong(f"Invalid field {name!r} on {model!r}")
    if about["type"] == "selection" and value and value not in [key for key, _ in about["selection"]]:
        raise wrong(f"Wrong value for {model}.{name}: {value!r}")
    if about["type"] == "many2one" and value:
        known = LINKED.get(about["relation"])
        if not isinstance(value, int):
            raise wrong(f"Invalid value {value!r} for {model}.{name}")
        if known is not None and value not in known:
            raise invalid("The operation cannot be completed: another model requires the record being deleted.")
    if about["type"] == "boolean":
        return bool(value)
    if about["type"] == "datetime" and isinstance(value, str):
        return seconds(value)
    if about["type"] == "char":
        return False if value is None or value == "" else value if value is False else str(value).strip()
    return False if value is None else value


def fits(row: Mapping[str, Any], domain: Sequence[Any]) -> bool:
    """Whether a row meets a domain: conditions joined by and, or in prefix notation with & | !."""
    stack: list[bool] = []
    for part in reversed(list(domain)):
        match part:
            case "&":
                stack.append(stack.pop() & stack.pop())
            case "|":
                stack.append(stack.pop() | stack.pop())
            case "!":
                stack.append(not stack.pop())
            case [str(name), str(operator), value]:
                stack.append(_holds(row, name, operator, value))
            case _:
                raise wrong(f"Invalid leaf {part!r}")
    return all(stack)


def named(domain: Sequence[Any]) -> set[str]:
    """The fields that a domain speaks of."""
    return {part[0] for part in domain if isinstance(part, list)}


def _holds(row: Mapping[str, Any], name: str, operator: str, value: Any) -> bool:
    if name not in row:
        raise wrong(f"Invalid field {name!r} in leaf {[name, operator, value]!r}")
    own = row[name]
    if isinstance(value, str) and isinstance(own, (int, float)) and not isinstance(own, bool):
        value = seconds(value)
    match operator:
        case "=":
            return bool(own == value)
        case "!=":
            return bool(own != value)
        case "in":
            return own in value
        case "not in":
            return own not in value
        case "ilike" | "not ilike":
            holds = isinstance(own, str) and str(value).lower() in own.lower()
            return holds if operator == "ilike" else not holds
        case "=ilike":
            return isinstance(own, str) and own.lower() == str(value).lower()
        case ">" | ">=" | "<" | "<=":
            if own is False:
                return False
            return bool({">": own > value, ">=": own >= value, "<": own < value, "<=": own <= value}[operator])
    raise wrong(f"Invalid operator {operator!r}")
