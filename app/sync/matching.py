"""Who is this?  In: a claim, and who owns its keys.  Out: a contact, "new", or a conflict; never a guess.

The link comes first and is the chain's business.  Then exact keys, as the mapping normalised them: nothing is folded
here, so ``a.b@x`` and ``ab@x`` stay two people unless a mapping says otherwise.  A masked address says nobody: many
have it.  Whom no address says is found by likeness (``app.sync.identity``).  Pure: reads no store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.core.words import Claim, Value
from app.match.reach import is_masked

PHONES = ("phone", "mobile_phone")


@dataclass(frozen=True, slots=True)
class Key:
    """One key under which a contact can be found.  A strong one belongs to a single contact."""

    key: str
    value: str = field(repr=False)
    strong: bool


@dataclass(frozen=True, slots=True)
class Match:
    """Whose record it is.  ``contact`` None: nobody's yet."""

    contact: int | None
    how: str
    conflict: str | None = None


def keys_of(values: Mapping[str, Value], strong: Collection[str] = ("email",)) -> tuple[Key, ...]:
    """The keys of a contact's values (or of a claim).

    Further addresses are keys of the same name as the first address, but not strong: two people may share one.  Nor is
    a masked one; it stays a key, since the consent to write to it is asked for by it.
    """
    found: dict[tuple[str, str], Key] = {}
    for name in strong:
        value = values.get(name)
        if isinstance(value, str) and value:
            found[(name, value)] = Key(name, value, strong=name != "email" or not is_masked(value))
    alternates = values.get("email_alternates")
    for value in alternates if isinstance(alternates, list) else ():
        if isinstance(value, str) and value:
            found.setdefault(("email", value), Key("email", value, strong=False))
    for name in PHONES:
        value = values.get(name)
        if isinstance(value, str) and value:
            found.setdefault(("phone", value), Key("phone", value, strong=False))
    return tuple(found.values())


def addresses(values: Mapping[str, Value]) -> frozenset[str]:
    """All e-mail addresses of a contact's values (or of a claim)."""
    return frozenset(k.value for k in keys_of(values) if k.key == "email")


def choose(
    claim: Claim,
    owners: Mapping[tuple[str, str], Sequence[tuple[int, bool]]],
    strong: Collection[str] = ("email",),
) -> Match:
    """The contact to which a record without a link belongs.

    ``owners``: (key, value) → contacts that have it, each with "is it strong there".
    """
    for name in strong:
        value = claim.get(name)
        if not isinstance(value, str) or not value or (name == "email" and is_masked(value)):
            continue
        having = owners.get((name, value), ())
        first = [c for c, is_strong in having if is_strong]
        if first:
            return Match(first[0], name)
        if len(having) == 1:
            return Match(having[0][0], f"{name}: a further address of the contact")
        if having:
            return Match(None, name, f"{len(having)} contacts have this {name} as a further address")
    alternates = claim.get("email_alternates")
    having_any = {
        c
        for value in (alternates if isinstance(alternates, list) else ())
        if not is_masked(value)
        for c, is_strong in owners.get(("email", value), ())
        if is_strong
    }
    if len(having_any) == 1:
        return Match(having_any.pop(), "email: a further address of the record")
    if having_any:
        return Match(None, "email", f"its further addresses belong to {len(having_any)} contacts")
    return Match(None, "new")
