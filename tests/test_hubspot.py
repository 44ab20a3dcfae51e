"""Reading from HubSpot: records, addresses, the walk over changes, settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from connectors import _hubspot_walk as walk
from connectors.contract import (
    Kind,
    Record,
    Refused,
    TryLater,
)
from connectors.hubspot import HubSpot
from tests.examples.hubspot import NOW, TOKEN, FakeHubSpot, connect, mocked, ms


@pytest.fixture
def api() -> FakeHubSpot:
    return mocked()


@pytest.fixture
def hubspot(api: FakeHubSpot) -> HubSpot:
    return connect(api.transport)


def test_read_gives_records_in_hubspots_words(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Text stays text, a property without a value is None, times are aware, the archived and unknown are left out."""
    api.add(1, 1735689600123, email="a@example.com", firstname="", lastname=None, hs_merged_object_ids="77;78")
    api.add(2, archived=True)
    (found,) = hubspot.read(Kind.CONTACT, ["1", "2", "3", "1", "not-an-id"])
    assert found.id == "1"
    assert found.fields["email"] == "a@example.com"
    assert found.fields["firstname"] is None
    assert found.fields["lastname"] is None
    assert found.modified == datetime(2025, 1, 1, 0, 0, 0, 123_000, UTC)
    assert found.former_ids == ("77", "78")
    asked = api.calls[0][2]["properties"]
    assert set(asked) >= {"email", "hs_additional_emails", "lastmodifieddate", "hs_merged_object_ids", "jobtitle"}


def test_read_follows_merged_ids(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """An id that was merged away is answered by its winner, which then lists it, whether or not HubSpot lists it."""
    api.add(1, email="a@example.com")
    api.add(5, email="e@example.com", hs_merged_object_ids="4")
    api.merged |= {"2": "1", "3": "1", "4": "5"}
    found = {r.id: r for r in hubspot.read(Kind.CONTACT, ["2", "3", "5", "4", "99"])}
    assert set(found) == {"1", "5"}
    assert set(found["1"].former_ids) == {"2", "3"}
    assert found["1"].fields["email"] == "a@example.com"
    assert found["5"].former_ids == ("4",)
    assert "GET /4" not in api.paths()  # known from the list already


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["A@Example.com"], {"1"}),
        (["second@example.com"], {"1"}),
        (["SECOND@example.com", "a@example.com", "b@example.com", " "], {"1", "2"}),
        (["nobody@example.com"], set()),
        (["archived@example.com"], set()),
    ],
)
def test_find_by_any_address(api: FakeHubSpot, hubspot: HubSpot, asked: list[str], expected: set[str]) -> None:
    """Primary and secondary addresses find their contact, in any case, once."""
    api.add(1, email="a@example.com", hs_additional_emails="third@example.com;second@example.com")
    api.add(2, email="b@example.com")
    api.add(3, email="archived@example.com", archived=True)
    assert sorted(r.id for r in hubspot.find(Kind.CONTACT, "email", asked)) == sorted(expected)


