"""Load the agreement: YAML in, a checked ``Agreement`` out, or every problem at once, with file and line.

A condition is checked against the facts that there are (``app.agreement.facts``); names of stages against the file.
Reads one file; nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.agreement import facts, promises
from app.agreement.conditions import Condition, Wrong, compiled
from app.agreement.conditions import Kind as FactKind
from app.agreement.facts import DOING
from app.agreement.grammar import FileSpec, HandoverSpec, RejectionSpec, WhoSpec, keys_of, model_at
from app.agreement.promises import Promises
from app.agreement.words import Team
from app.core.errors import ConfigError
from app.core.fields import Type
from app.core.words import Channel
from app.sync._mapping_yaml import MappingError, Problem, Source, parse

__all__ = ["Action", "Agreement", "MappingError", "Problem", "Programme", "Reason", "Stage", "Who", "load", "loads"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.  ``rank``: its place in the order, from 0."""

    name: str
    rank: int
    means: str
    team: Team
    when: Condition | None
    said: frozenset[Team]
    provided: Condition | None
    came_from: frozenset[str] | None  # None: from every earlier one, and from none
    again: Condition | None

    def follows(self, now: Stage | None) -> bool:
        """Whether the agreement allows the move from that stage (None: from none) to this one."""
        if now is None:
            return self.came_from is None
        if self.came_from is None:
            return now.rank < self.rank
        return now.name in self.came_from


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for giving a lead back.  ``rest``: ms."""

    name: str
    means: str
    ends: bool  # it never comes again
    attempts: bool  # they are owed first
    rest: int


@dataclass(frozen=True, slots=True)
class Who:
    """A persona or profile."""

    name: str
    means: str
    when: Condition


@dataclass(frozen=True, slots=True)
class Programme:
    """Whom both look after together, until when, and what it is to bring about."""

    name: str
    means: str
    when: Condition
    ends: Condition | None = None
    days: int | None = None
    tag: str | None = None
    hold_out: float = 0.0  # share of the enrolled that is left without it
    stage: str | None = None  # to be reached
    within: int = 0  # ms


@dataclass(frozen=True, slots=True)
class Action:
    """Something that sales may do next with a lead."""

    name: str
    means: str
    did: str  # kind of engagement
    channel: Channel | None = None
    granted: bool = False  # only with consent to the channel; else it suffices that it is not withdrawn
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What sales and marketing agreed, ready to judge by."""

    digest: str
    text: str = field(repr=False)
    spec: FileSpec = field(repr=False)
    stages: tuple[Stage, ...] = field(repr=False)
    reasons: Mapping[str, Reason] = field(repr=False)
    personas: tuple[Who, ...] = field(repr=False)
    profiles: tuple[Who, ...] = field(repr=False)
    programmes: tuple[Programme, ...] = field(repr=False)
    names: Mapping[str, Stage] = field(repr=False)  # former names included
    promises: Promises | None = field(default=None, repr=False)  # what each side owes; None: nothing is said
    clocks: Mapping[str, Condition] = field(default_factory=dict, repr=False)  # which leads have a clock; else all
    actions: tuple[Action, ...] = field(default=(), repr=False)  # in the order of the file

    @property
    def title(self) -> str:
        """Its title."""
        return self.spec.title

    @property
    def handover(self) -> HandoverSpec:
        """From marketing to sales."""
        return self.spec.handover

    @property
    def rejection(self) -> RejectionSpec:
        """Back from sales to marketing."""
        return self.spec.rejection

    def stage(self, name: str | None) -> Stage | None:
        """The stage of a name, a former one included; None where there is none."""
        return self.names.get(name) if name is not None else None

    def conditions(self) -> Iterable[Condition]:
        """All of them."""
        for stage in self.stages:
            yield from (c for c in (stage.when, stage.provided, stage.again) if c is not None)
        for who in (*self.personas, *self.profiles):
            yield who.when
        for programme in self.programmes:
            yield from (c for c in (programme.when, programme.ends) if c is not None)
        yield from self.clocks.values()
        yield from (action.when for action in self.actions if action.when is not None)


