"""Field by field: at which level do two records agree?  In: two pieces of evidence.  Out: findings.

A finding is a field, a level and the value both have where they have the same one.  A field that either side lacks
yields none.  Symmetric in its two sides.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from rapidfuzz.distance import OSA

from app.match.likeness import is_nickname, words_like
from app.match.normalise import Evidence
from app.match.people import Birth, Name
from app.match.places import Street
from app.match.reach import Email, Phone
from app.match.weights import Weights

_LETTERS: Final = re.compile(r"[^0-9]")
GENERATION: Final = 10
"""Years between two births from which one digit amiss is no slip but another member of the family."""
TELLING: Final = 8
"""Characters from which the part before the @ tells people apart: shorter ones are first names."""


class Finding(NamedTuple):
    """What one field shows.  ``value``: what both have, "" where it differs."""

    field: str
    level: str
    value: str = ""


def findings(a: Evidence, b: Evidence, w: Weights) -> list[Finding]:
    """What the fields show that both records have."""
    return [*named(a.name, b.name, w), *_reach(a, b), *_birth(a.birth, b.birth), *_place(a, b), *_work(a, b)]


def named(a: Name, b: Name, w: Weights) -> Iterator[Finding]:
    """What the names show."""
    found = _oriented(a, b, w)
    if sum(f.level in _SURE for f in found) < 2 and _may_be_crossed(a, b):
        ways = [_oriented(_turned(a), b, w), _oriented(a, _turned(b), w)]
        for way in ways:  # whose names are crossed is not known: the likelier way
            way.append(Finding("order", "crossed"))
        found = max(found, *ways, key=lambda way: (_sum(way, w), way))
    yield from found
    yield from _middle(a, b)
    ours, theirs = a.generation, b.generation
    if ours or theirs:
        yield Finding("generation", "same" if ours == theirs else "different" if ours and theirs else "one_sided")


_SURE: Final = frozenset({"exact", "close"})


def _may_be_crossed(a: Name, b: Name) -> bool:
    return words_like(a.first, b.last) in _SURE or words_like(a.last, b.first) in _SURE


def _turned(name: Name) -> Name:
    return Name(name.last, name.middle, name.first)


def _sum(found: list[Finding], w: Weights) -> float:
    return sum(w.weight(*f) for f in found)


def _oriented(a: Name, b: Name, w: Weights) -> list[Finding]:
    found = []
    if a.first and b.first:
        level = first_level(a.first, b.first, w)
        if level.startswith("different") and (a.first in b.middle or b.first in a.middle):
            level = "middle"
        found.append(Finding("first", level, a.first if level == "exact" else ""))
    if a.last and b.last:
        level = last_level(a.last, b.last, w)
        found.append(Finding("last", level, a.last if level == "exact" else ""))
    return found


def first_level(a: str, b: str, w: Weights) -> str:
    """How like two given names are."""
    if a == b:
        return "exact"
    if len(a) == 1 or len(b) == 1:
        return "initial" if a[0] == b[0] else "different"
    if is_nickname(a, b):
        return "nickname"
    if a.startswith(b) or b.startswith(a):
        return "prefix"
    return _names_apart(a, b, w, "first")


def last_level(a: str, b: str, w: Weights) -> str:
    """How like two family names are; of several words one may do."""
    if a == b or a.replace(" ", "") == b.replace(" ", ""):
        return "exact"
    if len(a) == 1 or len(b) == 1:
        return "initial" if a[0] == b[0] else "different"
    if (" " in a or " " in b) and not {w_ for w_ in a.split() if len(w_) > 3}.isdisjoint(b.split()):
        return "part"
    if a.startswith(b) or b.startswith(a):
        return "prefix"
    return _names_apart(a, b, w, "last")


def _names_apart(a: str, b: str, w: Weights, field: str) -> str:
    level = words_like(a, b)
    if w.known(field, a) and w.known(field, b):  # two names, not one name mistyped
        return "close_known" if level == "close" else "different_known"
    return level


def _middle(a: Name, b: Name) -> Iterator[Finding]:
    if a.middle and b.middle:
        ours, theirs = a.middle[0], b.middle[0]
        if ours[0] != theirs[0]:
            yield Finding("middle", "different")
        elif len(ours) == 1 or len(theirs) == 1:
            yield Finding("middle", "initial")
        else:
            level = words_like(ours, theirs)
            yield Finding("middle", level if level in ("exact", "close") else "different")


def _reach(a: Evidence, b: Evidence) -> Iterator[Finding]:
    if a.emails and b.emails:
        yield _best(_EMAIL_ORDER, "email", (_email(x, y) for x in a.emails for y in b.emails))
    if a.phones and b.phones:
        yield phone_level(a.phones, b.phones)


def phone_level(ours: tuple[Phone, ...], theirs: tuple[Phone, ...]) -> Finding:
    """The best agreement among the phones of two records that both have some."""
    return _best(_PHONE_ORDER, "phone", (_phone(x, y) for x in ours for y in theirs))


_EMAIL_ORDER = ("exact", "mailbox", "near", "local", "masked", "local_short", "different")
_PHONE_ORDER = ("exact", "office", "near", "different")


def _best(order: tuple[str, ...], field: str, pairs: Iterator[tuple[str, str]]) -> Finding:
    level, value = min(pairs, key=lambda pair: (order.index(pair[0]), pair[1]))
    return Finding(field, level, value)


def _email(a: Email, b: Email) -> tuple[str, str]:
    if a.masked or b.masked:
        fits = a.local.startswith(b.local) or b.local.startswith(a.local)
        return ("masked" if fits and a.domain == b.domain and a.masked != b.masked else "different"), ""
    if a.local == b.local and a.domain == b.domain:
        return ("exact" if a.valid else "near"), a.text
    if a.mailbox == b.mailbox:
        return "mailbox", ""
    if a.local == b.local:
        telling = len(a.local) >= TELLING or any(c.isdigit() for c in a.local)
        close = words_like(a.domain, b.domain) == "close"
        return ("near" if close and telling else "local" if telling else "local_short"), ""
    return ("near" if _mistyped(a, b) else "different"), ""


def _mistyped(a: Email, b: Email) -> bool:
    """Is one address the other with a slip?  Numbers tell namesakes apart: of those only one digit may differ."""
    most = 2 if min(len(a.local), len(b.local)) >= TELLING else 1
    if OSA.distance(a.text, b.text, score_cutoff=most) > most:  # nearly all end here
        return False
    return OSA.distance(*(_LETTERS.sub("", e.local) for e in (a, b)), score_cutoff=1) <= 1


def _phone(a: Phone, b: Phone) -> tuple[str, str]:
    if a.digits == b.digits or (a.number and a.number == b.number and not (a.extension and b.extension)):
        return "exact", a.number if a.number else a.digits
    if a.number and a.number == b.number:
        return "office", ""
    return ("near" if OSA.distance(a.digits, b.digits, score_cutoff=2) <= 2 else "different"), ""


def _birth(a: Birth | None, b: Birth | None) -> Iterator[Finding]:
    if a is None or b is None:
        return
    if (a.month, a.day) == (b.month, b.day) and (a.year == b.year or not (a.year and b.year)):
        yield Finding("birth", "exact" if a.year and b.year else "no_year", a.digits if a.year and b.year else "")
    elif not (a.year and b.year):
        yield Finding("birth", "different")
    else:
        yield Finding("birth", _days_apart(a, b))


def _days_apart(a: Birth, b: Birth) -> str:
    same = (a.year == b.year) + (a.month == b.month) + (a.day == b.day)
    swapped = a.year == b.year and (a.month, a.day) == (b.day, b.month)
    digits = sum(x != y for x, y in zip(a.digits, b.digits, strict=True))
    if abs(a.year - b.year) >= GENERATION:
        return "decade" if digits == 1 else "different"  # father and son may share the day
    if swapped or digits == 1 or (same == 2 and digits == 2):
        return "typo"
    months = abs((a.year - b.year) * 12 + a.month - b.month)
    if same == 2 or months <= 1 or digits == 2:
        return "near"
    return "decade" if months <= 14 else "different"


def _place(a: Evidence, b: Evidence) -> Iterator[Finding]:
    if a.street is not None and b.street is not None:
        yield Finding("street", _street(a.street, b.street))
    if a.postcode and b.postcode:
        level = "exact" if a.postcode == b.postcode else words_like(a.postcode, b.postcode)
        yield Finding("postcode", "near" if level == "close" else level if level == "exact" else "different")
    if a.city and b.city:
        level = words_like(a.city, b.city)
        level = level if level in ("exact", "close", "similar") else "different"
        yield Finding("city", level, a.city if level == "exact" else "")
    for field in ("region", "country"):
        ours, theirs = getattr(a, field), getattr(b, field)
        if ours and theirs:
            yield Finding(field, "exact" if ours == theirs else "different")


def _street(ours: Street, theirs: Street) -> str:
    if ours == theirs:
        return "exact"
    alike = words_like(ours.words, theirs.words) if ours.words and theirs.words else "different"
    numbers = set(ours.numbers) & set(theirs.numbers)
    if alike in ("exact", "close"):
        return "near" if numbers or words_like(" ".join(ours.numbers), " ".join(theirs.numbers)) == "close" else "part"
    return "part" if numbers and alike == "similar" else "different"


def _work(a: Evidence, b: Evidence) -> Iterator[Finding]:
    if a.company and b.company:
        yield Finding("company", company_level(a.company, b.company))
    if a.site and b.site:
        yield Finding("site", "exact" if a.site == b.site else "different")


def company_level(a: str, b: str) -> str:
    """How like two company names without legal form are; ``part``: one has all words of the other."""
    level = words_like(a, b)
    if level in ("exact", "close"):
        return level
    ours, theirs = set(a.split()), set(b.split())
    return "part" if ours <= theirs or theirs <= ours else level if level == "similar" else "different"
