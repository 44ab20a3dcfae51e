"""The endpoints of Mautic's API.  In: ids, addresses, bodies.  Out: records, or the answer of a write.

All requests of the connector go through ``Contacts.send``.  A call on one id follows a merge: it reads, changes and
deletes the contact that the id lives on in.  Lists and batches do not, so these are used wherever the difference
counts, and the single read where it is wanted.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/contacts.rst``, ``stats.rst``, ``webhooks.rst``;
github.com/mautic/mautic at 24271492, ``LeadBundle/Model/LeadModel.php`` (merged ids), ``ApiBundle/Controller/
CommonApiController.php`` (batches), ``CoreBundle/Entity/CommonRepository.php`` (conditions).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx

from connectors._http import Http
from connectors._mautic_login import Login
from connectors._mautic_walk import Where, moved
from connectors._mautic_wire import EMAIL, alike, clock, fold, is_id, number, record, rows, unique
from connectors._receipts import together
from connectors.contract import Record, TryLater

CONCURRENCY: Final = 4  # none is published; a small installation answered two calls a second to four; ours
PAGE: Final = 100  # rows of one list; none is published, a contact takes some 5 KB; ours
COMMENT: Final = "Told by Tandem"  # stands beside our objections in Mautic
BATCH: Final = 100  # ids in one condition: keeps the URL below the 8 KB that web servers take; ours
_ROOM: Final = 3_500  # characters of values in one condition, for the same reason

_KNOWN: Final = "!is:anonymous"  # visitors whom nobody knows live in the same table
_MISSED: Final = frozenset({403, 404})


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list.  ``full``: there may be more.  ``at``: the server's clock.  ``total``: how many in all."""

    rows: tuple[Mapping[str, Any], ...]
    last: int | None
    full: bool
    at: datetime | None
    total: int | None


