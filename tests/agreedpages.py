"""The pages of the agreement on a small store of invented leads, and what stands on a page as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx

from app.console.pages import console
from app.core import tables as t
from app.core.db import Database
from app.ops.problems import MEDIA_TYPE
from tests.agreed import DAY, SHIPPED
from tests.apihelp import Api, add
from tests.scoring import NOBODY, NOW, Store, invented

PEOPLE = 60
DAYS = "since=2025-01-01&until=2026-10-31"


class Tables(HTMLParser):
    """Every table of a page: its rows, each a list of cells' texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[list[list[str]]] = []
        self._cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.all.append([])
        elif tag == "tr":
            self.all[-1].append([])
        elif tag in {"td", "th"}:
            self.all[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._cell:
            row = self.all[-1][-1]
            row[-1] = re.sub(r"\s+", " ", row[-1] + data).strip(" ") + (" " if data[-1:].isspace() else "")


def table(page: str, *heads: str) -> list[list[str]]:
    """The rows of the one table whose head begins with these words, without the head."""
    found = [t for t in Tables(page).all if [c.strip() for c in t[0]][: len(heads)] == list(heads)]
    assert len(found) == 1, f"{len(found)} tables with {heads}"
    return [[cell.strip() for cell in row] for row in found[0][1:]]


def figures(page: str) -> dict[str, str]:
    """The large figures of a page, without their notes."""
    pairs = re.findall(r'<div class="figure"><dt>(.*?)</dt><dd>(.*?)(?: <small>.*?</small>)?</dd>', page)
    return dict(pairs)


class Pages:
    """A console over a store.  ``draft``: the file of the agreement."""

    def __init__(self, database: Database, draft: Path, connections: Any = NOBODY) -> None:
        self.draft = draft
        self.api = Api(database, connections)
        self.api.app.include_router(
            console(database, self.api.connections, demo=False, wake=self.api._wake, agreement=draft)
        )

    def get(self, path: str, expected: int = 200) -> str:
        """A page."""
        answer = self.api("GET", f"/console/{path}")
        return self._html(answer, expected)

    def post(self, path: str, expected: int = 303, **fields: str) -> httpx.Response:
        """Send a form."""
        answer = self.api("POST", f"/console/{path}", data=fields)
        self._html(answer, expected)
        return answer

    def _html(self, answer: httpx.Response, expected: int) -> str:
        assert answer.status_code == expected, f"{answer.status_code}: {answer.text[-1500:]}"
        assert answer.headers.get("content-type", "") != MEDIA_TYPE
        return answer.text


@contextmanager
def leading(folder: Path, people: int = PEOPLE) -> Iterator[tuple[Pages, Store]]:
    """Pages over so many invented leads, judged by the shipped agreement, which both have signed."""
    database = Database(f"sqlite:///{folder / 'tandem.db'}")
    store = Store(database)
    store.enter(list(invented(people)))
    enrolled = {"programme": "warm_up", "round": 1, "why": "lead stage: prospect", "version": "v", "stored_at": NOW}
    rows = [{**enrolled, "contact_id": n, "enrolled_at": NOW - n * DAY, "held_out": n % 2} for n in range(1, 9)]
    add(database, t.programme_member, *rows)
    draft = folder / "agreement.yaml"
    draft.write_text(SHIPPED.read_text(encoding="utf-8"), encoding="utf-8")
    yield Pages(database, draft), store
    database.close()
