"""HubSpot's batch calls on contacts.  In: a body.  Out: (status, answer): complete, in part (207), or an error for all.

Sources: developers.hubspot.com, "CRM API | Contacts" and "Error handling" (multi-status errors; mirror of April 2026);
github.com/HubSpot/hubspot-api-nodejs/issues/548 (no batch update by e-mail).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.hubspot_rules import EMAIL, ID, HubSpotError, bad, exists, iso
from sandbox.hubspot_store import Contact, Portal

BATCH = 100  # inputs of a call
_TRACE = "objectWriteTraceId"
_MISSING = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."

_Input = Mapping[str, Any]
Answer = tuple[int, dict[str, Any] | None]


class Batch:
    """The batch calls of one account."""

    def __init__(self, portal: Portal, now: Callable[[], int]) -> None:
        """``now``: milliseconds since 1970."""
        self._portal = portal
        self._now = now
        self.calls: dict[str, Callable[[list[_Input], _Input, str], Answer]] = {
            "read": self.read,
            "create": self.create,
            "update": self.update,
            "upsert": self.upsert,
            "archive": self.archive,
        }

    def read(self, inputs: list[_Input], body: _Input, _source: str) -> Answer:
        """By id, or by a unique property.  What is not there makes the answer a 207."""
        key = str(body.get("idProperty") or ID)
        names, histories = body.get("properties") or None, body.get("propertiesWithHistory") or []
        found: dict[int, Contact] = {}
        missing: list[str] = []
        for given in inputs:
            wanted = str(given["id"])
            contact = self._portal.by_key(key, wanted)
            if contact is None:
                missing.append(wanted)
            else:
                found[contact.id] = contact
        errors = [_gone(missing, [])] if missing else []
        return self._answer(200, [self._portal.show(c, names, histories) for c in found.values()], errors)

    def create(self, inputs: list[_Input], _body: _Input, source: str) -> Answer:
        """All or, if every input has a trace id of its own, each for itself."""
        if not _traced(inputs):
            # The first error fails the whole batch, so nothing is made before all were checked.
            checked = [self._portal.check(given.get("properties")) for given in inputs]
            seen: set[str] = set()
            for values in checked:
                if (email := values.get(EMAIL)) is not None:
                    if email in seen:
                        raise HubSpotError(409, "CONFLICT", "Contact already exists.")
                    seen.add(email)
            made = [self._portal.create(values, source) for values in checked]
            return self._answer(201, [self._shown(c, g) for c, g in zip(made, inputs, strict=True)], [])
        results: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for given in inputs:
            try:
                contact = self._portal.create(self._portal.check(given.get("properties")), source)
            except HubSpotError as error:
                errors.append(error.entry({_TRACE: [given[_TRACE]]}))
            else:
                results.append(self._shown(contact, given))
        return self._answer(201, results, errors)

    def update(self, inputs: list[_Input], _body: _Input, source: str) -> Answer:
        """By record id or a custom unique property.  An invalid value fails the batch, a missing record only itself."""
        planned: list[tuple[_Input, Contact, dict[str, str]]] = []
        missing: list[_Input] = []
        for given in inputs:
            contact = self._of(given)
            if contact is None:
                missing.append(given)
            else:
                planned.append((given, contact, self._portal.clean_update(contact, given.get("properties"))))
        ids = [contact.id for _, contact, _ in planned]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise bad(f"Duplicate IDs found in batch input: {twice}")
        taken: dict[str, int] = {}
        for _, contact, values in planned:
            if (email := values.get(EMAIL)) and taken.setdefault(email, contact.id) != contact.id:
                raise exists(taken[email])
        for _, contact, values in planned:
            self._portal.update(contact, values, source)
        traces = [str(given[_TRACE]) for given in missing if _TRACE in given]
        errors = [_gone([str(given["id"]) for given in missing], traces)] if missing else []
        return self._answer(200, [self._shown(contact, given) for given, contact, _ in planned], errors)

    def upsert(self, inputs: list[_Input], _body: _Input, source: str) -> Answer:
        """By a unique property: update, or create with that value."""
        named = [(str(given.get("idProperty")), str(given["id"]).lower()) for given in inputs]
        if len(set(named)) < len(named):
            raise bad("Duplicate IDs found in batch input")
        traced = _traced(inputs)
        results: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        if not traced:
            for given in inputs:  # the first error fails the whole batch
                self._upsert(given, source, dry=True)
        for given in inputs:
            try:
                results.append(self._upsert(given, source))
            except HubSpotError as error:
                if not traced:
                    raise
                errors.append(error.entry({_TRACE: [given[_TRACE]]}))
        return self._answer(200, results, errors)

    def archive(self, inputs: list[_Input], _body: _Input, source: str) -> Answer:
        """No word on which ids were known."""
        for given in inputs:
            if (contact := self._portal.exact(str(given["id"]))) is not None:
                self._portal.archive(contact, source)
        return 204, None

    def _upsert(self, given: _Input, source: str, *, dry: bool = False) -> dict[str, Any]:
        key, value, properties = given.get("idProperty"), str(given["id"]), given.get("properties")
        if not isinstance(key, str) or not isinstance(properties, Mapping):
            raise bad("Unable to perform upsert without an idProperty and properties")
        if key == ID:
            raise bad("Unable to perform upsert by record id")
        contact = self._portal.by_key(key, value)
        if contact is None:
            values = self._portal.check({key: value, **properties})
            if dry:
                return {}
            contact, new = self._portal.create(values, source), True
        else:
            values, new = self._portal.clean_update(contact, properties), False
            if dry:
                return {}
            self._portal.update(contact, values, source)
        return {**self._shown(contact, given), "new": new}

    def _of(self, given: _Input) -> Contact | None:
        key = given.get("idProperty") or ID
        if key != ID and not (key in self._portal.schema and self._portal.schema[key].unique):
            raise bad("Unable to perform update/upsert by non-unique 0-1 property")
        return self._portal.by_key(str(key), str(given["id"]))

    def _shown(self, contact: Contact, given: _Input) -> dict[str, Any]:
        row = self._portal.show(contact, [*given["properties"], EMAIL])
        return {**row, _TRACE: given[_TRACE]} if _TRACE in given else row

    def _answer(self, status: int, results: list[dict[str, Any]], errors: list[dict[str, Any]]) -> Answer:
        now = iso(self._now())
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
        if errors:
            return 207, {**answer, "numErrors": len(errors), "errors": errors}
        return status, answer


def inputs_of(body: object, verb: str) -> list[_Input]:
    """The inputs of a batch call.  Raises 400 where there are too many, or one is no input."""
    given = body.get("inputs") if isinstance(body, Mapping) else None
    if not isinstance(given, list) or not all(isinstance(i, Mapping) for i in given):
        raise bad("Some required fields were not set: [inputs]")
    if len(given) > BATCH:
        raise bad(f"The batch has {len(given)} inputs; at most {BATCH} are allowed")
    needed = "properties" if verb == "create" else "id"
    if any(needed not in i for i in given):
        raise bad(f"Some required fields were not set: [{needed}]")
    return given


def _traced(inputs: list[_Input]) -> bool:
    traces = [i.get(_TRACE) for i in inputs]
    return all(isinstance(t, str) and t for t in traces) and len(set(traces)) == len(traces)


def _gone(ids: list[str], traces: list[str]) -> dict[str, Any]:
    context = {"ids": ids} | ({_TRACE: traces} if traces else {})
    return HubSpotError(404, "OBJECT_NOT_FOUND", _MISSING).entry(context)
