"""Invented people: names and towns as common as the shipped weights say they are, the rest made of syllables."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.match.weights import shipped

SYLLABLES = """
    ba bre cal dor el fen gri hol is jor ka lun mor nev os per quil ros sta tur ul ven wes xan yor zel
"""

Person = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody whom two accounts have both, with a phone and an address of their own."""

    first: str
    last: str
    city: str
    phone: str
    mail: str  # its number is the last thing before the @


class People:
    """Invented people, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._syllables = SYLLABLES.split()
        self._tables = {}
        for name, table in shipped().frequencies.items():
            weights = list(itertools.accumulate(table.values()))
            self._tables[name] = (list(table), weights)

    def _drawn(self, name: str) -> str:
        values, weights = self._tables[name]
        at = self.chance.random()
        if at >= weights[-1]:
            return self._rare()
        return str(self.chance.choices(values, cum_weights=weights)[0]).title()

    def _rare(self) -> str:
        return "".join(self.chance.choices(self._syllables, k=4)).capitalize()

    def _digits(self, many: int) -> str:
        return "".join(self.chance.choices("0123456789", k=many))

    def one(self) -> Person:
        """Somebody new."""
        chance = self.chance
        first, last = self._drawn("first"), self._drawn("last")
        person: Person = {"given_name": first, "family_name": last, "city": self._drawn("city")}
        local = f"{first[:1]}.{last}{self._digits(4)}".lower().replace(" ", "")
        person["email"] = f"{local}@{chance.choice(('gmail.com', 'gmx.de', f'{self._rare().lower()}.example'))}"
        if chance.random() < 0.6:
            person["phone"] = f"+49{chance.choice(('30', '40', '89', '171'))}{self._digits(8)}"
        if chance.random() < 0.4:
            person["street"] = f"{chance.randrange(1, 180)} {self._rare()} Street"
            person["postal_code"] = self._digits(5)
        if chance.random() < 0.4:
            person["company_name"] = f"{self._rare()} {chance.choice(('Ltd', 'GmbH', 'Inc'))}"
        if chance.random() < 0.3:
            person["birthday"] = (
                f"{chance.randrange(1940, 2005)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 28):02}"
            )
        return person

    def again(self, person: Person) -> Person:
        """The same person as another system has them: another address, a slip, a field missing."""
        other = {**person, "email": f"{self._rare().lower()}{self._digits(3)}@example.net"}
        if self.chance.random() < 0.4 and len(other["family_name"]) > 3:
            at, name = self.chance.randrange(1, len(other["family_name"]) - 1), other["family_name"]
            other["family_name"] = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
        for field in ("phone", "street", "birthday"):
            if self.chance.random() < 0.3:
                other.pop(field, None)
        return other

    def store(self, many: int) -> Iterator[Person]:
        """So many, one in ten of them the same person as an earlier one."""
        made: list[Person] = []
        for n in range(many):
            if n % 10 == 9:
                yield self.again(self.chance.choice(made))
                continue
            person = self.one()
            if n % 7 == 0 and len(made) < 50_000:
                made.append(person)
            yield person

    def known(self, many: int) -> list[Known]:
        """So many, each somebody else."""
        found = []
        for n in range(many):
            one = self.one()
            first, last = one["given_name"], one["family_name"]
            local = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{first}-{last}".lower())
            phone = f"+4930{n * 7919 % 8_999_993 + 1_000_000}"
            domain = one["email"].rpartition("@")[2]
            found.append(Known(first, last, one["city"], phone, f"{local}.{n}@{domain}"))
        return found
