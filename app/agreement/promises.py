"""The sections ``calendars:`` and ``sla:`` of the agreement's YAML: text in, values or every problem with its line out.

Pure.  Grammar and meaning: docs/sla.md.  Other sections of the file are no concern of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.agreement._promises_texts import (
    DURATIONS,
    WEEKDAYS,
    country,
    duration,
    own_day,
    percent,
    span_of,
    weekdays,
    windows_of,
)
from app.agreement.hours import Calendar, Holidays, Window
from app.agreement.terms import ATTEMPTS, CONTACT, DISPOSITION, FIRST_TOUCH, Clock, Escalation, Need, Quota, Sla, Span
from app.agreement.terms import Terms as ClockTerms
from app.sync._mapping_grammar import keys_of, maybe
from app.sync._mapping_yaml import MappingError, Problem, Source, parse

ACCEPTED: Final = "accepted"
"""By the standing of the lead, whatever its stage."""
ENDS: Final = (FIRST_TOUCH, CONTACT, ATTEMPTS, DISPOSITION)

_T = TypeVar("_T")
_Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,60}$")]
_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=500)]
_Path: TypeAlias = tuple[str | int, ...]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CalendarSpec(_Model):
    """When a team works."""

    zone: _Text = Field(description="IANA name of the time zone, such as Europe/Berlin")
    week: dict[str, str] = Field(min_length=1, description='weekday or weekdays: windows, as mon-fri: "09:00-17:00"')
    holidays: _Text | None = Field(None, description="country, or country and part of it, as DE or DE-BE")
    days: dict[str, str] = Field(
        default_factory=dict, description="2026-12-24, or 12-24 for every year: windows, closed or usual"
    )


class EscalationSpec(_Model):
    """Who hears of a breach."""

    to: _Text = Field(description="who hears of it")
    after: str | None = Field(None, description="business time after the breach; at once where nothing is said")
    reassign: bool = Field(default=False, description="whether the lead then goes to somebody else")


class NeedSpec(_Model):
    """How many attempts."""

    attempts: int = Field(ge=1, le=100, description="how many")
    channels: int = Field(1, ge=1, le=10, description="on how many different channels")
    count_unknown: bool = Field(default=False, description="whether acts count of which nobody says who did them")


class ClockSpec(_Model):
    """One clock of sales."""

    begins: _Name = Field(description="the stage that starts it")
    ends: _Name = Field(description="first_touch, contact, attempts, disposition, or a stage")
    within: str = Field(description='business time, as "4 hours", or "10 working days"')
    need: NeedSpec | None = Field(None, description="the attempts, where it ends by attempts")
    hours: Literal["business", "always"] = Field("business", description="always: nights and holidays count")
    when: _Text | None = Field(None, description="a condition; other leads do not have this clock")
    at_risk: str | Literal[False] = Field("80%", description="share of the time after which it is at risk; false: none")
    remind: list[str] = Field(default_factory=list, description='business time before it is due, as "1 hour"')
    escalate: list[EscalationSpec] = Field(default_factory=list, description="who hears of a breach, and when")
    pause_for: list[_Text] = Field(default_factory=list, description="reasons for which it may be paused")
    on_reassign: Literal["continue", "restart"] = Field("continue", description="what a new owner finds on the clock")
    on_new_version: Literal["keep", "adopt"] = Field("keep", description="whether running clocks take new terms")


class QuotaSpec(_Model):
    """One promise of marketing."""

    counts: _Name = Field(description="the stage that a lead has to reach in the period")
    per: Literal["week", "month", "quarter"] = Field(description="the period")
    at_least: int | str = Field(description="how many leads; with `accepted`, what share of them, as 60%")
    accepted: _Name | None = Field(None, description="the stage by which sales accepts, or the word accepted")


class SlaSpec(_Model):
    """What each side owes."""

    calendar: _Name = Field(description="the calendar of teams that `teams` does not name")
    teams: dict[_Text, _Name] = Field(default_factory=dict, description="team: its calendar")
    clocks: dict[_Name, ClockSpec] = Field(default_factory=dict, description="what sales owes")
    marketing: dict[_Name, QuotaSpec] = Field(default_factory=dict, description="what marketing owes")


class PromisesSpec(_Model):
    """The two sections."""

    calendars: dict[_Name, CalendarSpec] = Field(min_length=1, description="name: when a team works")
    sla: SlaSpec = Field(description="what each side owes")


_MODELS: Final[Mapping[tuple[str | None, ...], type[_Model]]] = {
    (): PromisesSpec,
    ("calendars", None): CalendarSpec,
    ("sla",): SlaSpec,
    ("sla", "clocks", None): ClockSpec,
    ("sla", "clocks", None, "need"): NeedSpec,
    ("sla", "clocks", None, "escalate", None): EscalationSpec,
    ("sla", "marketing", None): QuotaSpec,
}
_MESSAGES: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "string_type": "has to be a text; quote what looks like a number",
    "int_type": "has to be a whole number",
    "bool_type": "has to be true or false",
    "list_type": "has to be a list",
    "dict_type": "has to hold keys and values",
    "model_type": "has to hold keys and values",
    "string_too_short": "is empty",
    "too_short": "is empty",
    "string_pattern_mismatch": "a name has small letters, digits and _, and begins with a letter",
}


@dataclass(frozen=True, slots=True)
class Promises:
    """The calendars by name, and what each side owes."""

    calendars: Mapping[str, Calendar]
    sla: Sla

    @property
    def terms(self) -> ClockTerms:
        """What clocks need of it."""
        return ClockTerms(self.sla.clocks, self.calendars)


def loads(text: str, file: str, stages: Collection[str] | None = None) -> Promises:
    """The two sections of a text.  Raises MappingError with all problems."""
    source = parse(text, file)
    found, problems = read(source, stages)
    if found is None:
        raise MappingError(problems)
    return found


def read(source: Source, stages: Collection[str] | None = None) -> tuple[Promises | None, list[Problem]]:
    """The two sections of a file that is parsed already, or what is wrong with them.

    ``stages``: those that the agreement has; None: not checked.
    """
    data = source.data if isinstance(source.data, dict) else {}
    ours = {name: data[name] for name in PromisesSpec.model_fields if name in data}
    try:
        spec = PromisesSpec.model_validate(ours)
    except ValidationError as error:
        return None, [_explain(source, e) for e in error.errors()]
    build = _Build(source, spec, stages)
    found = build.promises()
    return (None, build.problems) if build.problems else (found, [])


class _Build:
    """From the checked grammar to values; what does not fit is collected."""

    def __init__(self, source: Source, spec: PromisesSpec, stages: Collection[str] | None) -> None:
        self.source, self.spec, self.stages = source, spec, stages
        self.problems: list[Problem] = []

    def promises(self) -> Promises:
        """All of it; worth something only where there are no problems."""
        calendars = {
            name: calendar
            for name, about in self.spec.calendars.items()
            if (calendar := self._calendar(name, about)) is not None
        }
        sla = self.spec.sla
        self._known(("sla", "calendar"), sla.calendar, tuple(self.spec.calendars), "calendar")
        for team, name in sla.teams.items():
            self._known(("sla", "teams", team), name, tuple(self.spec.calendars), "calendar")
        clocks = {name: self._clock(name, about) for name, about in sla.clocks.items()}
        marketing = {name: self._quota(name, about) for name, about in sla.marketing.items()}
        return Promises(calendars, Sla(sla.calendar, dict(sla.teams), clocks, marketing))

    # --- calendars ----------------------------------------------------------------------------------------------------

    def _calendar(self, name: str, about: CalendarSpec) -> Calendar | None:
        at: _Path = ("calendars", name)
        before = len(self.problems)
        week: list[tuple[Window, ...]] = [()] * 7
        said: dict[int, str] = {}
        for key, text in about.week.items():
            windows = self._try((*at, "week", key), windows_of, text)
            for day in self._try((*at, "week", key), weekdays, key) or ():
                if day in said:
                    self._wrong((*at, "week", key), f"{WEEKDAYS[day]} stands in {said[day]!r} already")
                said[day] = key
                week[day] = windows if windows is not None else ()
        public = None
        if about.holidays is not None:
            public = self._try((*at, "holidays"), lambda text: Holidays(*country(text)), about.holidays)
        days = []
        for key, text in about.days.items():
            own = self._try((*at, "days", key), partial(own_day, key), text)
            if own is not None:
                days.append(own)
        if len(self.problems) > before:
            return None
        if not any(week):
            self._wrong((*at, "week"), "no window in the week: nothing would ever be due")
            return None
        return self._try((*at, "zone"), lambda zone: Calendar(name, zone, tuple(week), public, tuple(days)), about.zone)

    # --- clocks -------------------------------------------------------------------------------------------------------

    def _clock(self, name: str, about: ClockSpec) -> Clock:
        at: _Path = ("sla", "clocks", name)
        self._stage((*at, "begins"), about.begins)
        if about.ends not in ENDS:
            self._stage((*at, "ends"), about.ends, ENDS)
        if about.ends == ATTEMPTS and about.need is None:
            self._wrong((*at, "ends"), "a clock that ends by attempts needs to know how many: `need`")
        if about.need is not None:
            if about.ends != ATTEMPTS:
                self._wrong((*at, "need"), "only a clock that ends by attempts needs them")
            if about.need.channels > about.need.attempts:
                self._wrong((*at, "need", "channels"), "more channels than attempts")
        within = self._try((*at, "within"), span_of, about.within)
        if within is not None and within.working_days and about.hours == "always":
            self._wrong((*at, "within"), "a clock that always runs knows no working days", DURATIONS)
        remind = []
        for index, text in enumerate(about.remind):
            before = self._try((*at, "remind", index), duration, text)
            if before is None:
                continue
            if within is not None and within.ms and before >= within.ms:
                self._wrong(
                    (*at, "remind", index), f"not before the clock has started: it is due within {about.within}"
                )
            if before in remind:
                self._wrong((*at, "remind", index), "stands here twice")
            remind.append(before)
        return Clock(
            name=name,
            begins=about.begins,
            ends=about.ends,
            within=Span(1) if within is None else within,
            need=None
            if about.need is None
            else Need(about.need.attempts, about.need.channels, about.need.count_unknown),
            hours=about.hours,
            when=about.when,
            at_risk=None if about.at_risk is False else self._at_risk((*at, "at_risk"), about.at_risk),
            remind=tuple(remind),
            escalate=tuple(self._escalations((*at, "escalate"), about.escalate)),
            pause_for=tuple(about.pause_for),
            on_reassign=about.on_reassign,
            on_new_version=about.on_new_version,
        )

    def _at_risk(self, at: _Path, text: str) -> int | None:
        share = self._try(at, percent, text)
        if share is not None and not 1 <= share <= 99:
            self._wrong(at, "between the start and the end: 1% to 99%, or false for none")
        return share

    def _escalations(self, at: _Path, specs: Sequence[EscalationSpec]) -> Iterator[Escalation]:
        said: set[tuple[int, str]] = set()
        for index, about in enumerate(specs):
            after = 0 if about.after is None else self._try((*at, index, "after"), duration, about.after)
            if after is None:
                continue
            if (after, about.to) in said:
                self._wrong((*at, index), f"{about.to!r} hears of it then already")
            said.add((after, about.to))
            yield Escalation(about.to, after, about.reassign)

    # --- quotas -------------------------------------------------------------------------------------------------------

    def _quota(self, name: str, about: QuotaSpec) -> Quota:
        at: _Path = ("sla", "marketing", name)
        self._stage((*at, "counts"), about.counts)
        least: int | None
        if about.accepted is None:
            least = about.at_least if isinstance(about.at_least, int) else None
            if least is None or least < 1:
                self._wrong((*at, "at_least"), "has to be a number of leads; a share needs `accepted`, too", ("120",))
        else:
            self._stage((*at, "accepted"), about.accepted, (ACCEPTED,))
            least = self._try((*at, "at_least"), percent, str(about.at_least))
            if least is not None and not 1 <= least <= 100:
                self._wrong((*at, "at_least"), "has to be a share from 1% to 100%")
        return Quota(name, about.counts, about.per, 1 if least is None else least, about.accepted)

    # --- problems -----------------------------------------------------------------------------------------------------

    def _try(self, at: _Path, make: Callable[[str], _T], text: str) -> _T | None:
        try:
            return make(text)
        except ValueError as error:
            self._wrong(at, str(error))
            return None

    def _stage(self, at: _Path, name: str, others: Sequence[str] = ()) -> None:
        if self.stages is not None:
            self._known(at, name, (*others, *self.stages), "stage")

    def _known(self, at: _Path, name: str, valid: Sequence[str], what: str) -> None:
        if name not in valid:
            self._wrong(at, f"no {what} {name!r}{maybe(name, valid)}", valid)

    def _wrong(self, at: _Path, message: str, valid: Sequence[str] = ()) -> None:
        self.problems.append(self.source.problem(at, message, valid))


def _explain(source: Source, error: Mapping[str, Any]) -> Problem:
    """What pydantic says, in the words of whoever edits the file."""
    kind, path = error["type"], tuple(p for p in error["loc"] if p != "[key]")
    message = _MESSAGES.get(kind, error["msg"])
    if kind == "extra_forbidden":
        valid = keys_of(_model_at(path[:-1]))
        return source.problem(path, message + maybe(str(path[-1]), valid), valid)
    if kind == "missing":
        about = _model_at(path[:-1]).model_fields[str(path[-1])].description
        return source.problem(path, message, (about if about is not None else "",))
    if kind == "literal_error":
        valid = tuple(str(w) for w in get_args(_model_at(path[:-1]).model_fields[str(path[-1])].annotation))
        return source.problem(path, f"{error['input']!r} is not valid{maybe(str(error['input']), valid)}", valid)
    # Inside unions pydantic adds words of its own to the path; people look for what stands in the file.
    return source.problem(source.known(path), message)


def _model_at(path: Sequence[str | int]) -> type[_Model]:
    for pattern, model in _MODELS.items():
        if len(pattern) == len(path) and all(p is None or p == q for p, q in zip(pattern, path, strict=True)):
            return model
    return PromisesSpec
