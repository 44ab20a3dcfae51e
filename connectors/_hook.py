"""What a connector says of the subscriptions to webhooks at its vendor.  ``connectors.contract`` hands it on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Hook:
    """A subscription to webhooks, as the vendor has it."""

    id: str
    url: str  # where it delivers, without the query, which may hold a secret
    about: str = ""  # what it tells, where the vendor has one for each kind of event
    on: bool | None = True  # None: the vendor does not say
    lacks: tuple[str, ...] = ()  # events that it should tell and does not
    # Events for which another one has to be made, where the vendor has one for each; said at the first of a URL.
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hooked:
    """The outcome of ``hook``.

    ``secret``: what signs deliveries, where the vendor tells it, which most do once; as a person has to put it into the
    setting ``setting`` of the connection.
    """

    hooks: tuple[Hook, ...]
    secret: str | None = field(default=None, repr=False)
    setting: str = "signing_secret"
