"""What a connector that claims CHANGED promises of its walks over changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

from connectors.contract import Can, Connector, Page, Record
from tests.promise import Promises, promise
from tests.stage import CONTACT, START, Stage

_RESUMED = 6  # cursors from which a walk is taken up again; each costs a walk


class Changed(Promises):
    """See the module."""

    def walk(self, it: Connector, cursor: str | None = None) -> list[Page]:
        """All pages from this cursor on.  Fails where there is no end to them."""
        pages: list[Page] = []
        # Generous: the slowest honest walk gives a few records a page, and some pages give none.
        for _ in range(self.example.many + 20):
            page = it.changed(CONTACT, cursor)
            assert isinstance(page.cursor, str), "a cursor is text"
            pages.append(page)
            if not page.more:
                return pages
            cursor = page.cursor
        raise AssertionError(f"the walk does not end: {len(pages)} pages for {self.example.many} records")

    def crowd(self) -> Stage:
        """A vendor with many people, many of whom share a modified time."""
        return self.stage(count=self.example.many, tied=self.example.tied)

    @promise(Can.CHANGED)
    def test_a_walk_covers_everybody_and_ends(self) -> None:
        """Without a cursor all records come, over several pages, with their fields and aware times."""
        stage = self.crowd()
        pages = self.walk(stage.it)
        assert len(pages) > 1, "the vendor of this Example answers all at once: let it have smaller pages"
        found = _records(pages)
        _covers(found, stage.vendor.ids)
        for id_, seed in zip(stage.vendor.ids, stage.people, strict=True):
            assert self.told(found[id_]) == (seed.email, seed.text, seed.other)
            modified = found[id_].modified
            assert modified is None or modified.utcoffset() == timedelta(0), "not aware UTC"
        total = pages[0].total
        assert total is None or total >= self.example.many

    @promise(Can.CHANGED)
    def test_a_walk_is_taken_up_from_any_cursor(self) -> None:
        """After a restart at any page the rest comes: nobody is lost between two pages."""
        stage = self.crowd()
        pages = self.walk(stage.it)
        step = max(1, len(pages) // _RESUMED)
        for n in range(0, len(pages) - 1, step):
            rest = self.walk(stage.connector(), pages[n].cursor)
            _covers({**_records(pages[: n + 1]), **_records(rest)}, stage.vendor.ids)

    @promise(Can.CHANGED)
    def test_the_last_cursor_goes_on_with_what_changes_later(self) -> None:
        """What changes after a walk comes with the next, and of what did not change little comes again."""
        stage = self.crowd()
        cursor = self.walk(stage.it)[-1].cursor
        late = START + timedelta(days=1)
        for n in (0, self.example.many // 2, self.example.many - 1):
            id_ = stage.vendor.ids[n]
            stage.vendor.touch(id_, late + timedelta(minutes=n))
            found = self.walk(stage.connector(), cursor)
            assert id_ in _records(found), "a change after the walk does not come"
            cursor = found[-1].cursor
        quiet = self.walk(stage.connector(), cursor)
        assert len(_records(quiet)) < self.example.many // 2, "a walk over nothing new gives everybody again"

    @promise(Can.CHANGED)
    def test_equal_times_lose_nobody(self) -> None:
        """An import changes everybody in a few moments: all come, and the walk ends."""
        stage = self.crowd()
        cursor = self.walk(stage.it)[-1].cursor
        late = START + timedelta(days=1)
        for n, id_ in enumerate(stage.vendor.ids):
            stage.vendor.touch(id_, late + timedelta(minutes=n // max(self.example.tied, self.example.many // 2)))
        found = self.walk(stage.connector(), cursor)
        _covers(_records(found), stage.vendor.ids)
        again = self.walk(stage.connector(), found[-1].cursor)
        assert len(again) <= len(found) + 1, "the walk after it is longer than the walk itself"

    @promise(Can.CHANGED)
    def test_a_change_during_a_walk_loses_nobody(self) -> None:
        """A record that changes while its walk is under way pushes no other out of sight."""
        stage = self.crowd()
        start = self.walk(stage.it)[-1].cursor
        late = START + timedelta(days=1)
        for n, id_ in enumerate(stage.vendor.ids):
            stage.vendor.touch(id_, late + timedelta(seconds=n))
        first = stage.it.changed(CONTACT, start)
        seen = dict(_records([first]))
        for id_ in list(seen)[:3]:
            stage.vendor.touch(id_, late + timedelta(days=1))
        pages = self.walk(stage.it, first.cursor)
        pages += self.walk(stage.it, pages[-1].cursor)
        _covers({**seen, **_records(pages)}, stage.vendor.ids)

    @promise(Can.CHANGED)
    def test_changed_names_the_next_step(self) -> None:
        """Each answer of the vendor leads to one next step, at the start and in the middle."""
        self.steps(lambda stage: stage.it.changed(CONTACT, None))
        cursor = self.crowd().it.changed(CONTACT, None).cursor
        self.steps(lambda stage: stage.it.changed(CONTACT, cursor))


def _records(pages: Iterable[Page]) -> dict[str, Record]:
    return {record.id: record for page in pages for record in page.records}


def _covers(found: Collection[str], wanted: Iterable[str]) -> None:
    missing = [id_ for id_ in wanted if id_ not in found]
    assert not missing, f"{len(missing)} records never came, such as {missing[:3]}"
