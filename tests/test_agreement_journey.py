"""The agreement on the simulators, with the mappings that are shipped for it, by a clock that is moved by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, insert, select, update

from app.accounts import MAPPINGS
from app.agreement import acting, scorecard
from app.agreement.leads import Known
from app.agreement.load import load
from app.agreement.scorecard import Span
from app.agreement.words import Team
from app.core import tables as t
from app.core.db import clock_of, now_ms
from app.core.settings import Config, Settings
from app.main import Tandem
from sandbox.agreed import make_fields
from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim
from sandbox.serve import Sandbox
from tests import sandboxed
from tests.agreed import SHIPPED, shipped

sandbox, hs, mc, members = sandboxed.sandbox, sandboxed.hs, sandboxed.mc, sandboxed.members
ROOT = Path(__file__).parents[1]
ANN = "ann.lee@example.org"


class Hand:
    """The time of the simulators and of the database: it stands until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)  # a Monday, half past nine in Berlin

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.at.timestamp()

    def julianday(self, _now: str) -> float:
        """The same as SQLite counts it."""
        return 2440587.5 + (self() * 1000 + 0.5) / 86_400_000

    def connected(self, raw: Any, _record: Any) -> None:
        """Every connection to a database goes by it."""
        raw.create_function("julianday", 1, self.julianday)


@pytest.fixture(scope="module")
def hand() -> Iterator[Hand]:
    made = Hand()
    event.listen(Engine, "connect", made.connected)
    yield made
    event.remove(Engine, "connect", made.connected)


@pytest.fixture(scope="module")
def running(hand: Hand) -> Iterator[Sandbox]:
    sims = (HubSpotSim(retry_span=0.3, clock=hand), MailchimpSim(retry_span=0.3, clock=hand))
    with Sandbox(*sims) as made:
        yield made


@pytest.fixture
def unsigned(sandbox: Sandbox, hand: Hand, tmp_path: Path) -> Iterator[Tandem]:
    """Everything, live at both, the fields made there; stepped by hand."""
    sandbox.call(lambda: make_fields(sandbox.hubspot, sandbox.mailchimp))
    hub = {"base_url": sandbox.hubspot_url}
    chimp = {"base_url": sandbox.mailchimp_url, "list_id": sandbox.mailchimp.audience.id}
    config = Config.model_validate(
        {
            "connections": [
                {
                    "name": name,
                    "connector": name,
                    "mode": "live",
                    "mapping": str(MAPPINGS / "agreed" / f"{name}.yaml"),
                    "settings": settings,
                }
                for name, settings in (("hubspot", hub), ("mailchimp", chimp))
            ]
        }
    )
    env = {
        "TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token,
        "TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret,
        "TANDEM_MAILCHIMP_API_KEY": sandbox.mailchimp.key,
        "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
    }
    made = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, env)
    made.prepare()
    yield made
    for client in made.clients.values():
        client.close()
    made.database.close()


@pytest.fixture
def tandem(unsigned: Tandem) -> Tandem:
    """Both have signed the shipped agreement, to hold from long ago."""
    with unsigned.database.write() as db:
        for team in Team:
            acting.sign(db, shipped(), {}, team, f"Kim of {team}", since=0)
    return unsigned


def settle(tandem: Tandem, hand: Hand, rounds: int = 300) -> None:
    """A few minutes pass; look at everything at both vendors and step until nothing is left to do."""
    hand.at += timedelta(minutes=5)
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(poll_due_at=0))
        db.execute(update(t.survey).values(due_at=0))
        db.execute(update(t.lease).values(until=0))
    stations = (tandem.poll, tandem.fetch, tandem.rounds, tandem.summarise, tandem.leads, tandem.push, tandem.timeline)
    for _ in range(rounds):
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0))
            for table in (t.work, t.inbox):
                db.execute(update(table).values(due_at=0))
            db.execute(update(t.lease).where(t.lease.c.name == "summarise").values(until=0))
        if not sum(station.step() for station in stations) and not _due(tandem):
            return
    raise AssertionError("it does not come to rest")


