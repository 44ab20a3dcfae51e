"""What one more event of a lead costs does not grow with the store: its own rows are read, by its own number."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.agreement import gathering
from app.core.db import Database
from app.records import scores


@pytest.fixture
def plans(database: Database) -> Any:
    """What SQLite does for each statement that a call makes."""
    if database.dialect != "sqlite":
        pytest.skip("reads SQLite's query plans")

    def of(call: Any) -> list[str]:
        said: list[tuple[str, Any]] = []

        def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
            if statement.startswith("SELECT"):
                said.append((statement, parameters))

        event.listen(Engine, "before_cursor_execute", listen)
        try:
            with database.read() as db:
                call(db)
        finally:
            event.remove(Engine, "before_cursor_execute", listen)
        with database.read() as db:
            return [
                row[3]
                for statement, parameters in said
                for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]

    return of


@pytest.mark.parametrize(
    "call",
    [lambda db: scores.deals_of(db, [5]), lambda db: gathering._deals(db, {5: 5}, {5: []})],
    ids=["for the scorecard", "for the stages"],
)
def test_the_deals_of_a_lead_are_found_by_the_lead(plans: Any, call: Any) -> None:
    """Not by looking at all deals: "is not null" in the statement makes SQLite do that."""
    assert [plan for plan in plans(call) if "belonging" in plan] == [
        "SEARCH belonging USING INDEX ix_belonging_contact (contact_id=? AND kind=?)"
    ]
