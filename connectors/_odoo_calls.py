"""Partners and the blacklist of Odoo, by methods of their models.  In: ids, addresses, values.  Out: rows, records.

Which fields there are depends on version and apps (``mobile`` went with 19, say), so they are asked for once, and what
is not there is not read.

Sources: github.com/odoo/documentation, ``developer/reference/external_api.rst``; github.com/odoo/odoo,
``odoo/addons/base/models/res_partner.py``, ``addons/mail/models/mail_blacklist.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from connectors._odoo_rpc import Rpc
from connectors._odoo_walk import moved
from connectors._odoo_wire import (
    ALWAYS,
    COUNTRY,
    NORMALIZED,
    PARENT,
    PEOPLE,
    PEOPLE_FIELDS,
    address,
    fold,
    is_id,
    link,
    person,
    record,
    sources,
)
from connectors._wording import values
from connectors.contract import Kind, NeedsHuman, Record, Tie, TryLater

PARTNER, BLACKLIST = "res.partner", "mail.blacklist"
CONCURRENCY: Final = 2  # none is published; Odoo Online asks for few calls at once; ours
PAGE: Final = 200  # rows of one list; ours
MODULE: Final = "tandem_sync"  # in front of our External IDs; no module of Odoo has this name
_EVERY: Final[Sequence[Any]] = (["active", "in", [True, False]],)
_CONTEXT: Final = {"active_test": False}  # archived rows are hidden without it
_ATTRIBUTES: Final = ("type", "string", "required", "readonly", "selection")


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list.  ``last``: its last id.  ``full``: there may be more.  ``at``: the server's clock."""

    rows: tuple[Mapping[str, Any], ...]
    last: int | None
    full: bool
    at: datetime | None