def _due(tandem: Tandem) -> bool:
    """Whether some kind is still to be read."""
    with tandem.database.read() as db:
        return bool(db.execute(select(t.survey).where(t.survey.c.due_at <= now_ms())).first())


class Seen:
    """What people see at the two vendors."""

    def __init__(self, hs: httpx.Client, mc: httpx.Client, members: str) -> None:
        self.hs, self.mc, self.member = hs, mc, f"{members}/{sandboxed.md5(ANN)}"

    @property
    def id(self) -> str:
        """HubSpot's number of the only contact."""
        (found,) = self.hs.get(sandboxed.CONTACTS, params={"limit": 100}).json()["results"]
        return str(found["id"])

    def hubspot(self, *names: str) -> list[Any]:
        """Values of our properties."""
        return [v if v else None for v in sandboxed.values(self.hs, self.id, *(f"tandem_{n}" for n in names))]

    def mailchimp(self, *tags: str) -> list[Any]:
        """Values of our merge fields."""
        fields = self.mc.get(self.member).json()["merge_fields"]
        return [fields[tag] if fields[tag] != "" else None for tag in tags]

    def edit(self, **properties: str) -> None:
        """Somebody in sales edits the contact."""
        names = {f"tandem_{n}": v for n, v in properties.items()}
        answer = self.hs.patch(f"{sandboxed.CONTACTS}/{self.id}", json={"properties": names})
        assert answer.status_code == 200, answer.text


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_mql_is_seen_rejected_and_recycled(
    tandem: Tandem, hand: Hand, hs: httpx.Client, mc: httpx.Client, members: str
) -> None:
    """By its score; a rejection without a reason is flagged and written back; a proper one goes back to marketing."""
    seen = Seen(hs, mc, members)
    sandboxed.join(mc, members, ANN, merge_fields={"FNAME": "Ann", "LNAME": "Lee", "SCORE": 72})
    settle(tandem, hand)
    assert seen.hubspot("stage", "stage_reason", "lead_status") == ["mql", "lead score: 72", "new"]
    assert seen.mailchimp("STAGE", "STAGEWHY", "LEADSTATUS") == ["mql", "lead score: 72", "new"]
    assert seen.hubspot("stage_since") == seen.mailchimp("STAGESINCE") != [None]

    seen.edit(lead_status="rejected")
    settle(tandem, hand)
    assert seen.hubspot("stage", "lead_status") == ["mql", "new"]
    (flag,) = seen.hubspot("lead_flag")
    assert flag.startswith("given back without a reason; say one of: not_reached")
    assert seen.mailchimp("LEADSTATUS", "LEADFLAG") == ["new", flag]

    seen.edit(stage="prospect")
    settle(tandem, hand)
    assert seen.hubspot("stage") == ["mql"], "nobody falls back by a field"

    with tandem.database.write() as db:
        (lead,) = db.execute(select(t.lead)).all()
        now = clock_of(db)
        for n, kind in enumerate(("call", "mail", "call")):
            act = {
                "connection": "hubspot",
                "remote_id": str(n),
                "contact_id": lead.contact_id,
                "who_key": "id",
                "who": "its record",
                "kind": kind,
                "by": f"k{n}",
            }
            db.execute(insert(t.engagement).values(**act, human=1, at=now, received_at=now))
    seen.edit(lead_status="rejected", lead_reason="no_need")
    settle(tandem, hand)
    assert seen.hubspot("stage", "lead_status", "lead_reason", "lead_flag") == ["lead", "recycled", "no_need", None]
    assert seen.mailchimp("STAGE", "LEADSTATUS", "LEADFLAG") == ["lead", "recycled", None]
    with tandem.database.read() as db:
        (lead,) = db.execute(select(t.lead)).all()
        said = db.execute(select(t.disposition.c.finding).order_by(t.disposition.c.id)).scalars().all()
    assert (lead.recycled, lead.requalified, lead.rest_until > lead.recycled_at) == (1, 0, True)
    assert said[:2] == ["flagged", "refused"]
    assert said[-1] == "taken"