def test_find_keeps_searches_short(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A hundred unknown addresses are searched in bodies below 3,000 characters."""
    hubspot.find(Kind.CONTACT, "email", [f"somebody.with.a.long.name.{i}@subdomain.example.com" for i in range(100)])
    searches = [body for _, path, body in api.calls if path.endswith("/search")]
    assert 2 <= len(searches) <= 4
    assert sum(len(s["filterGroups"][0]["filters"][0]["values"]) for s in searches) == 100


def pages(hubspot: HubSpot, cursor: str | None, limit: int = 500) -> tuple[list[Record], str]:
    """All records up to the end of this poll, and its cursor."""
    found: list[Record] = []
    for _ in range(limit):
        page = hubspot.changed(Kind.CONTACT, cursor)
        found += page.records
        cursor = page.cursor
        if not page.more:
            return found, cursor
    raise AssertionError("the walk does not end")


def test_the_first_walk_lists_everything(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Without a cursor all contacts come once, with the total, without paging a search."""
    for i in range(1, 251):
        api.add(i, ms(NOW) - 1_000_000 + i)
    api.add(900, archived=True)
    first = hubspot.changed(Kind.CONTACT, None)
    assert first.total == 250
    rest, _ = pages(hubspot, first.cursor)
    assert [r.id for r in (*first.records, *rest)] == [str(i) for i in range(1, 251)]
    assert sum(path.endswith("/search") for _, path, _ in api.calls) == 1


def test_what_changes_during_the_first_walk_comes_afterwards(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A contact changed behind the walk, and one created, are in the next poll; old ones are not."""
    for i in range(1, 251):
        api.add(i, ms(NOW) - 10_000_000 + i * 10_000)
    first = hubspot.changed(Kind.CONTACT, None)
    api.change("1", ms(NOW))
    api.add(999, ms(NOW) + 1)
    _, cursor = pages(hubspot, first.cursor)
    found, _ = pages(hubspot, cursor)
    overlap = {str(i) for i in range(220, 251)}  # five minutes before the newest change at the start
    assert {r.id for r in found} == {"1", "999"} | overlap
    api.add(1000, ms(NOW) + 600_000)
    found, _ = pages(hubspot, pages(hubspot, cursor)[1])
    assert [r.id for r in found] == ["1000"]


def big(api: FakeHubSpot, *, same: int, before: int, after: int) -> tuple[str, set[str]]:
    """Contacts of which ``same`` share one time; a cursor that lies before them all."""
    start = ms(NOW) - 3_600_000
    n = before + same + after
    for i in range(1, n + 1):
        api.add(i, start + (i if i <= before else before + 1 if i <= before + same else i - same + 1))
    return walk.dump(walk.Poll(since=start)), {str(i) for i in range(1, n + 1)}


@pytest.mark.parametrize(
    ("before", "same", "after"),
    [(300, 10_050, 300), (900, 0, 0), (0, 450, 0), (0, 200, 1), (10, 199, 0), (190, 10, 5), (0, 400, 0), (0, 0, 0)],
)
def test_polling_reads_past_every_cap(api: FakeHubSpot, before: int, same: int, after: int) -> None:
    """More than 10,000 changes, also with one and the same time, all come, each once; then what is new comes."""
    cursor, expected = big(api, same=same, before=before, after=after)
    found, cursor = pages(connect(api.transport), cursor)
    assert sorted(int(r.id) for r in found) == sorted(map(int, expected))
    api.calls.clear()
    api.add(99_999, ms(NOW) + 1)
    found, _ = pages(connect(api.transport), cursor)
    assert "99999" in {r.id for r in found}


def test_a_record_that_changes_during_a_poll_pushes_no_other_out(api: FakeHubSpot) -> None:
    """Each page meanwhile sends the oldest records to the end of the order; still nobody is missed."""
    cursor, expected = big(api, same=0, before=1_000, after=0)
    clock = iter(range(ms(NOW), ms(NOW) + 1_000))
    oldest = iter(range(1, 60))

    def meddle() -> None:
        for _ in range(5):
            if (id_ := next(oldest, None)) is not None:
                api.change(str(id_), next(clock))

    api.after_search = meddle
    found, _ = pages(connect(api.transport), cursor)
    assert {r.id for r in found} == expected


def test_late_visibility_is_covered(api: FakeHubSpot) -> None:
    """A change that shows up four minutes late, behind the cursor, is still found, and once the index had its time
    the overlap is read no more."""
    api.add(1, ms(NOW))
    cursor = walk.dump(walk.Poll(since=ms(NOW) - 1_000))
    _, cursor = pages(connect(api.transport), cursor)
    api.now += timedelta(minutes=1)
    _, cursor = pages(connect(api.transport), cursor)
    api.now += timedelta(minutes=3)
    api.add(2, ms(NOW) - 240_000)
    found, cursor = pages(connect(api.transport), cursor)
    assert {r.id for r in found} == {"1", "2"}
    api.now += timedelta(minutes=2)
    _, cursor = pages(connect(api.transport), cursor)
    found, cursor = pages(connect(api.transport), cursor)
    assert {r.id for r in found} == {"1"}  # the newest time itself is asked for again
    api.add(3, ms(NOW) + 1)
    assert {r.id for r in pages(connect(api.transport), cursor)[0]} == {"1", "3"}


def test_many_properties_are_read_back_in_batches(api: FakeHubSpot) -> None:
    """A property list too long for a search body or a URL is not cut: the records are read back."""
    names = [f"a_rather_long_property_name_{i}" for i in range(100)]
    api.add(1, ms(NOW), **dict.fromkeys(names, "x"))
    wide = connect(api.transport, properties=",".join(names))
    for cursor in (None, walk.dump(walk.Poll(since=ms(NOW)))):
        (found,) = wide.changed(Kind.CONTACT, cursor).records
        assert {found.fields[n] for n in names} == {"x"}
    assert max(len(str(body)) for method, _, body in api.calls if method == "GET") < 500


@pytest.mark.parametrize("cursor", ["", "7", "null", "{}", '{"poll":{"x":1}}', "[]"])
def test_a_foreign_cursor_is_refused(hubspot: HubSpot, cursor: str) -> None:
    """A cursor of somebody else is refused, not taken for the beginning."""
    with pytest.raises(Refused):
        hubspot.changed(Kind.CONTACT, cursor)


@pytest.mark.parametrize("stamped", [True, False])
def test_a_search_that_does_not_move_on_ends_the_walk(api: FakeHubSpot, hubspot: HubSpot, stamped: bool) -> None:
    """Where HubSpot answers the same page for ever, or rows without a time, the walk stops instead of turning round."""
    api.add(1, ms(NOW))
    row = api.out("1", ["email"]) if stamped else {"id": "1", "properties": {}}
    again = {"results": [row], "paging": {"next": {"after": "200"}}}
    api.trouble["/search"] = lambda _: httpx.Response(200, json=again)
    with pytest.raises(TryLater):
        pages(hubspot, walk.dump(walk.Poll(since=ms(NOW))), limit=10)


def test_describe(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Fields, types, options and what is read-only, in HubSpot's words."""
    rows = [
        {"name": "email", "label": "Email", "type": "string", "options": []},
        {"name": "score", "type": "number", "calculated": True},
        {"name": "createdate", "type": "datetime", "modificationMetadata": {"readOnlyValue": True}},
        {"name": "stage", "type": "enumeration", "options": [{"label": "Lead", "value": "lead"}, {"value": "x"}]},
    ]
    api.trouble["/properties/contacts"] = lambda _: httpx.Response(200, json={"results": rows})
    found = hubspot.describe(Kind.CONTACT).properties
    assert [(p.name, p.type, p.read_only, p.options) for p in found.values()] == [
        ("email", "string", False, None),
        ("score", "number", True, None),
        ("createdate", "datetime", True, None),
        ("stage", "enumeration", False, ("lead", "x")),
    ]


@pytest.mark.parametrize(("status", "line"), [(200, "4711"), (403, "unknown")])
def test_check_says_who_we_are(api: FakeHubSpot, hubspot: HubSpot, status: int, line: str) -> None:
    """One line, also where the token may not ask for the account."""
    api.trouble["/details"] = lambda _: httpx.Response(status, json={"portalId": 4711, "timeZone": "US/Eastern"})
    assert line in hubspot.check()
    assert "\n" not in hubspot.check()


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v3", "/crm/v3/objects/contacts/batch/read"), ("2026-03", "/crm/objects/2026-03/contacts/batch/read")],
)
def test_the_version_is_a_setting(api: FakeHubSpot, version: str, expected: str) -> None:
    """Dated versions have their own order of the path."""
    api.trouble["/batch/read"] = lambda _: httpx.Response(200, json={"results": [{"id": "1", "properties": {}}]})
    connect(api.transport, version=version).read(Kind.CONTACT, ["1"])
    assert api.calls[0][1] == expected


@pytest.mark.parametrize(
    "settings", [{"version": "3"}, {"tier": "gold"}, {"client_secret": " , "}, {"access_token": ""}]
)
def test_wrong_settings_are_named_at_the_start(settings: dict[str, str]) -> None:
    """A wrong setting is an error before the first call, without the secrets."""
    with pytest.raises(ValueError, match=r"hubspot|secret") as caught:
        connect(**settings)
    assert TOKEN not in str(caught.value)


def test_what_the_composition_root_asks() -> None:
    """The base URL is the default or the setting without its slash; the mapping's fields become properties."""
    assert HubSpot.base_url({}) == HubSpot.base_url({"base_url": " "}) == "https://api.hubapi.com"
    assert HubSpot.base_url({"base_url": "http://127.0.0.1:8080/"}) == "http://127.0.0.1:8080"
    assert HubSpot.headers({"access_token": f" {TOKEN}\n"}) == {"Authorization": f"Bearer {TOKEN}"}
    assert HubSpot.from_mapping({"phone", "city"}) == {"properties": "city,phone"}


def test_tiers() -> None:
    """The rate follows the tier, searches have their own."""
    assert HubSpot.limits_for({"tier": "professional"}).rates[0].calls == 190
    assert HubSpot.limits_for({}) == HubSpot.limits
    assert HubSpot.limits.keys["search"][0].calls == 5
