"""The canonical fields of companies and deals, money, and what a contact's summary says.  Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import pycountry

from app.core.fields import FIELDS, Field, Form, Type, Unfit, normal_number


class DealStatus(StrEnum):
    """Where a deal stands, whatever its pipeline calls it."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


NOT_YET: Final = frozenset({"planned", "cancelled", "open", "failed"})
"""How acts end that did not happen (``connectors.contract.Ending``): they are stored and shown, and do not count."""


_COMPANY: Final = (
    Field("name", Type.TEXT, "name of the company"),
    Field("domain", Type.TEXT, "web address or mail domain; kept as the registrable domain"),
    Field("website", Type.TEXT, "web address, http or https", Form.URL),
    Field("phone", Type.TEXT, "main phone, E.164", Form.PHONE),
    Field("street", Type.TEXT, "street and house number"),
    Field("city", Type.TEXT, "town"),
    Field("region", Type.TEXT, "state, province, canton"),
    Field("postal_code", Type.TEXT, "postal code"),
    Field("country", Type.TEXT, "ISO 3166-1 alpha-2", Form.COUNTRY),
    Field("industry", Type.TEXT, "branch of business"),
    Field("employees", Type.NUMBER, "how many work there"),
    Field("revenue", Type.NUMBER, "a year's revenue"),
    Field("kind", Type.TEXT, "customer, partner, competitor …"),
    Field("owner", Type.TEXT, "the colleague in charge, by the vendor's id or by address"),
)

_DEAL: Final = (
    Field("name", Type.TEXT, "what the deal is called"),
    Field("stage", Type.TEXT, "the vendor's stage; `stages` says what it means"),
    Field("pipeline", Type.TEXT, "the vendor's pipeline"),
    Field("amount", Type.NUMBER, "what it is worth"),
    Field("currency", Type.TEXT, "ISO 4217 code of the amount"),
    Field("owner", Type.TEXT, "the colleague in charge, by the vendor's id or by address"),
    Field("lost_reason", Type.TEXT, "why it was lost"),
    Field("won_reason", Type.TEXT, "why it was won"),
    Field("kind", Type.TEXT, "new business, renewal …"),
    Field("source", Type.TEXT, "where it came from"),
    Field("created_at", Type.DATETIME, "when it was entered"),
    Field("close_date", Type.DATE, "when it closed, or is to close"),
)

COMPANY_FIELDS: Final[Mapping[str, Field]] = MappingProxyType({f.name: f for f in _COMPANY})
DEAL_FIELDS: Final[Mapping[str, Field]] = MappingProxyType({f.name: f for f in _DEAL})
DERIVED: Final = frozenset(f.name for f in FIELDS.values() if f.derived)
"""The contact fields that Tandem makes of companies, deals and engagement; no vendor says them."""

CURRENCIES: Final = frozenset(c.alpha_3 for c in pycountry.currencies)
"""ISO 4217, active and some withdrawn codes (pycountry, from Debian's iso-codes)."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency; exact."""

    amount: Decimal
    currency: str | None  # ISO 4217; None: the vendor says none, and the mapping has no default

    @classmethod
    def of(cls, amount: Any, currency: Any) -> Money | None:
        """Of canonical values; None where there is no amount.  Raises Unfit for what is no currency."""
        if amount is None:
            return None
        return cls(Decimal(normal_number(amount)), None if currency is None else currency_of(currency))

    def __str__(self) -> str:
        plain = normal_number(self.amount)
        return plain if self.currency is None else f"{plain} {self.currency}"


def currency_of(value: Any) -> str:
    """An ISO 4217 code in capitals.  Raises Unfit."""
    code = value.strip().upper() if isinstance(value, str) else ""
    if code not in CURRENCIES:
        raise Unfit("not_currency", "no ISO 4217 code")
    return code


_STEPS: Final = (1, 2, 3, 5)


def coarse(number: int) -> int:
    """A count as it is told to vendors: 0, 1, 2, 3, 5, 10, 20, 30, 50, 100 …, never more than it is.

    So a thousand opens change what a vendor holds a dozen times.
    """
    if number < 1:
        return 0
    scale = 1
    while number >= 10 * scale:
        scale *= 10
    return max(s * scale for s in _STEPS if s * scale <= number)