def test_a_stage_that_sales_may_say_holds_at_both(
    tandem: Tandem, hand: Hand, hs: httpx.Client, mc: httpx.Client, members: str
) -> None:
    """HubSpot's own lifecycle stage is a claim: a client that it knows is one here, and at Mailchimp."""
    seen = Seen(hs, mc, members)
    sandboxed.create(hs, email=ANN, firstname="Ann", lastname="Lee", lifecyclestage="customer")
    settle(tandem, hand)
    assert seen.hubspot("stage", "stage_reason") == ["client", "sales said so"]
    assert seen.mailchimp("STAGE", "STAGEWHY") == ["client", "sales said so"]


def test_the_mappings_for_an_agreement_are_the_shipped_ones_and_the_page() -> None:
    """``mappings/agreed`` holds every line of the shipped mapping, and those that the page adds."""
    page = (ROOT / "docs" / "agreement.md").read_text(encoding="utf-8")
    taken = re.compile(
        r"schema\.json|Tandem contact\.|# Sales decides|^  (lifecycle_stage|lead_status): {theirs: (l|hs)"
    )
    for name, lines in zip(("hubspot", "mailchimp"), re.findall(r"```yaml\n(.*?)```", page, re.DOTALL), strict=True):
        text = (MAPPINGS / "agreed" / f"{name}.yaml").read_text(encoding="utf-8")
        assert lines in text
        plain = (MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8").split("\nexamples:")[0]
        missing = [line for line in plain.splitlines() if line not in text.splitlines() and not taken.search(line)]
        assert missing == []


# --- the whole way ----------------------------------------------------------------------------------------------------


class Story:
    """What the two vendors show, and what people do there."""

    def __init__(self, sandbox: Sandbox, seen: Seen) -> None:
        self.objects, self.reports, self.seen = sandbox.hubspot.objects, sandbox.mailchimp.reports, seen

    def both(self) -> tuple[Any, ...]:
        """Stage and standing, once for both."""
        at_hubspot, at_mailchimp = self.seen.hubspot("stage", "lead_status"), self.seen.mailchimp("STAGE", "LEADSTATUS")
        assert at_hubspot == at_mailchimp
        assert self.seen.hubspot("stage_since") == self.seen.mailchimp("STAGESINCE")
        assert self.seen.hubspot("stage_reason") == self.seen.mailchimp("STAGEWHY")
        return tuple(at_hubspot)

    def flag(self) -> str | None:
        """What is not as agreed, once for both."""
        assert self.seen.hubspot("lead_flag") == self.seen.mailchimp("LEADFLAG")
        flag: str | None
        (flag,) = self.seen.mailchimp("LEADFLAG")
        return flag

    def tags(self) -> list[str]:
        """The tags, once for both."""
        found = [tag["name"] for tag in self.seen.mc.get(self.seen.member).json()["tags"]]
        (there,) = self.seen.hubspot("tags")
        assert (there.split(";") if there else []) == found
        return found

    def clicks(self, mailing: str, list_id: str, at: datetime) -> None:
        """A mailing goes out, and Ann clicks in it half an hour later."""
        self.reports.sent(mailing, mailing, list_id, at)
        self.reports.did(mailing, ANN, "click", at + timedelta(minutes=30), url="https://shop.example/p")

    def tries(self, at: datetime) -> None:
        """Somebody in sales calls twice and writes."""
        for n, (kind, more) in enumerate(
            (("calls", {"hs_call_direction": "OUTBOUND"}), ("emails", {"hs_email_direction": "EMAIL"}), ("calls", {}))
        ):
            stamp = (at + timedelta(minutes=n)).isoformat().replace("+00:00", "Z")
            act = self.objects.put(kind, {"hs_timestamp": stamp, **more})
            self.objects.associate((kind, act), ("contacts", int(self.seen.id)))

    def deal(self, number: int | None = None, **properties: str) -> int:
        """A deal of hers is made, or changed."""
        made = self.objects.put("deals", {"dealname": "Big", **properties}, number)
        self.objects.associate(("deals", made), ("contacts", int(self.seen.id)))
        return made


@pytest.mark.timeout(240)
def test_from_the_file_to_a_won_deal_that_shows_on_its_campaign(
    unsigned: Tandem, hand: Hand, sandbox: Sandbox, hs: httpx.Client, mc: httpx.Client, members: str, tmp_path: Path
) -> None:
    """Signed, handed over, ignored until breach, given back, back again, won; each step is seen at both vendors."""
    tandem, seen = unsigned, Seen(hs, mc, members)
    story = Story(sandbox, seen)
    hand.at = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
    file = tmp_path / "agreement.yaml"
    file.write_text(SHIPPED.read_text(encoding="utf-8"), encoding="utf-8")
    agreement = load(file)

    with tandem.database.write() as db:
        assert acting.sign(db, agreement, {}, Team.SALES, "Kim").since is None
    sandboxed.join(mc, members, ANN, merge_fields={"FNAME": "Ann", "LNAME": "Lee", "SCORE": 72})
    story.clicks("Spring", sandbox.mailchimp.audience.id, hand.at - timedelta(hours=1))
    settle(tandem, hand)
    assert story.both() == (None, None), "one signature is none"

    with tandem.database.write() as db:
        assert acting.sign(db, agreement, {}, Team.MARKETING, "Lou").since is not None
    settle(tandem, hand)
    assert story.both() == ("mql", "new")
    assert (seen.hubspot("stage_reason"), story.flag(), story.tags()) == (["lead score: 72"], None, [])

    hand.at = datetime(2026, 3, 2, 13, 30, tzinfo=UTC)  # nobody has called, and four hours of business are over
    settle(tandem, hand)
    assert story.both() == ("mql", "new")
    assert str(story.flag()).startswith("first_touch overdue since 2026-03-02 12:")
    with tandem.database.read() as db:
        marks = db.execute(select(t.clock_notice.c.mark).where(t.clock_notice.c.name == "first_touch")).scalars().all()
    assert {"reminder", "at_risk", "breach"} <= set(marks)

    story.tries(hand.at)
    settle(tandem, hand)
    assert story.flag() is None
    seen.edit(lead_status="rejected", lead_reason="bad_timing")
    settle(tandem, hand)
    assert story.both() == ("lead", "recycled")
    assert (seen.hubspot("lead_reason"), seen.mailchimp("LEADREASON")) == (["bad_timing"], ["bad_timing"])
    assert story.tags() == ["nurture"]

    hand.at += timedelta(days=91)  # it has rested, and she comes again
    settle(tandem, hand)
    assert story.both() == ("lead", "recycled"), "an old score brings nobody back"
    story.clicks("Summer", sandbox.mailchimp.audience.id, hand.at - timedelta(minutes=30))
    settle(tandem, hand)
    assert story.both() == ("mql", "new")
    assert story.tags() == []
    seen.edit(lead_status="accepted")
    settle(tandem, hand)
    assert story.both() == ("mql", "accepted")

    deal = story.deal(dealstage="presentation", amount="1200.50", deal_currency_code="EUR")
    settle(tandem, hand)
    assert story.both() == ("opportunity", "qualified")
    story.deal(deal, dealstage="closedwon", closedate=hand.at.isoformat().replace("+00:00", "Z"))
    settle(tandem, hand)
    assert story.both()[0] == "client"

    with tandem.database.read() as db:
        (lead,) = db.execute(select(t.lead)).all()
        (member,) = db.execute(select(t.programme_member)).all()
        (state,) = db.execute(
            select(t.clock.c.state).where(t.clock.c.name == "first_touch", t.clock.c.round == 1)
        ).scalars()
        span = Span(scorecard.number(date(2026, 3, 1)), scorecard.number(date(2026, 7, 1)))
        (spring,) = [m for m in scorecard.moves(db, "campaign", span) if m.value == "Spring"]
        card = scorecard.card(db, Known().versions(db).versions, span, "month", span.until)
    assert (lead.recycled, lead.requalified, state) == (1, 1, "met_late")
    assert (member.programme, member.ended_why, member.reached_at is not None) == ("nurture", "lead status: new", True)
    assert (spring.numbers["mql"], spring.numbers["won"], spring.won) == (2, 1, {"EUR": 1200.5})
    assert (card.recycle_rate.hits, card.requalified.hits, card.recycled_won.hits) == (1, 1, 1)