class Contacts:
    """The contacts of one installation."""

    def __init__(self, http: Http, login: Login, *, secrets: Collection[str] = ()) -> None:
        """See the module.  ``secrets``: what no error may repeat."""
        self._http = http
        self._login = login
        self.secrets = frozenset(secrets)
        self._unique: Collection[str] | None = None
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        take: Collection[int] = (),
        safe: bool | None = None,
    ) -> httpx.Response:
        """As ``Http.send``, with a token where one is needed; an expired one is replaced once."""
        own = self._login.headers()
        more = {401} if self._login.renews else set()
        response = self._http.send(method, path, params=params, json=json, headers=own, take={*take, *more}, safe=safe)
        if response.status_code != 401 or not more:
            return response
        self._login.expired(own)
        own = self._login.headers()
        return self._http.send(method, path, params=params, json=json, headers=own, take=take, safe=safe)

    def ask(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a GET answers."""
        return self._http.json(self.send("GET", path, params=params))

    def json(self, response: httpx.Response) -> Any:
        """The body of an answer."""
        return self._http.json(response)

    # --- reading ------------------------------------------------------------------------------------------------------

    def page(self, where: Sequence[Where], after: int, *, known: bool = False, size: int = PAGE) -> Found:
        """One page of contacts, upwards from an id.  ``known``: without visitors whom nobody knows."""
        return self.listed("contacts", where, after, size, {"search": _KNOWN} if known else {})

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of these ids that are of contacts who are known, not of mere visitors."""
        asked = sorted({i for i in ids if is_id(i)}, key=int)
        found: set[str] = set()
        for start in range(0, len(asked), BATCH):
            where = [("id", "in", ",".join(asked[start : start + BATCH]))]
            rows_ = self.listed("contacts", where, 0, BATCH, {"search": _KNOWN, "minimal": 1}).rows
            found |= {str(number(row, "id")) for row in rows_}
        return found.intersection(asked)

    def listed(
        self, name: str, where: Sequence[Where], after: int, size: int = PAGE, also: Mapping[str, Any] | None = None
    ) -> Found:
        """One page of a collection, upwards from an id."""
        params: dict[str, Any] = {"start": 0, "limit": size, "orderBy": "id", "orderByDir": "asc"}
        params |= {**(also if also is not None else {}), **conditions([*where, *_above(after)])}
        response = self.send("GET", f"/{name}", params=params)
        return self._found(response, self._http.json(response), name, after, size)

    def stats(
        self, table: str, where: Sequence[Where], after: int, *, size: int = PAGE, key: str = "id"
    ) -> Found | None:
        """One page of a table of statistics, upwards from an id; None where the user may not see it.

        ``key``: the column to go by where the table has no number of its own; of one value all rows are in one page.

        Mautic answers a table that is not there, or not for this user, with 200 and no rows.
        """
        params: dict[str, Any] = {"start": 0, "limit": size, "order[0][col]": key, "order[0][dir]": "asc"}
        params |= conditions([*where, *_above(after, key)])
        response = self.send("GET", f"/stats/{table}", params=params, take=_MISSED)
        body = None if response.status_code in _MISSED else self._http.json(response)
        if body is None or (isinstance(body, Mapping) and "stats" not in body and body.keys() & _NO_ROWS):
            return None
        return self._found(response, body, "stats", after, size, key)

    def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The contacts of these ids themselves; merged ones are left out."""
        asked = list(dict.fromkeys(i for i in ids if is_id(i)))
        found: dict[str, Record] = {}
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            for row in self._all([("id", "in", ",".join(part))]):
                one = record(row)
                if one.id in part:
                    found[one.id] = one
        return found

    def follow(self, ids: Sequence[str]) -> list[Record]:
        """The contacts that these ids live on in, where they were merged; those that lead nowhere are left out."""
        return [one for one in together(self._followed, ids, CONCURRENCY) if one is not None]

    def _followed(self, id_: str) -> Record | None:
        response = self.send("GET", f"/contacts/{id_}", take={404})
        if response.status_code == 404:
            return None
        body = self._http.json(response)
        return record(body.get("contact") if isinstance(body, Mapping) else None, asked=id_)

    def by_email(self, values: Iterable[str]) -> list[Record]:
        """The contacts with one of these addresses.  Case does not count."""
        wanted = {a for a in map(fold, values) if a}
        return [one for one in self.holding(EMAIL, sorted(wanted)) if fold(one.fields.get(EMAIL)) in wanted]

    def holding(self, field: str, values: Sequence[str]) -> list[Record]:
        """The contacts that Mautic takes for holders of one of these values; it takes é for e.

        Who shows none of them is left out: a server that ignores the condition answers everybody.
        """
        found: dict[str, Record] = {}
        for part in _portions(values):
            like = {alike(value) for value in part}
            quoted = ",".join('"' + value.replace('"', '""') + '"' for value in part)
            for row in self._all([(field, "in", quoted)]):
                one = record(row)
                if alike(one.fields.get(field)) in like:
                    found[one.id] = one
        return list(found.values())

    def definitions(self, of: str = "contact") -> list[Mapping[str, Any]]:
        """The fields of contacts or companies, all of them."""
        return self._every(f"/fields/{of}", "fields")

    def unique(self) -> Collection[str]:
        """The fields by which Mautic takes two contacts for one; asked once, since an administrator rarely adds one."""
        with self._lock:
            if self._unique is None:
                self._unique = unique(self.definitions())
            return self._unique

    def _all(self, where: Sequence[Where]) -> Iterator[Mapping[str, Any]]:
        """All that match, page by page, by id."""
        after = 0
        while True:
            found = self.page(where, after)
            yield from found.rows
            if not found.full or found.last is None:
                return
            after = found.last

    def _every(self, path: str, name: str) -> list[Mapping[str, Any]]:
        """A short collection whole, by offset."""
        every: list[Mapping[str, Any]] = []
        while True:
            params = {"start": len(every), "limit": PAGE, "orderBy": "id", "orderByDir": "asc"}
            part = rows(self.ask(path, params), name)
            every += part
            if len(part) < PAGE:
                return every

    def _found(self, response: httpx.Response, body: Any, name: str, after: int, size: int, key: str = "id") -> Found:
        found = rows(body, name)
        ids = [i for row in found if (i := number(row, key)) is not None]
        if len(ids) < len(found):
            raise TryLater(f"mautic: {name} without {key}")
        full = len(found) >= size
        if key != "id":
            if full and ids[-1] != ids[0]:  # more rows of the last one may come: they are of the next page
                found = [row for row, i in zip(found, ids, strict=True) if i != ids[-1]]
                ids = [i for i in ids if i != ids[-1]]
            ids = list(dict.fromkeys(ids))
        return Found(tuple(found), moved(after, ids), full, clock(response), number(body, "total"))

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, bodies: Sequence[Mapping[str, Any]]) -> Any:
        """New contacts, one answer for all.  Who is there already by a unique field is changed: look first."""
        return self._answer(self.send("POST", "/contacts/batch/new", json=list(bodies)))

    def update(self, bodies: Sequence[Mapping[str, Any]]) -> Any:
        """Change contacts, each body with its ``id``; may be sent twice."""
        return self._answer(self.send("PATCH", "/contacts/batch/edit", json=list(bodies), safe=True))

    def object_to(self, id_: str, channel: str, reason: int) -> httpx.Response:
        """Set do-not-contact by its own call."""
        path = f"/contacts/{id_}/dnc/{channel}/add"
        return self.send("POST", path, json={"reason": reason, "comments": COMMENT}, take={400, 404}, safe=True)

    def remove(self, id_: str) -> httpx.Response:
        """For good.  Of a merged id it would delete the contact that the id lives on in: look first."""
        return self.send("DELETE", f"/contacts/{id_}/delete", take={400, 403, 404, 409, 422}, safe=True)

    def _answer(self, response: httpx.Response) -> Any:
        body = self._http.json(response)
        if not isinstance(body, Mapping) or "statusCodes" not in body:
            raise TryLater("mautic: the answer to a batch names no status", landed=True)
        return body

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def hooks(self) -> list[Mapping[str, Any]]:
        """All webhooks that the user may see."""
        return self._every("/hooks", "hooks")

    def save_hook(self, id_: str | None, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a webhook, or change one."""
        if id_ is None:
            answer = self._http.json(self.send("POST", "/hooks/new", json=body))
        else:
            answer = self._http.json(self.send("PATCH", f"/hooks/{id_}/edit", json=body, safe=True))
        made = answer.get("hook") if isinstance(answer, Mapping) else None
        if not isinstance(made, Mapping):
            raise TryLater("mautic: the answer is no webhook", landed=id_ is None)
        return made

    def drop_hook(self, id_: str) -> None:
        """Remove a webhook; one that is not there is removed already."""
        self.send("DELETE", f"/hooks/{id_}/delete", take={404}, safe=True)

    def who(self) -> tuple[str, str]:
        """The user's name and Mautic's version, each empty where it is not told."""
        response = self.send("GET", "/users/self", take=_MISSED)
        body = {} if response.status_code in _MISSED else self._http.json(response)
        name = body.get("username") if isinstance(body, Mapping) else None
        version = response.headers.get("mautic-version", "")
        return (name if isinstance(name, str) else ""), version[:20]


_NO_ROWS: Final = frozenset({"errors", "availableTables", "error"})


def conditions(where: Sequence[Where], at: str = "where") -> dict[str, Any]:
    """Conditions as PHP reads them from a query."""
    found: dict[str, Any] = {}
    for place, (column, expression, value) in enumerate(where):
        here = f"{at}[{place}]"
        if column:
            found[f"{here}[col]"] = column
        found[f"{here}[expr]"] = expression
        if isinstance(value, list):
            found |= conditions(value, f"{here}[val]")
        else:
            found[f"{here}[val]"] = value
    return found


def _above(after: int, key: str = "id") -> list[Where]:
    return [(key, "gt", after)] if after else []


def _portions(values: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    room = _ROOM
    for value in values:
        cost = len(value.encode()) * 3 + 9  # percent-encoded, with its quotes and its comma
        if part and (cost > room or len(part) >= BATCH):
            yield part
            part, room = [], _ROOM
        part.append(value)
        room -= cost
    if part:
        yield part
