"""The grammar of the agreement's file: what may stand where.  Strict: an unknown key is refused with its line.

Stages stand in their order, the earliest first.  What only the whole file can tell (does the stage exist, does the
condition fit its facts) is ``app.agreement.load``'s.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

TeamWord = Literal["sales", "marketing"]
NAME: Final = r"^[a-z][a-z0-9_]{0,40}$"
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]
Formula = Annotated[str, Field(min_length=1, max_length=2_000)]

_REST = re.compile(r"(\d{1,5})(h|d)")
_SHARE = re.compile(r"(\d{1,2})%")
_HOUR: Final = 3_600_000


def _rest(value: Any) -> Any:
    """``36h``, ``30d`` as ms; days are of 24 hours."""
    found = _REST.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a length of time is written like 36h or 30d")
    return int(found[1]) * _HOUR * (24 if found[2] == "d" else 1)


Rest = Annotated[int, BeforeValidator(_rest)]


def _share(value: Any) -> Any:
    """``10%`` as 0.1; from 1% to 50%."""
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= 50:
        raise ValueError("a share is written like 10%, and is from 1% to 50%")
    return int(found[1]) / 100


Share = Annotated[float, BeforeValidator(_share)]


class Model(BaseModel):
    """Strict and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class StageSpec(Model):
    """One stage, and what makes it true."""

    means: Text = Field(description="in plain words")
    team: TeamWord = Field("marketing", description="whose people are meant to act at this stage")
    when: Formula | None = Field(None, description="condition that makes it true by itself")
    said: list[TeamWord] = Field(default_factory=list, description="whose word makes it true")
    provided: Formula | None = Field(None, description="condition that has to hold when it is said")
    from_: list[Name] | None = Field(
        None, alias="from", description="stages from which it is reached; without it, from every earlier one and none"
    )
    again: Formula | None = Field(None, description="condition instead of `when` for a lead that was given back")
    formerly: list[Name] = Field(default_factory=list, description="what an earlier version called it")


class HandoverSpec(Model):
    """The two halves of a lead: marketing's, until it is handed over, and sales' from then on."""

    at: Name = Field(description="the stage with which marketing hands over")
    accepted: Name | None = Field(None, description="stage that a lead comes to when sales accepts it, if any")
    qualified: Name = Field(description="the stage at which sales found a need")


class RejectionSpec(Model):
    """What sales owes before it gives a lead back."""

    attempts: int = Field(3, ge=0, le=50, description="attempts to reach the person since the handover")
    channels: int = Field(1, ge=1, le=6, description="on so many channels")
    to: Name = Field(description="stage that a lead goes back to")
    rest: Rest = Field(30 * 24 * _HOUR, description="how long it is not handed over again, e.g. 30d")


class ReasonSpec(Model):
    """A reason for giving a lead back."""

    means: Text = Field(description="in plain words")
    then: Literal["recycle", "reject"] = Field("recycle", description="recycle: it may come again; reject: never")
    attempts: bool = Field(default=True, description="whether the attempts are owed first")
    rest: Rest | None = Field(None, description="instead of the general one")


class WhoSpec(Model):
    """A kind of person, or of company."""

    means: Text = Field(description="in plain words")
    when: Formula = Field(description="condition")


class TargetSpec(Model):
    """What is to be reached in each period."""

    means: Text = Field(description="in plain words")
    stage: Name = Field(description="counted: leads that came to this stage")
    per: Literal["week", "month", "quarter"] = Field(description="period")
    at_least: int = Field(ge=0, description="so many")


class GoalSpec(Model):
    """What both work for."""

    means: Text = Field(description="in plain words")
    target: float | int = Field(description="the figure")
    unit: Text = Field(description="of the figure")
    by: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(description="date")


class MeasureSpec(Model):
    """What a programme is to bring about."""

    stage: Name = Field(description="counted: who came to this stage, or past it")
    within: Rest = Field(description="of the enrolment, e.g. 90d")


class ProgrammeSpec(Model):
    """People to whom both pay attention together, for a while."""

    means: Text = Field(description="in plain words")
    when: Formula = Field(description="condition that enrols somebody when it becomes true")
    ends: Formula | None = Field(None, description="condition that ends it")
    days: int | None = Field(None, ge=1, le=3_650, description="it ends after so many days")
    tag: Annotated[str, Field(pattern=r"^[^\s;,][^;,]{0,98}[^\s;,]$")] | None = Field(
        None, description="by which the platforms know the members"
    )
    hold_out: Share | None = Field(None, description="share of the enrolled that is left without it, e.g. 10%")
    measure: MeasureSpec | None = Field(None, description="what it is to bring about")


class ActionSpec(Model):
    """Something that sales may do next with a lead."""

    means: Text = Field(description="in plain words")
    did: Text = Field(description="the kind of engagement by which it shows that it was done")
    channel: Literal["email", "phone", "sms", "post"] | None = Field(
        None, description="by which the person is reached; nobody is who withdrew consent to it"
    )
    consent: Literal["granted"] | None = Field(None, description="granted: only with consent to the channel")
    when: Formula | None = Field(None, description="condition; without it always")


class FileSpec(Model):
    """What sales and marketing agreed."""

    version: Literal[1] = Field(description="of this grammar")
    title: Text = Field(description="of the agreement")
    glossary: dict[Annotated[str, Field(min_length=1, max_length=60)], Text] = Field(
        default_factory=dict, description="term: what both mean by it"
    )
    stages: dict[Name, StageSpec] = Field(min_length=1, max_length=30, description="in their order")
    handover: HandoverSpec = Field(description="from marketing to sales")
    rejection: RejectionSpec = Field(description="back from sales to marketing")
    reasons: dict[Name, ReasonSpec] = Field(min_length=1, description="for giving a lead back")
    personas: dict[Name, WhoSpec] = Field(default_factory=dict, description="kinds of people; the first that fits")
    profiles: dict[Name, WhoSpec] = Field(default_factory=dict, description="ideal clients; the first that fits")
    calendars: dict[str, Any] = Field(default_factory=dict, description="business hours")
    sla: dict[str, Any] = Field(default_factory=dict, description="what each owes the other, and by when")
    targets: dict[Name, TargetSpec] = Field(default_factory=dict, description="figures of each period")
    goal: GoalSpec | None = Field(None, description="what both work for")
    programmes: dict[Name, ProgrammeSpec] = Field(default_factory=dict, description="whom both look after together")
    steps: dict[Name, ActionSpec] = Field(default_factory=dict, description="what sales may do next with a lead")


MODELS: Final[dict[tuple[str | None, ...], type[Model]]] = {
    (): FileSpec,
    ("stages", None): StageSpec,
    ("handover",): HandoverSpec,
    ("rejection",): RejectionSpec,
    ("reasons", None): ReasonSpec,
    ("personas", None): WhoSpec,
    ("profiles", None): WhoSpec,
    ("targets", None): TargetSpec,
    ("goal",): GoalSpec,
    ("programmes", None): ProgrammeSpec,
    ("steps", None): ActionSpec,
    ("programmes", None, "measure"): MeasureSpec,
}
"""Where in the file which model's keys stand; None = any name."""


def keys_of(model: type[Model]) -> tuple[str, ...]:
    """The keys that a part of the file may have, as they are written."""
    return tuple(f.alias if f.alias is not None else name for name, f in model.model_fields.items())


def model_at(path: tuple[str | int, ...]) -> type[Model]:
    """The model of the part at a path."""
    for pattern, model in MODELS.items():
        if len(pattern) == len(path) and all(p is None or p == q for p, q in zip(pattern, path, strict=True)):
            return model
    return FileSpec
