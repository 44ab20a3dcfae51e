"""The part of the contract about what people do: acts, who belongs to what, and timeline entries.

``connectors.contract`` hands these on; connectors import them from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Ref:
    """Points at one record: by the vendor's id (``key == "id"``) or by another unique key such as ``"email"``."""

    value: str = field(repr=False)
    key: str = "id"


class Doing(StrEnum):
    """The kinds of act.  A closed list: what a vendor calls otherwise is one of these, or is not told."""

    SEND = "send"  # a campaign's mail went out to the person
    OPEN = "open"
    CLICK = "click"
    BOUNCE = "bounce"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"
    REPLY = "reply"  # the person wrote back
    FORM = "form"
    PAGE_VISIT = "page_visit"
    SURVEY = "survey"
    EVENT = "event"  # signed up for or came to a webinar, a fair
    CALL = "call"
    MEETING = "meeting"
    MAIL = "mail"  # one person's mail to or from the contact, in the CRM
    MESSAGE = "message"  # SMS, chat, social network
    NOTE = "note"
    TASK = "task"


class Ending(StrEnum):
    """How an act ended, where the vendor says so.  A closed list."""

    CONNECTED = "connected"  # a call: they spoke
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    LEFT_MESSAGE = "left_message"
    WRONG_NUMBER = "wrong_number"
    PLANNED = "planned"  # not yet: ``Act.at`` lies ahead
    HELD = "held"  # a meeting took place; a call whose vendor says no more than that
    NO_SHOW = "no_show"
    CANCELLED = "cancelled"
    SENT = "sent"
    RECEIVED = "received"  # the contact called, wrote
    FAILED = "failed"
    DONE = "done"  # a task
    OPEN = "open"  # a task
    ANSWERED = "answered"  # a survey
    HARD = "hard"  # a bounce for good
    SOFT = "soft"  # a bounce for now


@dataclass(frozen=True, slots=True)
class Act:
    """One dated act of or with a contact."""

    id: str  # the vendor's, or made of what it says: equal whenever this act is told again, unlike that of any other
    who: Ref  # a contact's record, or an address (``key == "email"``)
    kind: Doing
    at: datetime  # aware, UTC, by the vendor's clock
    human: bool | None = None  # True a person did it, False a machine (sequence, link scanner), None not said
    by: Ref | None = None  # the colleague who acted: by the directory's id, or by address
    campaign: str | None = None
    variant: str | None = None  # of an A/B test
    channel: str | None = None  # email, phone, sms, post, web, meeting, social, ads
    outcome: Ending | None = None
    deal: str | None = None  # id of the deal it is about
    detail: Mapping[str, Any] = field(default_factory=dict, repr=False)  # title, URL, form; JSON-able; never a body


@dataclass(frozen=True, slots=True)
class ActPage:
    """One page of ``acts``; ``cursor`` and ``more`` as in ``Page``.  An act told again may say more than before."""

    acts: tuple[Act, ...]
    cursor: str
    more: bool


@dataclass(frozen=True, slots=True)
class Tie:
    """One record that another one belongs with."""

    id: str
    main: bool = False  # the person's main company, the deal's main contact or company
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """One readable entry for a record's timeline."""

    key: str  # same note, same key: it is written once
    id: str  # the record's
    at: datetime  # aware, UTC: when it happened
    text: str = field(repr=False)  # plain, one line or a few
    again: bool = False  # an earlier try may have taken effect: look first