class Partners:
    """The partners of one database who are people."""

    def __init__(self, rpc: Rpc, names: Iterable[str], *, page: int = PAGE, employers: bool = False) -> None:
        """``names``: the fields to read, ours among them.  ``employers``: whether records say which company it is."""
        self.rpc = rpc
        self._employers = employers
        self._names = tuple(dict.fromkeys(names))
        self._page = page
        self._facts: dict[str, Any] | None = None
        self._codes: dict[int, str] | None = None
        self._lock = threading.Lock()

    # --- what there is ------------------------------------------------------------------------------------------------

    def facts(self) -> Mapping[str, Any]:
        """The fields of a partner, asked for once.  NeedsHuman where Odoo lacks what consent rests on."""
        with self._lock:
            if self._facts is None:
                found = self.described(PARTNER)
                if lacking := [name for name in (*ALWAYS, *PEOPLE_FIELDS) if name not in found]:
                    why = f"odoo: contacts have no {', '.join(lacking)}: install the app Contacts or CRM (module mail)"
                    raise NeedsHuman(why)
                self._facts = dict(found)
            return self._facts

    def described(self, model: str) -> Mapping[str, Any]:
        """The fields of a model."""
        found = self.rpc.call(model, "fields_get", {"attributes": list(_ATTRIBUTES)}).result
        if not isinstance(found, Mapping) or not all(_described(about) for about in found.values()):
            raise TryLater("odoo: fields_get describes no fields")
        return found

    def types(self) -> dict[str, str]:
        """The type of each field."""
        return {name: about["type"] for name, about in self.facts().items()}

    def countries(self) -> dict[int, str]:
        """The codes of all countries, asked for once."""
        with self._lock:
            if self._codes is None:
                named = {"domain": [], "fields": ["code"], "order": "id"}
                rows = _rows(self.rpc.call("res.country", "search_read", named).result)
                self._codes = {r["id"]: r["code"].upper() for r in rows if isinstance(r.get("code"), str)}
            return self._codes

    # --- reading ------------------------------------------------------------------------------------------------------

    def listed(self, model: str, domain: Sequence[Any], after: int, fields: Sequence[str]) -> Found:
        """One page of a model, by id from ``after`` on; archived rows too, unless the domain leaves them out."""
        named = {
            "domain": [list(c) if isinstance(c, tuple) else c for c in domain],
            "fields": list(fields),
            "order": "id asc",
            "limit": self._page,
            "context": _CONTEXT,
        }
        reply = self.rpc.call(model, "search_read", named)
        rows = _rows(reply.result)
        last = moved(after, [row["id"] for row in rows])
        return Found(tuple(rows), last, len(rows) >= self._page, reply.at)

    def page(self, domain: Sequence[Any], after: int) -> Found:
        """One page of partners, with all that is read of them."""
        return self.listed(PARTNER, domain, after, self._columns())

    def count(self) -> int | None:
        """How many contacts there are that are not archived."""
        found = self.rpc.call(PARTNER, "search_count", {"domain": [*PEOPLE, ["active", "=", True]]}).result
        return found if isinstance(found, int) else None

    def records(self, rows: Iterable[Mapping[str, Any]]) -> tuple[Record, ...]:
        """The rows as records."""
        codes = self.countries() if COUNTRY in self._names else {}
        types = self.types()
        return tuple(self._tied(row, record(row, self._names, types, codes)) for row in rows)

    def _tied(self, row: Mapping[str, Any], made: Record) -> Record:
        """The record with its one company, where that is read."""
        if not self._employers or PARENT not in row:
            return made
        employer = link(row[PARENT])
        return replace(made, ties={Kind.COMPANY: () if employer is None else (Tie(str(employer[0]), main=True),)})

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The contacts of these ids, archived ones too."""
        asked = [int(i) for i in dict.fromkeys(ids) if is_id(i)]
        return {r.id: r for r in self.records(row for row in self._all("id", asked) if person(row))}

    def there(self, ids: Iterable[str]) -> set[str]:
        """Which of these ids a partner has, of whatever kind."""
        return {str(row["id"]) for row in self._all("id", [int(i) for i in dict.fromkeys(ids) if is_id(i)])}

    def by_email(self, addresses: Iterable[str]) -> list[Record]:
        """The contacts that have one of these addresses and are not archived."""
        return list(self.records(row for row in self.holding(addresses) if person(row)))

    def holding(self, addresses: Iterable[str], *, archived: bool = False) -> list[Mapping[str, Any]]:
        """The partners of whatever kind that have one of these addresses."""
        wanted = [a for a in dict.fromkeys(map(fold, addresses)) if a]
        rows = (row for row in self._all(NORMALIZED, wanted) if address(row) in set(wanted))
        return [row for row in rows if archived or row.get("active") is not False]

    def _all(self, name: str, wanted: Sequence[Any]) -> Iterable[Mapping[str, Any]]:
        return self.having(PARTNER, name, wanted, self._columns(), _EVERY)

    def having(
        self, model: str, name: str, wanted: Sequence[Any], fields: Sequence[str], also: Sequence[Any] = ()
    ) -> Iterable[Mapping[str, Any]]:
        """The rows of a model whose field has one of these values, and for which ``also`` holds."""
        for start in range(0, len(wanted), PAGE):
            after, full = 0, True
            part = list(wanted[start : start + PAGE])
            while full:
                found = self.listed(model, [[name, "in", part], *also, ["id", ">", after]], after, fields)
                yield from found.rows
                after, full = found.last if found.last is not None else after, found.full

    def _columns(self) -> Sequence[str]:
        known = self.facts()
        wanted = [*ALWAYS, *PEOPLE_FIELDS, *sources(self._names), *([PARENT] if self._employers else [])]
        return [name for name in dict.fromkeys(wanted) if name in known and name != "id"]

    # --- writing ------------------------------------------------------------------------------------------------------

    def load(self, external: str, names: Sequence[str], row: Sequence[str]) -> tuple[int | None, str, str]:
        """One row by its External ID: made, or changed where a try before made it.  Its id, or field and message."""
        named = {"fields": ["id", *names], "data": [[f"{MODULE}.{external}", *row]], "context": {"tz": "UTC"}}
        said = self.rpc.call(PARTNER, "load", named, safe=False, unsaid=row).result
        ids = said.get("ids") if isinstance(said, Mapping) else None
        if isinstance(ids, list) and len(ids) == 1 and isinstance(ids[0], int):
            return ids[0], "", ""
        told = said.get("messages") if isinstance(said, Mapping) else None
        first = next((m for m in told if isinstance(m, Mapping)), None) if isinstance(told, list) else None
        if first is None:
            raise TryLater("odoo: load answers neither an id nor a reason", landed=True)
        return None, str(first.get("field", "")), str(first.get("message", ""))

    def write(self, id_: str, vals: Mapping[str, Any]) -> None:
        """Change what the values name."""
        self.rpc.call(PARTNER, "write", {"vals": vals}, ids=[int(id_)], unsaid=set(values(vals)))

    def post(self, id_: str, text: str) -> int:
        """An internal note on the partner, of which nobody is told by mail; its id."""
        said = {"body": text, "message_type": "comment", "subtype_xmlid": "mail.mt_note"}
        found = self.rpc.call(PARTNER, "message_post", said, ids=[int(id_)], safe=False, unsaid=[text]).result
        made = found[0] if isinstance(found, list) and len(found) == 1 else found  # a number before Odoo 19
        if not isinstance(made, int) or isinstance(made, bool):
            raise TryLater("odoo: the answer to a note is no message", landed=True)
        return made

    def remove(self, id_: str) -> None:
        """Delete for good.  Refused with code ``linked`` or ``refused`` where other documents rest on the partner."""
        self.rpc.call(PARTNER, "unlink", {}, ids=[int(id_)])

    # --- the blacklist ------------------------------------------------------------------------------------------------

    def object_to(self, mail: str) -> None:
        """Put the address on the blacklist; may be said twice."""
        rows = self._entries(mail)
        if not rows:
            self.rpc.call(BLACKLIST, "create", {"vals_list": [{"email": mail}]})
        if idle := [row["id"] for row in rows if row.get("active") is not True]:
            self.rpc.call(BLACKLIST, "write", {"vals": {"active": True}}, ids=idle)

    def allow(self, mail: str) -> None:
        """Take the address off the blacklist."""
        if ids := [row["id"] for row in self._entries(mail) if row.get("active") is not False]:
            self.rpc.call(BLACKLIST, "write", {"vals": {"active": False}}, ids=ids)

    def _entries(self, mail: str) -> list[Mapping[str, Any]]:
        named = {"domain": [["email", "=", mail]], "fields": ["email", "active"], "context": _CONTEXT}
        return [
            row
            for row in _rows(self.rpc.call(BLACKLIST, "search_read", named).result)
            if fold(row.get("email")) == mail
        ]


def _described(about: object) -> bool:
    return isinstance(about, Mapping) and isinstance(about.get("type"), str)


def _rows(found: object) -> list[Mapping[str, Any]]:
    """The rows of a list.  TryLater for what is none."""
    if not isinstance(found, list) or not all(isinstance(r, Mapping) and isinstance(r.get("id"), int) for r in found):
        raise TryLater("odoo: the answer is no list of records")
    return found
