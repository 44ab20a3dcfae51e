"""HubSpot by example: what stands around contacts, answered by the simulator's objects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors.contract import Act, Doing, Ending, Ref
from sandbox.hubspot_objects import NAMES, Objects
from sandbox.hubspot_rules import HubSpotError
from tests.stage import COLLEAGUE, COMPANY, Around

_AT = "2026-02-03T04:05:06Z"
_MOMENT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def around_answer(
    objects: Objects, owners: Sequence[dict[str, Any]], method: str, path: str, body: Any
) -> httpx.Response | None:
    """The answer to a call that is not about contacts; None for one that is."""
    if path == "/crm/v3/owners":
        start = int(body.get("after", 0))
        answer: dict[str, Any] = {"results": owners[start : start + 1]}
        if len(owners) > start + 1:
            answer["paging"] = {"next": {"after": str(start + 1)}}
        return httpx.Response(200, json=answer)
    parts = path.strip("/").split("/")
    try:
        if parts[:3] == ["crm", "v4", "associations"]:
            status, said = objects.associations(parts[3], parts[4], body)
            return httpx.Response(status, json=said)
        if parts[:3] == ["crm", "v3", "objects"] and parts[3] in NAMES:
            tail = "/".join(parts[4:])
            if method == "GET":
                return httpx.Response(200, json=objects.show(parts[3], objects.number(tail, parts[3]), []))
            call = {"search": objects.search, "batch/read": objects.batch_read, "": objects.create}[tail]
            status, said = call(parts[3], body)
            return httpx.Response(status, json=said)
    except HubSpotError as error:
        return httpx.Response(error.status, json=error.body())
    return None


def around(vendor: Any) -> Around:
    """A company, a deal, an owner, and what was done."""
    objects: Objects = vendor.objects
    first, second = (int(i) for i in vendor.ids[:2])
    company = objects.put("companies", {"name": COMPANY, "domain": "suite.example"})
    objects.put("companies", {"name": "Other"})
    objects.associate(("contacts", first), ("companies", company), main=True)
    objects.associate(("contacts", second), ("companies", company))
    deal = objects.put("deals", {"dealname": "Big"})
    objects.associate(("deals", deal), ("contacts", first))
    objects.associate(("deals", deal), ("companies", company), main=True)
    vendor.owners += [
        {"id": "71", "email": "old@suite.example", "firstName": "", "lastName": "", "archived": False},
        {"id": "72", "email": COLLEAGUE, "firstName": "Kim", "lastName": "Doe", "archived": False, "teams": []},
    ]
    said = {"hs_timestamp": _AT, "hubspot_owner_id": "72"}

    def did(name: str, **properties: str) -> str:
        _, row = objects.create(name, {"properties": {**said, **properties}, "associations": []})
        for id_ in (first, second) if name == "meetings" else (first,):
            objects.associate((name, int(row["id"])), ("contacts", id_))
        return f"{name}:{row['id']}:"

    call = did("calls", hs_call_direction="OUTBOUND", hs_call_disposition="73a0d17f-1163-4015-bdd5-ec830791da20")
    back = did("calls", hs_call_direction="INBOUND", hs_call_status="COMPLETED")
    meeting = did(
        "meetings",
        hs_meeting_title="Demo",
        hs_meeting_outcome="SCHEDULED",
        hs_meeting_start_time="2026-02-04T04:05:06Z",
    )
    mail = did("emails", hs_email_direction="EMAIL", hs_email_status="SENT", hs_email_subject="Hello")
    did("notes", hs_note_body="Clicked (Tandem 0123456789abcdef)")
    task = did("tasks", hs_task_status="NOT_STARTED")
    by, one, two = Ref("72"), Ref(str(first)), Ref(str(second))
    later = _MOMENT + timedelta(days=1)
    acts = (
        Act(f"{call}{first}", one, Doing.CALL, _MOMENT, True, by, channel="phone", outcome=Ending.NO_ANSWER),
        Act(f"{back}{first}", one, Doing.REPLY, _MOMENT, True, by, channel="phone", outcome=Ending.HELD),
        *(
            Act(
                f"{meeting}{who.value}",
                who,
                Doing.MEETING,
                later,
                True,
                by,
                channel="meeting",
                outcome=Ending.PLANNED,
                detail={"title": "Demo"},
            )
            for who in (one, two)
        ),
        Act(
            f"{mail}{first}",
            one,
            Doing.MAIL,
            _MOMENT,
            None,
            by,
            channel="email",
            outcome=Ending.SENT,
            detail={"title": "Hello"},
        ),
        Act(f"{task}{first}", one, Doing.TASK, _MOMENT, None, by, outcome=Ending.OPEN),
    )
    return Around(
        company=str(company),
        deal=str(deal),
        colleague="72",
        acts=acts,
        later=lambda: f"{did('notes', hs_note_body='Asked for a price')}{first}",
    )


def notes(vendor: Any, id_: str) -> list[str]:
    """The texts on a contact's timeline."""
    objects: Objects = vendor.objects
    keys = [key[1] for key in objects.ties.get(("contacts", int(id_)), {}) if key[0] == "notes"]
    return [objects.rows["notes"][i]["properties"]["hs_note_body"] for i in keys]
