"""What one walk through the chain has in hand: records as they arrived, what is gathered, changed and marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.core.words import Channel, Claim, Decision, Entry, Value
from app.match.score import Score
from app.records.contacts import Contact
from app.records.links import Link
from app.records.refusals import Refusal
from app.sync import matching
from app.sync.identity import Likely
from connectors.contract import Record


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record as read, and what is known of the reading."""

    record: Record
    read_at: int  # when the reading began, by the database's clock (ms)
    event: int | None = None
    since: int | None = None  # when the change happened (ms), for freshness
    carried: bool = False  # came inside an event or a poll page, not read back just now
    earlier: tuple[Record, ...] = ()  # the same record as shown before: what it objected to still counts


class End(StrEnum):
    """What became of one record."""

    CHANGED = "changed"  # the contact has other values now
    SAME = "same"  # nothing new: an echo, or a change of what is not mapped
    STALE = "stale"  # older than what is known: ignored
    UNSURE = "unsure"  # read before our own last write ended: has to be read again
    BLOCKED = "blocked"  # of somebody who was deleted or erased, or whom the connection is not about: not taken in
    REVIEW = "review"  # a person has to decide; see the dead letter


OUTSIDE: Final = "outside"  # why a record is blocked: the connection is not about such people


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an arrival."""

    end: End
    contact_id: int | None = None
    reason: str | None = None
    code: str | None = None


@dataclass(slots=True)
class Batch:
    """What one batch has in hand."""

    links: dict[str, Link]
    contacts: dict[int, Contact]
    owners: dict[tuple[str, str], list[tuple[int, bool]]]
    created: list[Contact] = field(default_factory=list)
    changed: dict[int, Contact] = field(default_factory=dict)
    seconds: dict[str, Link] = field(default_factory=dict)  # of records that were second ones when they were read last
    dropped: list[Link] = field(default_factory=list)  # of second records that are none any more
    stood_for: list[Contact] = field(default_factory=list)  # contacts of second records, whose merged_into is new
    new_links: list[tuple[Link, Contact]] = field(default_factory=list)
    paired: dict[int, Link | None] = field(default_factory=dict)  # contact -> its link in the store, where asked for
    moved: dict[str, Link] = field(default_factory=dict)
    keys: dict[int, tuple[matching.Key, ...]] = field(default_factory=dict)  # of changed contacts
    keys_before: dict[int, tuple[matching.Key, ...]] = field(default_factory=dict)
    dirty: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    own: list[tuple[Contact, Link, int]] = field(default_factory=list)
    urgent: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # in the lane of withdrawals
    ledger: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))  # by address
    heard: set[str] = field(default_factory=set)  # addresses of which the store was asked
    entries: list[tuple[Entry, int | None]] = field(default_factory=list)  # new lines
    asked: list[tuple[Contact, Decision, int | None]] = field(default_factory=list)
    outranked: list[tuple[Contact, str]] = field(default_factory=list)  # (contact, where likeness paired it wrongly)
    renamed: list[tuple[str, str]] = field(default_factory=list)  # links whose record lives on under another id
    readdressed: list[tuple[Contact, Mapping[Channel, str | None], int, int | None]] = field(
        default_factory=list
    )  # contacts with the addresses they had, when that was said, and by which event
    inherited: set[str] = field(default_factory=set)  # records that took over a link
    settled: list[tuple[Contact, str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # addresses with a tombstone, and its reason
    back: list[tuple[str, int]] = field(default_factory=list)  # records that are there again, and their contacts
    likely: Likely | None = None  # whom records may belong to that no address decides; None: nobody asks
    before: dict[int, dict[str, Value]] = field(
        default_factory=dict
    )  # values of contacts before the batch changed them
    proposed: list[tuple[Contact, Contact, Score]] = field(default_factory=list)  # (older, newer) that may be one
    kept_out: list[tuple[Contact, Refusal]] = field(default_factory=list)  # claims that were not let in
    rulings: dict[str, str] = field(default_factory=dict)  # field -> what a person decided for every double edit
    governed: bool = False  # an agreement is in force: it decides over some fields
    told: list[tuple[Contact, dict[str, Any]]] = field(default_factory=list)  # what was said about leads
    temporary: int = 0
    tried: dict[int, bool] = field(default_factory=dict)  # contact -> was something about to be written to its link

    def refuse(self, contact: Contact, name: str, code: str, at: int, event: int | None, value: Value = None) -> None:
        """Remember a claim that was not let in."""
        self.kept_out.append((contact, Refusal(contact.id, name, code, at, event, value)))

    def mark(self, connection: str, contact: int, since: int) -> None:
        """Let ``connection`` compare; the oldest change of the batch counts for freshness."""
        marks = self.dirty[connection]
        marks[contact] = min(since, marks.get(contact, since))


def unused(arrival: Arrival, link: Link, modified: int | None, claim: Claim) -> Result | None:
    """Why a record's values cannot be used as they were read; None where they can."""
    if link.gone_at is not None and arrival.read_at <= link.gone_at:
        return Result(End.UNSURE, reason="read before the vendor said that it is deleted")
    if link.written_at >= arrival.read_at:
        # The reading began before our own last write ended: it may show what stood there before.  Asked before the
        # modified time, which is that of our write now: what somebody edited just before it was read by nobody yet.
        return Result(End.UNSURE, reason="read before our last write ended")
    if link.modified is not None and modified is not None and modified < link.modified:
        return Result(End.STALE, reason="older than what is known of the record")
    if arrival.carried and modified == link.modified and any(link.shadow.get(n) != claim[n] for n in claim):
        return Result(End.UNSURE, reason="same modified time, other values")
    return None
