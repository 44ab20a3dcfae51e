"""Acme's connector, broken in what it tells of companies, deals, colleagues and acts.  See ``saboteurs``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from connectors.contract import Act, ActPage, Kind, Note, Page, Receipt, Record, Refused, Tie, TryLater
from tests.acme import Acme
from tests.saboteurs import breaks


@breaks("a_company_is_told_with_who_belongs_to_it", "a_deal_is_told_with_its_company_and_people")
class TiesNobody(Acme):
    def other(self, kind: Kind, row: Mapping[str, Any]) -> Record:
        return replace(super().other(kind, row), ties={})


@breaks("a_company_is_told_with_who_belongs_to_it", "a_deal_is_told_with_its_company_and_people")
class TellsNoMain(Acme):
    def tie(self, row: Mapping[str, Any]) -> Tie:
        return replace(super().tie(row), main=False)


@breaks("a_company_is_told_with_who_belongs_to_it")
class WalksOnePage(Acme):
    def changed(self, kind: Kind, cursor: str | None) -> Page:
        page = super().changed(kind, cursor)
        return replace(page, records=page.records if cursor is None else ())


@breaks("companies_name_the_next_step")
class TakesNoCompaniesForNone(Acme):
    def others(self, kind: Kind, params: Mapping[str, str]) -> Any:
        try:
            return super().others(kind, params)
        except (TryLater, Refused):
            return {"items": [], "more": False}


@breaks("the_directory_is_told_in_plain_words")
class TellsVendorWords(Acme):
    def other(self, kind: Kind, row: Mapping[str, Any]) -> Record:
        found = super().other(kind, row)
        if kind is Kind.COLLEAGUE:
            return replace(found, fields={"mail": row["email"], "email": None, "name": row["name"], "active": True})
        return found


@breaks("acts_are_told_whole")
class NamesActsAnew(Acme):
    def act(self, row: Mapping[str, Any]) -> Act:
        return replace(super().act(row), id=uuid.uuid4().hex)


@breaks("acts_are_told_whole")
class TakesMachinesForPeople(Acme):
    def act(self, row: Mapping[str, Any]) -> Act:
        return replace(super().act(row), human=True)


@breaks("acts_are_told_whole")
class LosesTheZone(Acme):
    def time(self, text: str) -> datetime:
        return super().time(text).replace(tzinfo=None)


@breaks("acts_go_on_with_what_happens_later")
class TellsActsOnce(Acme):
    def acts(self, cursor: str | None) -> ActPage:
        page = super().acts(cursor)
        return page if page.more or cursor == "" else replace(page, cursor="z")


@breaks("acts_name_the_next_step")
class TakesNoActsForNone(Acme):
    def acts(self, cursor: str | None) -> ActPage:
        try:
            return super().acts(cursor)
        except (TryLater, Refused):
            return ActPage((), "", more=False)


@breaks("a_note_is_written_once")
class NotesTwice(Acme):
    def note_key(self, note: Note) -> str:
        return f"{note.key} {note.again}"


@breaks("a_note_names_its_next_step")
class NotesOrRaises(Acme):
    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        self._http.json(self._http.send("GET", "/me"))
        return super().note(notes)
