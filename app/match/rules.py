"""What no sum of weights may overrule: contradictions, and what a link without asking needs.  In: levels.  Pure.

Relatives and colleagues share much: a name, an address, a phone, a mailbox, twins even a birth date.  A table of such
cases, each with a sentence for whoever decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHARED: Final = frozenset({"last", "street", "postcode", "city", "region", "country", "company", "site"})
"""What relatives at one address or colleagues in one office have in common."""

_RELATIVES: Final = ("birth", "generation", "middle")
"""Where these differ, one name is borne by two of a family."""

Levels = Mapping[str, str]
"""Field → level, of the fields that both records have."""

OTHER: Final = frozenset({"close_known", "vague", "different", "different_known"})
"""Levels of a name that may be another name."""

TWO_NAMES: Final = frozenset({"close_known", "different_known"})
"""Levels of two names that are both in use, so neither is the other one mistyped."""

SAME_HOUSE: Final = frozenset({"exact", "near"})
SAME_FIRST: Final = frozenset({"exact", "nickname", "close"})
SAME_LAST: Final = frozenset({"exact", "close", "part"})
SAME_EMAIL: Final = frozenset({"exact"})
AGREES: Final = frozenset({"exact", "mailbox", "near", "local"})
NEAR_EMAIL: Final = frozenset({"mailbox", "near", "local"})
"""Addresses that may be one mailbox: a fact beside others, never enough by itself."""


def shared(levels: Levels) -> frozenset[str]:
    """The fields that say together no more than "one household" or "one office".

    Where a name differs these are more: the phone of the house, the birth date of twins, the mailbox of a couple.
    """
    first = levels.get("first")
    if first in TWO_NAMES:
        return SHARED | {"phone", "birth", "email"}
    if first in OTHER:  # a name that nobody has may be the same one garbled
        return SHARED | {"phone", "birth"}
    relative = levels.get("last") in TWO_NAMES or any(levels.get(f) in OTHER | {"one_sided"} for f in _RELATIVES)
    return SHARED | {"phone"} if relative else SHARED


def contradiction(levels: Levels) -> str | None:
    """The first thing that speaks against one person whatever else agrees, in words; None where nothing does."""
    first, last = levels.get("first"), levels.get("last")
    if levels.get("generation") == "different":
        return "two generations of one name: junior and senior"
    if levels.get("birth") in {"decade", "different"}:
        return "two dates of birth"
    if first in OTHER:
        return _other_first(levels)
    if levels.get("middle") == "different":
        return "two middle names"
    if last in OTHER and levels.get("birth") != "exact":
        return "two family names"
    return None


def _other_first(levels: Levels) -> str | None:
    if levels.get("birth") in {"exact", "typo"} and levels.get("last") not in OTHER:
        return "two given names, one family name and birth date: twins"
    if levels.get("street") in SAME_HOUSE or levels.get("phone") in {"exact", "office"}:
        return "two given names at one address or phone: a household or an office"
    if levels.get("email") in SAME_EMAIL:
        return "two given names behind one e-mail address: a shared mailbox"
    return "two given names"


def is_sure(levels: Levels) -> bool:
    """Whether the evidence is strong enough to link without asking.

    Either the address alone identifies and no name speaks against it, or two independent facts do beside both names.
    A name at an address never does: father and son may share both.
    """
    first, last = levels.get("first"), levels.get("last")
    email, phone = levels.get("email") in SAME_EMAIL, levels.get("phone") == "exact"
    if levels.get("generation") == "one_sided":
        return False
    if email and phone and "similar" in (first, last) and (first in SAME_FIRST or last in SAME_LAST):
        return True
    if email and (first in {"exact", "nickname"} or (first is None and last is None)):
        return True
    if first not in SAME_FIRST or last not in SAME_LAST:
        return False
    if email:
        return True
    if levels.get("birth") == "exact":
        return any(levels.get(f) in AGREES for f in ("email", "phone", "street", "postcode", "city"))
    if levels.get("birth") == "typo":
        return phone or levels.get("email") in NEAR_EMAIL
    if phone:
        return levels.get("company") in SAME_LAST or levels.get("email") in NEAR_EMAIL
    return levels.get("email") in NEAR_EMAIL and levels.get("company") in {"exact", "close"}
