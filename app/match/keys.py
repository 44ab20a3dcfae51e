"""Blocking keys: two records that share one are compared, others never are.  In: evidence.  Out: short texts.

A key combines two facts where one alone would gather a crowd, so that cutting over-full blocks costs little: the crowd
of ``John Smith`` is also found by phone, by post code, by birth date, by employer.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from app.match.likeness import sound
from app.match.normalise import Evidence

MOST: Final = 16
"""Keys of one record, at most: each is a row in an index."""

LONGEST: Final = 64
"""Characters of a key, at most."""

BLOCK: Final = 50
"""Records looked at per key: of a fuller block only the newest, since what it holds in common is no evidence."""


def blocking(e: Evidence) -> tuple[str, ...]:
    """The keys of a record, the most telling first; each once, at most ``MOST``; none where nothing is said."""
    return tuple(dict.fromkeys(key[:LONGEST] for key in _keys(e)))[:MOST]


def short(found: Iterable[str]) -> set[str]:
    """Keys in the length in which they are filed."""
    return {key[:LONGEST] for key in found}


def _keys(e: Evidence) -> Iterator[str]:
    yield from _reach(e)
    first, last = e.name.first, e.name.last
    if e.birth is not None and e.birth.year:
        yield f"b:{e.birth.digits}"
    yield from of_names(e)
    if first and last:
        yield f"s:{'|'.join(sorted((sound(first)[:4], sound(last)[:5])))}"
    yield from of_street(e)
    if e.street is not None and e.street.numbers:
        place = f"{e.street.numbers[0]}|{e.street.words[:5]}"
        for mark, name in (("a", last), ("f", first)):
            if name:
                yield f"{mark}:{name[:3]}|{place}"
    for mark, name in (("c", last), ("d", first)):
        if name and e.company:
            yield f"{mark}:{name[:3]}|{e.company[:5]}"
    for mark, name in (("t", last), ("u", first)):
        if name and e.city:
            yield f"{mark}:{name[:3]}|{e.city[:5]}"
    if last and e.site:
        yield f"w:{last[:4]}|{e.site}"
    if last and e.postcode:
        yield f"z:{last[:4]}|{e.postcode}"
    yield from _sparse(e)


def of_mailboxes(e: Evidence) -> Iterator[str]:
    """The keys of its addresses."""
    for email in e.emails[:2]:
        yield f"m:{email.mailbox}"


def of_phones(e: Evidence) -> Iterator[str]:
    """The keys of its phones, each in full."""
    for phone in e.phones[:2]:
        yield f"p:{phone.number[1:] if phone.number else phone.digits}"


def of_street(e: Evidence) -> Iterator[str]:
    """The key of its street with the house number."""
    if e.street is not None and e.street.numbers:
        yield f"o:{e.street.text}"


def of_names(e: Evidence) -> Iterator[str]:
    """The key of both names, in either order."""
    if e.name.first and e.name.last:
        yield f"n:{'|'.join(sorted((e.name.first, e.name.last)))}"


def _reach(e: Evidence) -> Iterator[str]:
    for email in e.emails[:2]:
        yield f"m:{email.mailbox}"
        if len(email.local) >= 5:
            yield f"l:{email.local}"
    for phone in e.phones[:2]:
        yield f"p:{phone.number[1:] if phone.number else phone.digits}"
        yield f"q:{phone.digits[-7:]}"
        yield f"r:{phone.digits[:10]}"


def _sparse(e: Evidence) -> Iterator[str]:
    """For records that say little or say it badly: a piece of one fact with a piece of another."""
    first, last = e.name.first, e.name.last
    if e.company and e.city:
        yield f"g:{e.company[:4]}|{e.city[:4]}"
    if e.emails:
        email = e.emails[0]
        yield f"k:{email.local[:3]}|{email.domain}|{min(first[:1], last[:1])}"
    if e.birth is not None and e.birth.year:
        if e.city:
            yield f"y:{e.birth.year}|{e.city[:3]}"
        yield f"x:{e.birth.month}|{e.birth.day}|{(last or first)[:2]}"
    if e.street is not None:
        yield f"h:{first[:2]}|{last[:2]}|{e.street.words[:8]}"
    if first and last:
        yield f"i:{'|'.join(sorted((first[:3], last[:3])))}|{e.region}"
