"""How like are two folded texts: a level, never a number between.  Symmetric: the order of the two does not matter."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Final

from jellyfish import metaphone
from nicknames import NickNamer
from rapidfuzz.distance import OSA, JaroWinkler

CLOSE: Final = 0.93
"""Jaro–Winkler from which two words are one word mistyped (Winkler 1990 puts agreement of names at 0.88 to 0.94)."""


def words_like(a: str, b: str) -> str:
    """``exact``, ``close`` (a typo apart), ``similar`` (garbled), ``vague`` (half of it), ``different``."""
    if not a or not b:
        return "different"
    if a == b:
        return "exact"
    longer = max(len(a), len(b))
    apart = OSA.distance(a, b, score_cutoff=longer * 3 // 5 + 1)
    if apart == 1 and longer > 2:
        return "close"
    share = apart / longer
    if share > 0.6:
        return "different"
    if share <= 0.25 or _winkler(a, b) >= CLOSE:
        return "close"
    if share <= 0.4:
        return "similar"
    return "vague"


def _winkler(a: str, b: str) -> float:
    return JaroWinkler.similarity(a, b) if a <= b else JaroWinkler.similarity(b, a)


@cache
def _nicknames() -> NickNamer:
    return NickNamer()


@lru_cache(maxsize=8_000)
def _family(name: str) -> frozenset[str]:
    """The names that a name is short for, or that are short for it, and itself (the package's list is English)."""
    names = _nicknames()
    return frozenset(names.canonicals_of(name) | {name})


# Spellings of one sound within a given name, and endings of one: Karry, Carrie, Kari; Sara, Sarah; Philip, Phillip.
_SPELT: Final = tuple((re.compile(was), now) for was, now in (("ph", "f"), ("ch(?=r)|c(?!h)", "k"), ("(.)\\1+", r"\1")))
_ENDS: Final = re.compile(r"(ie|ey|ee|i|y)$")
_MUTE: Final = re.compile(r"(?<=..)h$")
_TWO_NAMES: Final = frozenset({frozenset({"mary", "marie"}), frozenset({"julie", "july"}), frozenset({"lee", "leigh"})})
"""Spelt alike by these rules, and yet two names."""


@lru_cache(maxsize=8_000)
def _spelling(name: str) -> str:
    for was, now in _SPELT:
        name = was.sub(now, name)
    return _MUTE.sub("", _ENDS.sub("y", name))


def is_nickname(a: str, b: str) -> bool:
    """Whether one person can bear both given names: Bob and Robert, Bob and Rob, Carrie and Kari.

    Not Edward and Edgar, although both may be Ed, nor Betty and Lisa, although both may be Elizabeth: sisters are.
    """
    if _spelling(a) == _spelling(b):
        return frozenset({a, b}) not in _TWO_NAMES
    ours, theirs = _family(a), _family(b)
    if a in theirs or b in ours:
        return True
    return not ours.isdisjoint(theirs) and words_like(a, b) == "close"


def sound(word: str) -> str:
    """How a word sounds in English (Metaphone, Philips 1990); "" for what has no sound, as digits."""
    return str(metaphone(word)).replace(" ", "")
