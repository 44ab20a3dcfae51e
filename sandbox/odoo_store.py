"""Odoo's rows: partners, the blacklist, External IDs, what stands around partners.  In: methods and their arguments.
Out: what they return.

A call is one transaction: it is carried out whole or not at all.  Sources: github.com/odoo/odoo,
``odoo/addons/base/models/res_partner.py``, ``base/wizard/base_partner_merge.py``,
``addons/mail/models/mail_blacklist.py``, ``odoo/models.py`` (``load``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sandbox import odoo_rules as rules
from sandbox.odoo_rules import COUNTRIES, FIELDS, STATES, OdooError
from sandbox.webhooks import Happening

PARTNER, BLACKLIST = "res.partner", "mail.blacklist"
LEAD, USERS, MESSAGE, EVENT = "crm.lead", "res.users", "mail.message", "calendar.event"
BOT, PERSON = 7, 2  # users
_COMPUTED = frozenset({"email_normalized", "is_blacklisted", "display_name", "won_status"})
_FIXED: Mapping[str, Sequence[dict[str, Any]]] = {
    "res.country": [{"id": n, "code": code, "name": name} for n, (code, name) in COUNTRIES.items()],
    "mail.message.subtype": [{"id": n, "name": name, "internal": i} for n, (name, i) in rules.SUBTYPES.items()],
    "mail.activity.type": [
        {"id": n, "name": name, "category": category, "icon": icon}
        for n, (name, category, icon) in rules.ACTIVITIES.items()
    ],
}
# What a new row of these begins with, beside what is False.
_BLANK: Mapping[str, Mapping[str, Any]] = {
    PARTNER: {"active": True, "partner_share": True, "type": "contact", "color": 0},
    BLACKLIST: {"active": True},
    LEAD: {"active": True, "type": "opportunity", "probability": 10.0, "stage_id": 1, "company_currency": 125},
    USERS: {"active": True},
    MESSAGE: {"message_type": "comment", "subtype_id": 1, "body": ""},
    EVENT: {"active": True},
}
_TOLD: Mapping[str, Sequence[str]] = {  # what the rules send
    PARTNER: ("name", "email", "is_blacklisted", "is_company", "write_date"),
    BLACKLIST: ("email", "active", "write_date"),
    LEAD: ("name", "type", "write_date"),
}

Row = dict[str, Any]


class Store:
    """One database."""

    def __init__(self, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None]) -> None:
        """``now``: seconds since 1970."""
        self._now, self._emit = now, emit
        self.hidden: set[str] = set()  # models that the user of the key may not touch
        self.linked: set[int] = set()  # partners on whom other documents rest
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.tables: dict[str, dict[int, Row]] = {model: {} for model in _BLANK}
        self.external: dict[str, int] = {}  # External ID -> partner
        self._last = dict.fromkeys(self.tables, 40)

    # --- reading ------------------------------------------------------------------------------------------------------

    def rows(self, model: str) -> Iterator[Row]:
        """All rows with their computed fields."""
        if model in _FIXED:
            yield from _FIXED[model]
            return
        if model not in self.tables:
            raise OdooError("werkzeug.exceptions.NotFound", 404, f"the model {model!r} does not exist")
        if model in self.hidden:
            raise rules.access(f"You are not allowed to access '{model}' records.")
        if model == LEAD:
            yield from ({**row, "won_status": _won(row)} for row in self.tables[model].values())
            return
        if model != PARTNER:
            yield from self.tables[model].values()
            return
        out = {row["email"] for row in self.tables[BLACKLIST].values() if row["active"]}
        for row in self.tables[model].values():
            mail = rules.normalized(row["email"])
            yield {**row, "email_normalized": mail, "is_blacklisted": mail in out, "display_name": row["name"]}

    def select(self, model: str, domain: Sequence[Any], context: Mapping[str, Any]) -> list[Row]:
        """The rows that a domain names; archived ones only where they are asked for."""
        every = list(self.rows(model))
        if unknown := rules.named(domain) - FIELDS[model].keys():
            raise rules.wrong(f"Invalid field {min(unknown)!r} in a condition on {model!r}")
        if every and "active" in every[0] and context.get("active_test", True) and "active" not in rules.named(domain):
            every = [row for row in every if row["active"]]
        return [row for row in every if rules.fits(row, domain)]

    def names(self, model: str, fields: Sequence[str] | None) -> list[str]:
        """The fields that are asked for; all where none are."""
        names = list(FIELDS[model]) if not fields else ["id", *fields]
        if unknown := [n for n in names if n not in FIELDS[model]]:
            raise rules.wrong(f"Invalid field {unknown[0]!r} on {model!r}")
        return names

    def show(self, model: str, row: Row, fields: Sequence[str] | None, *, load: str | None = "_classic_read") -> Row:
        """A row as ``read`` gives it."""
        about, names = FIELDS[model], self.names(model, fields)
        return {n: self._value(about[n], row[n], load) for n in dict.fromkeys(names)}

    def _value(self, about: Mapping[str, Any], value: Any, load: str | None) -> Any:
        if about["type"] == "datetime":
            return rules.told(value, whole=load is None)
        if about["type"] == "many2one" and value and load is not None:
            return [value, self._words(about["relation"], value)]
        return value

    def _words(self, model: str, id_: int) -> str:
        match model:
            case "res.country":
                return COUNTRIES[id_][1]
            case "res.country.state":
                _, name, country = STATES[id_]
                return f"{name} ({COUNTRIES[country][0]})"
            case "res.partner":
                return str(self.tables[PARTNER][id_]["name"])
        if model == "mail.message.subtype":
            return rules.SUBTYPES[id_][0]
        if model in rules.NAMED:
            return rules.NAMED[model][id_]
        row = self.tables.get(model, {}).get(id_)
        return f"{model} {id_}" if row is None else str(row["name"])

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, model: str, given: Mapping[str, Any], who: int, at: float | None = None) -> int:
        """One new row.  An address that is on the blacklist already, active or not, is answered with its entry."""
        values = self._checked(model, given)
        if model == BLACKLIST:
            mail = rules.normalized(values.get("email"))
            if mail is False:
                raise OdooError("odoo.exceptions.UserError", 422, f"Invalid email address {given.get('email')!r}")
            there = next((r["id"] for r in self.tables[BLACKLIST].values() if r["email"] == mail), None)
            if there is not None:
                return int(there)
            values["email"] = mail
        id_ = self._last[model] = self._last[model] + 1
        when = self._now() if at is None else at
        blank: Row = {n: [] if a["type"] == "many2many" else False for n, a in FIELDS[model].items()}
        row: Row = {**blank, **_BLANK[model]}
        row |= {"id": id_, "create_date": when, "write_date": when, "create_uid": who, "write_uid": who, **values}
        self._constrain(model, row)
        self.tables[model][id_] = row
        if at is None:  # of what came over the years nothing is told
            self._tell(model, "write", row, who)
        return id_

    def write(self, model: str, ids: Sequence[int], given: Mapping[str, Any], who: int) -> None:
        """The same values for all these rows."""
        table, values = self.tables[model], self._checked(model, given)
        if gone := [i for i in ids if i not in table]:
            raise rules.missing(model, gone)
        if model == LEAD:
            values = self._ended(values)
        fresh = [{**table[i], **values, "write_date": self._now(), "write_uid": who} for i in ids]
        for row in fresh:
            self._constrain(model, row)
        for row in fresh:
            table[row["id"]] = row
            self._tell(model, "write", row, who)

    def unlink(self, model: str, ids: Sequence[int], who: int) -> None:
        """For good; External IDs go with the rows."""
        if model == PARTNER and self.linked & set(ids):
            raise rules.invalid("The operation cannot be completed: another model is using the record.")
        for id_ in ids:
            if (row := self.tables[model].pop(id_, None)) is not None:
                self._tell(model, "unlink", row, who)
        self.external = {name: id_ for name, id_ in self.external.items() if id_ in self.tables[PARTNER]}

    def post(self, model: str, id_: int, given: Mapping[str, Any], who: int) -> int:
        """A message on a record, as ``message_post`` makes it; its id."""
        if id_ not in self.tables.get(model, {}):
            raise rules.missing(model, [id_])
        note = given.get("subtype_xmlid") == "mail.mt_note"
        said = {n: given[n] for n in ("body", "message_type", "subject") if n in given}
        values = {**said, "model": model, "res_id": id_, "date": self._now(), "subtype_id": 2 if note else 1}
        return self.create(MESSAGE, values, who)

    def _ended(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What comes with the end of an opportunity."""
        made = dict(values)
        if made.get("stage_id") == rules.WON_STAGE:
            made |= {"probability": 100.0}
        if made.get("active") is False:
            made |= {"probability": 0.0}
        if made.get("probability") in {0.0, 100.0}:
            made |= {"date_closed": self._now()}
        return made

    def load(self, fields: Sequence[str], data: Sequence[Sequence[str]], who: int) -> dict[str, Any]:
        """Rows of texts by External ID: known ones are changed, others made; one bad row rejects all."""
        ready: list[tuple[str | None, dict[str, Any]]] = []
        messages: list[dict[str, Any]] = []
        for place, row in enumerate(data):
            values: dict[str, Any] = {}
            name: str | None = None
            for column, text in zip(fields, row, strict=True):
                try:
                    if column == "id":
                        name = text
                    else:
                        values |= _converted(column, text)
                except OdooError as error:
                    field = column.partition("/")[0]
                    about = {"type": "error", "record": place, "rows": {"from": place, "to": place}}
                    messages.append({**about, "field": field, "message": error.message})
            ready.append((name, values))
        if messages:
            return {"ids": False, "messages": messages, "nextrow": False}
        kept = {m: dict(t) for m, t in self.tables.items()}
        ids = []
        for place, (name, values) in enumerate(ready):
            try:
                known = self.external.get(name) if name is not None else None
                if known is None:
                    known = self.create(PARTNER, values, who)
                else:
                    self.write(PARTNER, [known], values, who)
            except OdooError as error:
                self.tables = kept
                about = {"type": "error", "record": place, "rows": {"from": place, "to": place}}
                return {"ids": False, "messages": [{**about, "message": error.message}], "nextrow": False}
            if name is not None:
                self.external[name] = known
            ids.append(known)
        return {"ids": ids, "messages": [], "nextrow": 0}

    def merge(self, winner: int, losers: Sequence[int], who: int) -> None:
        """What the wizard does: empty fields are filled from the others, which go; no rule hears of them."""
        table = self.tables[PARTNER]
        row = table[winner]
        for id_ in losers:
            lost = table.pop(id_)
            row = {**lost, **{n: v for n, v in row.items() if v not in (False, None)}}
            self.external = {name: winner if to == id_ else to for name, to in self.external.items()}
        table[winner] = {**row, "id": winner, "write_date": self._now(), "write_uid": who}
        self._tell(PARTNER, "write", table[winner], who)

    def _checked(self, model: str, given: Mapping[str, Any]) -> dict[str, Any]:
        if model in self.hidden:
            raise rules.access(f"You are not allowed to modify '{model}' records.")
        values = {name: rules.check(model, name, value) for name, value in given.items()}
        return {name: value for name, value in values.items() if name not in _COMPUTED}

    def _constrain(self, model: str, row: Mapping[str, Any]) -> None:
        if model == PARTNER and row["type"] == "contact" and not row["name"]:
            raise rules.invalid("Contacts require a name")

    def _tell(self, model: str, what: str, row: Row, who: int) -> None:
        if model == PARTNER:
            out = {entry["email"] for entry in self.tables[BLACKLIST].values() if entry["active"]}
            mail = rules.normalized(row["email"])
            row = {**row, "email_normalized": mail, "is_blacklisted": mail in out, "display_name": row["name"]}
        if model not in _TOLD:
            return
        said = self.show(model, row, _TOLD[model], load=None)
        self._emit([Happening(f"{model}.{what}", "user" if who == PERSON else "api", {**said, "_model": model})])


def _won(row: Mapping[str, Any]) -> str:
    if row["probability"] == 100 and row["stage_id"] == rules.WON_STAGE:
        return "won"
    return "lost" if not row["active"] and row["probability"] == 0 else "pending"


def _converted(column: str, text: str) -> dict[str, Any]:
    """One cell of ``load``."""
    name, _, how = column.partition("/")
    about = FIELDS[PARTNER].get(name)
    if about is None:
        raise rules.wrong(f"Invalid field {name!r} on 'res.partner'")
    if not isinstance(text, str):
        raise OdooError("builtins.TypeError", 500, "load takes texts")
    match about["type"]:
        case "many2one":
            known = rules.LINKED.get(about["relation"], ())
            if how != ".id" or not text.isdigit() or (known and int(text) not in known):
                raise rules.wrong(f"No matching record found for database id '{text}' in field '{about['string']}'")
            return {name: int(text)}
        case "selection":
            keys = [key for key, label in about["selection"] if text in {key, label}]
            if not keys:
                raise rules.wrong(f"Value '{text}' not found in selection field '{about['string']}'")
            return {name: keys[0]}
        case "boolean":
            return {name: text.lower() in {"1", "true", "yes"}}
        case "integer":
            return {name: int(text)}
    return {name: text}
