"""The ``consent`` part of a mapping: what a vendor's field says about consent, and how consent is said there.

Reading never interprets a blank or an unknown word as consent: what the mapping does not list says nothing.  Writing
knows two acts only: to stop (withdrawn, suppressed), and, where the mapping has a word for it, to grant what is proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from app.core.clock import to_ms
from app.core.words import EVERYTHING, STOPPING, Channel, Reason, Status
from app.sync._mapping_grammar import ConsentSpec
from connectors.contract import Fields

PREFIX: Final = "consent:"
"""Names of consent in a link's shadow begin with it; no canonical field does."""

# The words that may stand on the right of ``read``: a status, or a reason that implies one.
WORDS: Final[Mapping[str, tuple[Status, Reason]]] = {
    "granted": (Status.GRANTED, Reason.SYNC),
    "pending": (Status.PENDING, Reason.SYNC),
    "none": (Status.NONE, Reason.SYNC),
    "withdrawn": (Status.WITHDRAWN, Reason.UNSUBSCRIBE),
    "hard_bounce": (Status.SUPPRESSED, Reason.HARD_BOUNCE),
    "complaint": (Status.SUPPRESSED, Reason.COMPLAINT),
    "compliance": (Status.SUPPRESSED, Reason.COMPLIANCE),
}


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a record says about consent."""

    name: str  # PREFIX + channel [+ ":" + purpose]
    channel: Channel
    purpose: str
    status: Status
    reason: Reason
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)
    at: int | None = None  # when it was given, where the record says so (ms since 1970)


@dataclass(frozen=True, slots=True)
class Rule:
    """One consent as the vendor keeps it."""

    channel: Channel
    purpose: str
    theirs: str
    read: Mapping[str, tuple[Status, Reason]]  # their word (lower case) → what it says
    write: Mapping[Status, Any]  # granted, withdrawn → their word
    proof: tuple[str, str] | None = None  # (kind, vendor field): a value there proves a grant
    proof_at: str | None = None  # vendor field: when it was given

    @property
    def name(self) -> str:
        """Its name in a link's shadow."""
        return PREFIX + self.channel + (f":{self.purpose}" if self.purpose != EVERYTHING else "")

    @property
    def fields(self) -> tuple[str, ...]:
        """The vendor's fields that it reads."""
        proof = (self.proof[1],) if self.proof is not None else ()
        return (self.theirs, *proof, *((self.proof_at,) if self.proof_at is not None else ()))

    def claim(self, fields: Fields) -> Claimed | None:
        """What the record says, or None where it says nothing."""
        value = fields.get(self.theirs)
        if value is None:
            return None
        said = self.read.get(str(value).strip().lower())
        if said is None:
            return None
        status, reason = said
        evidence: dict[str, Any] = {}
        at = None
        if status is Status.GRANTED and self.proof is not None:
            kind, name = self.proof
            proof, moment = fields.get(name), _moment(fields.get(self.proof_at)) if self.proof_at is not None else None
            # Proof without its time proves nothing: it may be older than the withdrawal.
            if proof is not None and proof != "" and moment is not None:
                evidence, at = {kind: f"{name}={proof}"}, moment
                reason = Reason.DOUBLE_OPT_IN if kind == "double_opt_in" else Reason.FORM
        return Claimed(self.name, self.channel, self.purpose, status, reason, evidence, at)

    def said(self, status: Status) -> tuple[Any, Status] | None:
        """Their word for ``status`` and what it reads back as; None where it is not said there."""
        act = Status.WITHDRAWN if status in STOPPING else status
        if act not in self.write:
            return None
        word = self.write[act]
        back = self.read.get(str(word).strip().lower())
        return word, back[0] if back is not None else act


def _moment(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return to_ms(moment) if moment.tzinfo is not None else None


def rule(name: str, spec: ConsentSpec) -> Rule:
    """The rule of one entry of the file's ``consent``."""
    channel, _, purpose = name.partition(":")
    evidence = spec.evidence
    proof = None
    if evidence is not None:
        named = {"form": evidence.form, "double_opt_in": evidence.double_opt_in}
        proof = next(((kind, field) for kind, field in named.items() if field is not None), None)
    return Rule(
        Channel(channel),
        purpose,
        spec.theirs,
        {str(word).strip().lower(): WORDS[said] for word, said in spec.read.items()},
        {Status(act): word for act, word in spec.write.items()},
        proof,
        evidence.at if evidence is not None else None,
    )
