"""What a connector promises of ``read``, ``find`` and ``describe``."""

from __future__ import annotations

from datetime import timedelta

from connectors.contract import Can, Problem, Property
from tests.promise import STEPS, Promises, by_id, ids, promise
from tests.stage import CONTACT, MARK


class Read(Promises):
    """See the module."""

    @promise(Can.READ)
    def test_read_gives_the_records_of_these_ids(self) -> None:
        """Each id leads to its record, with its fields and an aware time; the order of ids does not matter."""
        stage = self.stage()
        asked = list(stage.vendor.ids)
        found = by_id(stage.it.read(CONTACT, asked))
        assert set(found) == set(asked)
        for id_, seed in zip(asked, stage.people, strict=True):
            record = found[id_]
            assert self.told(record) == (seed.email, seed.text, seed.other)
            assert record.kind is CONTACT
            assert record.modified is None or record.modified.utcoffset() == timedelta(0), "not aware UTC"
        assert by_id(stage.it.read(CONTACT, asked[::-1])) == found
        self.clean(*found.values(), where="repr of records")

    @promise(Can.READ)
    def test_read_leaves_out_what_does_not_exist(self) -> None:
        """An id that no record has is left out, and holds up nobody; no ids are no records."""
        self.need(missing=self.example.missing)
        stage = self.stage()
        asked = [stage.vendor.ids[0], self.example.missing, stage.vendor.ids[1]]
        assert sorted(ids(stage.it.read(CONTACT, asked))) == sorted([asked[0], asked[2]])
        assert list(stage.it.read(CONTACT, [self.example.missing])) == []
        assert list(stage.it.read(CONTACT, [])) == []

    @promise(Can.READ)
    def test_read_never_cuts_off_in_silence(self) -> None:
        """More ids than the batch holds are all answered, or refused with ValueError."""
        stage = self.stage(count=self.kind.limits.read_batch + 1)
        try:
            found = stage.it.read(CONTACT, list(stage.vendor.ids))
        except ValueError:
            return
        assert set(ids(found)) == set(stage.vendor.ids)

    @promise(Can.READ)
    def test_read_names_the_next_step(self) -> None:
        """Each answer of the vendor leads to one next step; a wait that was asked for is told."""
        self.steps(lambda stage: stage.it.read(CONTACT, stage.vendor.ids))

    @promise(Can.FIND)
    def test_find_by_address_ignores_case(self) -> None:
        """An address finds its record however it is spelled; one that nobody has finds nothing."""
        stage = self.stage()
        seed, key = stage.people[2], self.example.find_key
        for spelled in (seed.email, seed.email.upper(), seed.email.title()):
            found = list(stage.it.find(CONTACT, key, [spelled]))
            assert ids(found) == [stage.vendor.ids[2]], f"found {len(found)} records by {spelled.replace(MARK, '')}"
            assert self.told(found[0])[0] == seed.email
        several = [stage.people[0].email, "nobody@people.example", stage.people[4].email.upper()]
        found = list(stage.it.find(CONTACT, key, several))
        assert sorted(ids(found)) == sorted([stage.vendor.ids[0], stage.vendor.ids[4]])
        assert list(stage.it.find(CONTACT, key, ["nobody@people.example"])) == []
        assert list(stage.it.find(CONTACT, key, [])) == []

    @promise(Can.FIND)
    def test_find_names_the_next_step(self) -> None:
        """Each answer of the vendor leads to one next step."""
        self.steps(lambda stage: stage.it.find(CONTACT, self.example.find_key, [stage.people[0].email]))

    @promise(Can.DESCRIBE)
    def test_describe_gives_fields_with_types_and_options(self) -> None:
        """The fields of the account with their types; picklists with their values."""
        schema = self.stage().it.describe(CONTACT)
        e = self.example
        for name in (e.email_field, e.text_field, e.other_field, *e.falsy):
            found = schema.properties.get(name)
            assert isinstance(found, Property), f"{name} is not described"
            assert found.name == name
            assert found.type.strip()
        assert schema.properties[e.text_field].options is None, "free text has no options"
        for name, options in e.options.items():
            assert schema.properties[name].options == options

    @promise(Can.DESCRIBE)
    def test_describe_names_the_next_step(self) -> None:
        """Each answer of the vendor leads to one next step."""
        self.steps(lambda stage: stage.it.describe(CONTACT))

    @promise(Can.READ)
    def test_an_error_tells_no_secret_and_nobody(self) -> None:
        """Where the vendor repeats key, address and values in its error, ours does not."""
        self.need(error=self.example.error)
        for status, _ in STEPS:
            stage = self.stage()
            seed = stage.people[0]
            said = f"Key {' '.join(stage.shown())} may not see {seed.email}"
            stage.script = stage.error(status, said)
            self.raises(Problem, lambda s=stage: s.it.read(CONTACT, s.vendor.ids), f"{status}")
            self.raises(Problem, lambda s=stage: s.it.check(), f"{status} at check")
