"""A connection as the stations see it: one account at a vendor, its connector, its mapping, its mode."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import SecretStr

from app.core.errors import NotFound
from app.core.objects import DERIVED
from app.core.words import (
    EVERYBODY,
    OPERATOR,
    WATCH,
    Brake,
    Canary,
    Channel,
    Deletes,
    Duplicates,
    Likeness,
    Mode,
    Only,
    Watch,
)
from app.match.weights import Weights
from app.sync._mapping_objects import Objects
from app.sync.mapping import Map
from connectors.contract import Can, Connector, Kind, Side


@dataclass(frozen=True, slots=True)
class Connection:
    """One configured account.  Built once by the composition root."""

    name: str
    side: Side
    mode: Mode
    connector: Connector
    map: Map
    poll_seconds: float = 300
    may_grant: bool = False  # whether evidence from here may lift a withdrawal
    kind: Kind = Kind.CONTACT
    deletes_in: Deletes = Deletes.IGNORE  # what a deletion there leads to here
    deletes_out: Deletes = Deletes.IGNORE  # what a deletion elsewhere leads to there
    duplicates: Duplicates = Duplicates.REPORT  # a record that is one too many there, since another vendor merged two
    brake: Brake | None = None  # when mass changes stop; None = never
    watch: Watch = WATCH  # how it is looked after
    canary: Canary | None = None  # to whom mode canary writes; None = nobody
    only_in: Only = EVERYBODY  # whose records there are taken in
    only_out: Only = EVERYBODY  # who is written there
    call_share: float = 1.0  # our part of the rate that the vendor allows

    @property
    def cares(self) -> frozenset[str]:
        """The fields of a contact whose change may lead to a write there."""
        return self.map.out_fields | self.only_out.fields

    @property
    def writes(self) -> bool:
        """Whether anything may be written there."""
        return self.mode is not Mode.OBSERVE and Can.WRITE in self.connector.can


class Connections(Mapping[str, Connection]):
    """All connections by name."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        *,
        erasure_key: SecretStr | None = None,
        likeness: Likeness = Likeness.OFF,
        weights: Weights | None = None,
    ) -> None:
        """``erasure_key``: keys the hashes of removed addresses; None: the one that the store keeps.

        ``likeness``: what is made of records that look like somebody known; ``weights`` None: the shipped ones.
        """
        self._all = dict(connections)
        self._whole = {name: one.map for name, one in self._all.items()}
        self._suspended: dict[str, frozenset[str]] = {}
        self.likeness = likeness
        self.weights = weights
        self.erasure_key = erasure_key
        # What summaries have to say: fields that no mapping sends are not made.
        self.derived: frozenset[str] = frozenset(f for c in self._all.values() for f in c.cares & DERIVED)
        # Whether any of them reads what stands around contacts: companies, deals, acts.
        self.around: bool = any(c.map.objects != Objects() for c in self._all.values())
        self.strong: tuple[str, ...] = tuple(sorted({k for c in self._all.values() for k in c.map.keys}))

    def __getitem__(self, name: str) -> Connection:
        try:
            return self._all[name]
        except KeyError:
            raise NotFound(f"no connection {name!r}; there are: {', '.join(self._all) or 'none'}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def whole(self, name: str) -> Map:
        """A connection's mapping with the fields that are suspended at present."""
        return self._whole[name]

    def suspend(self, fields: Mapping[str, Collection[str]]) -> None:
        """From now on these vendor fields, by connection, are neither read nor written; all others are again.

        Stations see it when they take the connection the next time: what one has in hand it finishes as it began.
        """
        for name, one in list(self._all.items()):
            left = frozenset(fields.get(name, ()))
            if left != self._suspended.get(name, frozenset()):
                self._suspended[name] = left
                self._all[name] = replace(one, map=self._whole[name].without(left))

    def may_grant(self, source: str) -> bool:
        """Whether a source may lift withdrawals.  A named operator always may; what is no connection may not."""
        return source == OPERATOR or (source in self._all and self._all[source].may_grant)

    def purposes(self, channel: Channel) -> set[str]:
        """The purposes of a channel that mappings know, ``EVERYTHING`` included where one does."""
        return {rule.purpose for one in self._all.values() for rule in one.map.consents if rule.channel is channel}

    def side(self, name: str) -> str:
        """The side of a connection; a source that is no connection (an operator) stands on none."""
        return self._all[name].side if name in self._all else ""


def spellings(connections: Connections, email: str) -> list[str]:
    """How the mappings would write this address: what may be a key."""
    found = {email.strip().lower()}
    for one in connections.values():
        entry = one.map.entries.get("email")
        if entry is not None:
            value = one.map.read({entry.theirs: email}).claim.get("email")
            if isinstance(value, str):
                found.add(value)
    return sorted(found)
