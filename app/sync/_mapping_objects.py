"""Companies, deals and engagement in a mapping file: compiled readers.  Pure.

Such records are only read.  What cannot be read is left out with a warning, as with contacts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.fields import Field, Unfit
from app.core.objects import COMPANY_FIELDS, DEAL_FIELDS, DealStatus, currency_of
from app.core.words import MISSING, Value
from app.match.employers import site_of
from app.sync._mapping_compile import compile_readers
from app.sync._mapping_entries import Entry
from app.sync._mapping_grammar import CompanySpec, DealSpec, EngagementSpec, Parsed
from app.sync._mapping_yaml import Problem
from app.sync.transforms import Context
from connectors.contract import Doing, Fields, Kind


@dataclass(frozen=True, slots=True)
class ObjectMap:
    """How companies, or deals, of one vendor are read."""

    entries: tuple[Entry, ...]
    stages: Mapping[str, DealStatus] = field(default_factory=dict)
    currency: str | None = None
    object: str | None = None  # the vendor's kind of object, where it is one of somebody's own

    @property
    def theirs(self) -> tuple[str, ...]:
        """The vendor's fields to ask for."""
        return tuple(dict.fromkeys(e.theirs for e in self.entries))

    def read(self, fields: Fields) -> dict[str, Value]:
        """A record in canonical words: absent = not said or not to be understood, None = there is none."""
        claim: dict[str, Value] = {}
        for entry in self.entries:
            raw = fields.get(entry.theirs, MISSING)
            if raw is MISSING:
                continue
            if raw is None or (isinstance(raw, str) and not raw.strip()):
                claim[entry.name] = None
                continue
            try:
                claim[entry.name] = _normal(entry.name, entry.read(raw))
            except Unfit:
                continue
        return claim

    def status(self, stage: Value) -> DealStatus:
        """What a stage means."""
        return self.stages.get(stage, DealStatus.OPEN) if isinstance(stage, str) else DealStatus.OPEN


def _normal(name: str, value: Value) -> Value:
    if value is None:
        return None
    if name == "domain":
        domain = site_of(str(value).rpartition("@")[2])
        if not domain:
            raise Unfit("not_domain", "no registrable domain")
        return domain
    return currency_of(value) if name == "currency" else value


@dataclass(frozen=True, slots=True)
class Engaging:
    """What is taken of a vendor's acts, and what of others' acts is shown in its timeline."""

    take: frozenset[Doing]
    timeline: frozenset[Doing]


@dataclass(frozen=True, slots=True)
class Objects:
    """The sections of a mapping file beside contacts; None: not there."""

    company: ObjectMap | None = None
    deal: ObjectMap | None = None
    engagement: Engaging | None = None

    def theirs(self) -> dict[Kind, tuple[str, ...]]:
        """The vendor's fields to ask for, of each kind that is read."""
        maps = {Kind.COMPANY: self.company, Kind.DEAL: self.deal}
        return {kind: map_.theirs for kind, map_ in maps.items() if map_ is not None}

    def named(self) -> dict[str, str]:
        """Settings that say which of the vendor's kinds of object is meant, where the file names one."""
        maps = {Kind.COMPANY: self.company, Kind.DEAL: self.deal}
        return {f"{kind}_object": m.object for kind, m in maps.items() if m is not None and m.object is not None}


def compile_objects(parsed: Parsed, context: Context) -> tuple[Objects, list[Problem]]:
    """The sections, and what is wrong with them."""
    spec = parsed.spec
    problems: list[Problem] = []
    company, found = _section(parsed, context, "company", spec.company, COMPANY_FIELDS)
    problems += found
    deal, found = _section(parsed, context, "deal", spec.deal, DEAL_FIELDS)
    problems += found
    if spec.deal is not None:
        if spec.deal.stages and "stage" not in spec.deal.fields:
            problems.append(parsed.source.problem(("deal", "stages"), "no field `stage` is read"))
        try:
            currency_of("EUR" if spec.deal.currency is None else spec.deal.currency)
        except Unfit as error:
            problems.append(parsed.source.problem(("deal", "currency"), str(error), ("such as EUR or USD",)))
    return Objects(company, deal, _engaging(spec.engagement)), problems


def _section(
    parsed: Parsed, context: Context, under: str, spec: CompanySpec | DealSpec | None, fields: Mapping[str, Field]
) -> tuple[ObjectMap | None, Iterable[Problem]]:
    if spec is None:
        return None, []
    entries, problems = compile_readers(parsed, context, under, spec.fields, spec.custom, fields)
    if isinstance(spec, DealSpec):
        stages = {theirs: DealStatus(ours) for theirs, ours in spec.stages.items()}
        return ObjectMap(tuple(entries), stages, spec.currency, spec.object), problems
    return ObjectMap(tuple(entries), object=spec.object), problems


def _engaging(spec: EngagementSpec | None) -> Engaging | None:
    if spec is None:
        return None
    taken: Collection[Any] = list(Doing) if spec.take is None else spec.take
    return Engaging(frozenset(map(Doing, taken)), frozenset(map(Doing, spec.timeline)))