def load(path: Path, customs: Mapping[str, Type] | None = None) -> Agreement:
    """The agreement of a file.  ``customs``: the custom fields of the mappings.  Raises MappingError, ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; `tandem agreement init` writes one to begin with") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return loads(text, str(path), customs)


def loads(text: str, file: str = "agreement.yaml", customs: Mapping[str, Type] | None = None) -> Agreement:
    """The agreement of a text.  Raises MappingError with all problems."""
    source = parse(text, file)
    if not isinstance(source.data, dict):
        raise MappingError([source.problem((), "has to hold keys and values", keys_of(FileSpec))])
    try:
        spec = FileSpec.model_validate(source.data)
    except ValidationError as error:
        raise MappingError([_explain(source, e) for e in error.errors()]) from None
    return _Builder(text, source, spec, facts.names(customs)).build()


class _Builder:
    def __init__(self, text: str, source: Source, spec: FileSpec, names: Mapping[str, FactKind]) -> None:
        self._text = text
        self._source = source
        self._spec = spec
        self._names = names
        self._problems: list[Problem] = []

    def build(self) -> Agreement:
        spec = self._spec
        stages = tuple(self._stage(rank, name) for rank, name in enumerate(spec.stages))
        by_name = {s.name: s for s in stages}
        for stage in stages:
            for former in spec.stages[stage.name].formerly:
                if former in by_name:
                    self._problem(("stages", stage.name, "formerly"), f"{former!r} is the name of another stage")
                by_name[former] = stage
        self._whole({s.name: s.rank for s in stages})
        reasons = {
            name: Reason(
                name, r.means, r.then == "reject", r.attempts, r.rest if r.rest is not None else spec.rejection.rest
            )
            for name, r in spec.reasons.items()
        }
        personas, profiles = self._who("personas", spec.personas), self._who("profiles", spec.profiles)
        programmes = self._programmes()
        actions = self._actions()
        owed, clocks = self._promises()
        if self._problems:
            raise MappingError(self._problems)
        digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]
        return Agreement(
            digest, self._text, spec, stages, reasons, personas, profiles, programmes, by_name, owed, clocks, actions
        )

    def _promises(self) -> tuple[Promises | None, dict[str, Condition]]:
        """What each side owes, and the conditions of its clocks."""
        if not self._spec.sla and not self._spec.calendars:
            return None, {}
        owed, problems = promises.read(self._source, tuple(self._spec.stages))
        self._problems += problems
        clocks = {}
        for clock in owed.sla.clocks.values() if owed is not None else ():
            condition = self._condition(("sla", "clocks", clock.name, "when"), clock.when)
            if condition is not None:
                clocks[clock.name] = condition
        return owed, clocks

    def _problem(self, path: tuple[str | int, ...], message: str, valid: Iterable[str] = ()) -> None:
        self._problems.append(self._source.problem(path, message, tuple(valid)))

    def _condition(self, path: tuple[str, ...], text: str | None) -> Condition | None:
        if text is None:
            return None
        try:
            return compiled(text, self._names)
        except Wrong as wrong:
            near = text[wrong.at : wrong.at + 30].split("\n")[0]
            where = f"at character {wrong.at + 1} ({near!r})" if near else "at the end"
            self._problem(path, f"{where}: {wrong.message}")
            return None

    def _stage(self, rank: int, name: str) -> Stage:
        spec, at = self._spec.stages[name], ("stages", name)
        stage = Stage(
            name,
            rank,
            spec.means,
            Team(spec.team),
            self._condition((*at, "when"), spec.when),
            frozenset(Team(t) for t in spec.said),
            self._condition((*at, "provided"), spec.provided),
            frozenset(spec.from_) if spec.from_ is not None else None,
            self._condition((*at, "again"), spec.again),
        )
        if spec.when is None and not spec.said and name not in {self._spec.rejection.to, self._spec.handover.accepted}:
            self._problem(at, "nothing makes it true: give it `when`, `said` or both")
        if spec.provided is not None and not spec.said:
            self._problem((*at, "provided"), "goes with `said`: nobody says this stage")
        if spec.again is not None and name != self._spec.handover.at:
            self._problem(
                (*at, "again"), f"stands at the stage of the handover only, which is {self._spec.handover.at}"
            )
        for other in spec.from_ if spec.from_ is not None else ():
            if other not in self._spec.stages or other == name:
                self._problem((*at, "from"), f"{other!r} is no other stage", self._spec.stages)
        return stage

    def _whole(self, ranks: Mapping[str, int]) -> None:
        handover, rejection = self._spec.handover, self._spec.rejection
        named: dict[tuple[str, ...], str | None] = {
            ("handover", "at"): handover.at,
            ("handover", "accepted"): handover.accepted,
            ("handover", "qualified"): handover.qualified,
            ("rejection", "to"): rejection.to,
            **{("targets", n, "stage"): target.stage for n, target in self._spec.targets.items()},
            **{
                ("programmes", n, "measure", "stage"): p.measure.stage
                for n, p in self._spec.programmes.items()
                if p.measure is not None
            },
        }
        unknown = {path: name for path, name in named.items() if name is not None and name not in ranks}
        for path, name in unknown.items():
            self._problem(path, f"there is no stage {name!r}{_maybe(name, ranks)}", ranks)
        if unknown:
            return
        if ranks[handover.qualified] <= ranks[handover.at]:
            self._problem(("handover", "qualified"), f"has to come after {handover.at}")
        if handover.accepted is not None and not (
            ranks[handover.at] < ranks[handover.accepted] < ranks[handover.qualified]
        ):
            self._problem(("handover", "accepted"), f"has to stand between {handover.at} and {handover.qualified}")
        if ranks[rejection.to] >= ranks[handover.at]:
            self._problem(("rejection", "to"), f"has to come before {handover.at}")

    def _who(self, part: str, specs: Mapping[str, WhoSpec]) -> tuple[Who, ...]:
        found = []
        for name, spec in specs.items():
            condition = self._condition((part, name, "when"), spec.when)
            if condition is not None:
                found.append(Who(name, spec.means, condition))
        return tuple(found)

    def _programmes(self) -> tuple[Programme, ...]:
        found = []
        tags: dict[str, str] = {}
        for name, spec in self._spec.programmes.items():
            at = ("programmes", name)
            when, ends = self._condition((*at, "when"), spec.when), self._condition((*at, "ends"), spec.ends)
            if spec.hold_out is not None and spec.measure is None:
                self._problem((*at, "hold_out"), "is of use only where something is measured: add `measure`")
            if spec.tag is not None:
                other = tags.setdefault(spec.tag.casefold(), name)
                if other != name:
                    self._problem((*at, "tag"), f"is the tag of {other}: members could not be told apart")
            if when is not None:
                measure = spec.measure
                stage, within = (measure.stage, measure.within) if measure is not None else (None, 0)
                share = spec.hold_out if spec.hold_out is not None else 0.0
                found.append(Programme(name, spec.means, when, ends, spec.days, spec.tag, share, stage, within))
        return tuple(found)

    def _actions(self) -> tuple[Action, ...]:
        found = []
        for name, spec in self._spec.steps.items():
            at = ("steps", name)
            if spec.did not in DOING:
                self._problem((*at, "did"), f"{spec.did!r} is nothing that is done{_maybe(spec.did, DOING)}", DOING)
            if spec.consent is not None and spec.channel is None:
                self._problem((*at, "consent"), "goes with `channel`: consent is given to one")
            channel = Channel(spec.channel) if spec.channel is not None else None
            condition = self._condition((*at, "when"), spec.when)
            found.append(Action(name, spec.means, spec.did, channel, spec.consent is not None, condition))
        return tuple(found)


def _maybe(word: str, valid: Iterable[str]) -> str:
    close = get_close_matches(word, list(valid), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


_MESSAGES: Mapping[str, str] = {
    "missing": "is missing",
    "string_type": "has to be a text",
    "int_type": "has to be a whole number",
    "bool_type": "has to be true or false",
    "list_type": "has to be a list",
    "dict_type": "has to hold keys and values",
    "model_type": "has to hold keys and values",
    "string_too_short": "is empty",
    "too_short": "is empty",
}


def _explain(source: Source, error: Mapping[str, Any]) -> Problem:
    kind, path = error["type"], tuple(p for p in error["loc"] if p != "[key]")
    if kind == "extra_forbidden":
        valid = keys_of(model_at(path[:-1]))
        return source.problem(path, f"unknown key{_maybe(str(path[-1]), valid)}", valid)
    if kind == "string_pattern_mismatch":
        return source.problem(
            path, "has another form: small letters, digits and _, a letter first; a date as YYYY-MM-DD"
        )
    message = _MESSAGES.get(kind, error["msg"].removeprefix("Value error, "))
    return source.problem(path if kind == "missing" else source.known(path), message)
