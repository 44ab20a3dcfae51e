"""What a connector promises of what stands around people: companies, deals, colleagues, acts, timeline entries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from connectors.contract import Act, Can, Connector, Done, Failed, Kind, Note, Record, Refused, Tie
from tests.promise import STEPS, Promises, promise
from tests.stage import COLLEAGUE, COMPANY, CONTACT, MARK, START, Stage
from tests.stage import Around as Set

_LONGEST = 200  # pages


class Around(Promises):
    """See the module."""

    def around(self, count: int = 5) -> tuple[Stage, Set]:
        """A stage with company, deal, colleague and acts."""
        self.need(around=self.example.around)
        stage = self.stage(count=count)
        assert self.example.around is not None
        return stage, self.example.around(stage.vendor)

    @promise(Can.COMPANIES)
    def test_a_company_is_told_with_who_belongs_to_it(self) -> None:
        """Read and walked alike; its people are on its record or on theirs, with whose main company it is."""
        stage, around = self.around()
        self.need(company_name=self.example.company_name)
        (record,) = stage.it.read(Kind.COMPANY, [around.company])
        walked = _one(_walk(stage.it, Kind.COMPANY), around.company)
        for one in (record, walked):
            assert one.kind is Kind.COMPANY
            assert one.fields[self.example.company_name] == COMPANY
            assert one.modified is None or one.modified.utcoffset() == timedelta(0), "not aware UTC"
        first, second = stage.vendor.ids[:2]
        for found in (record, walked):
            people = _ties(found, Kind.CONTACT)
            for one in stage.it.read(CONTACT, [first, second]):
                if around.company in _ties(one, Kind.COMPANY):
                    people[one.id] = _ties(one, Kind.COMPANY)[around.company]
            assert set(people) == {first, second}, "who belongs to it is not told"
            assert people[first].main, "whose main company it is is not told"
        assert list(stage.it.read(Kind.COMPANY, [])) == []

    @promise(Can.DEALS)
    def test_a_deal_is_told_with_its_company_and_people(self) -> None:
        """Read and walked alike, with its main contact and its company."""
        stage, around = self.around()
        (record,) = stage.it.read(Kind.DEAL, [around.deal])
        for one in (record, _one(_walk(stage.it, Kind.DEAL), around.deal)):
            assert one.kind is Kind.DEAL
            people = _ties(one, Kind.CONTACT)
            assert stage.vendor.ids[0] in people, "its main contact is not told"
            assert people[stage.vendor.ids[0]].main
            if Can.COMPANIES in self.kind.can:
                assert around.company in _ties(one, Kind.COMPANY)

    @promise(Can.COLLEAGUES)
    def test_the_directory_is_told_in_plain_words(self) -> None:
        """Each colleague with address, name, and whether still there."""
        stage, around = self.around()
        found = _one(_walk(stage.it, Kind.COLLEAGUE), around.colleague)
        assert found.kind is Kind.COLLEAGUE
        assert found.fields["email"] == COLLEAGUE
        assert found.fields["active"] is True
        assert str(found.fields["name"]).strip()

    @promise(Can.COMPANIES)
    def test_companies_name_the_next_step(self) -> None:
        """Each answer of the vendor leads to one next step, read or walked."""
        self.steps(lambda stage: stage.it.changed(Kind.COMPANY, None))
        self.steps(lambda stage: stage.it.read(Kind.COMPANY, [self.example.missing]))

    @promise(Can.ENGAGEMENT)
    def test_acts_are_told_whole(self) -> None:
        """Every act with who, what, when, by whom; told again under the same id."""
        stage, around = self.around()
        assert around.acts, "Example.around sets up no act"
        acts, _ = _acts(stage.it)
        assert acts == {a.id: a for a in around.acts}
        assert all(a.at.utcoffset() == timedelta(0) for a in acts.values()), "not aware UTC"
        assert _acts(stage.connector())[0] == acts
        assert MARK.lower() not in repr(list(acts.values())).lower(), "a person shows in the repr of an act"

    @promise(Can.ENGAGEMENT)
    def test_acts_go_on_with_what_happens_later(self) -> None:
        """What happens after a walk comes with the next, also after a restart."""
        stage, around = self.around()
        self.need(around_later=around.later)
        _, cursor = _acts(stage.it)
        assert around.later is not None
        new = around.later()
        later, cursor = _acts(stage.connector(), cursor)
        assert new in later
        again = _acts(stage.it, cursor)[0]
        assert set(again) <= {*later, *(a.id for a in around.acts)}

    @promise(Can.ENGAGEMENT)
    def test_acts_name_the_next_step(self) -> None:
        """Each answer of the vendor leads to one next step."""
        self.steps(lambda stage: stage.it.acts(None))

    @promise(Can.TIMELINE)
    def test_a_note_is_written_once(self) -> None:
        """Also where the answer to the first try was lost; two notes are two, and an unknown record holds up nobody."""
        self.need(notes=self.example.notes, missing=self.example.missing)
        stage = self.stage()
        assert self.example.notes is not None
        who = stage.vendor.ids[0]
        first = Note("note-1", who, START, "Clicked in Spring")
        stage.script = stage.lost
        (lost,) = stage.it.note([first])
        stage.script = lambda _: None
        assert isinstance(lost, Failed)
        again = Note(first.key, who, START, first.text, again=True)
        other = Note("note-2", who, START, "Filled in a form")
        receipts = stage.it.note([again, Note("note-3", self.example.missing, START, "nobody"), other])
        assert [r.key for r in receipts] == ["note-1", "note-3", "note-2"]
        assert isinstance(receipts[0], Done)
        assert not isinstance(receipts[1], Done)
        assert isinstance(receipts[2], Done)
        texts = self.example.notes(stage.vendor, who)
        assert sum(first.text in t for t in texts) == 1, "written twice, or not at all"
        assert sum(other.text in t for t in texts) == 1
        assert list(stage.it.note([])) == []

    @promise(Can.TIMELINE)
    def test_a_note_names_its_next_step(self) -> None:
        """Each answer of the vendor leads to one next step, in the receipt."""
        self.need(error=self.example.error)
        for status, _ in STEPS:
            stage = self.stage()
            stage.script = stage.error(status)
            (receipt,) = stage.it.note([Note("note-1", stage.vendor.ids[0], START, "Clicked")])
            assert isinstance(receipt, Failed), f"after {status}: {receipt}"
            if status == 400 and not isinstance(receipt.problem, Refused):
                raise AssertionError(f"after 400: Refused, not {receipt.problem!r}")
            self.step(receipt.problem, status)


def _walk(it: Connector, kind: Kind) -> Mapping[str, Record]:
    found: dict[str, Record] = {}
    cursor: str | None = None
    for _ in range(_LONGEST):
        page = it.changed(kind, cursor)
        found |= {r.id: r for r in page.records}
        if not page.more:
            return found
        cursor = page.cursor
    raise AssertionError(f"the walk over {kind} does not end")


def _one(found: Mapping[str, Record], id_: str) -> Record:
    assert id_ in found, "a record never came"
    return found[id_]


def _acts(it: Connector, cursor: str | None = None) -> tuple[dict[str, Act], str]:
    found: dict[str, Act] = {}
    for _ in range(_LONGEST):
        page = it.acts(cursor)
        found |= {a.id: a for a in page.acts}
        assert isinstance(page.cursor, str), "a cursor is text"
        if not page.more:
            return found, page.cursor
        cursor = page.cursor
    raise AssertionError("the walk over acts does not end")


def _ties(record: Record, kind: Kind) -> dict[str, Tie]:
    return {tie.id: tie for tie in record.ties.get(kind, ())}
