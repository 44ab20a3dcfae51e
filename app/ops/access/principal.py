"""Who a request is from.  Set once for each request by ``app.ops.auth.gate``, read by whatever is done for it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.ops.access.permissions import ROLES, Permission, Role


class Kind(StrEnum):
    """How a caller is known."""

    PERSON = "person"  # signed in to an account
    TOKEN = "token"  # noqa: S105 - a program's own API token
    INSTALLATION = "installation"  # TANDEM_TOKEN
    LOCAL = "local"  # this machine, where nothing else is configured
    SHELL = "shell"  # a command on the machine
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.  ``name``: whose acts these are; None = the caller says so, as several share what opened the door."""

    kind: Kind
    role: Role
    name: str | None = None
    key: int | None = None  # id of the account or of the token
    scopes: frozenset[Permission] | None = None  # None = all that the role may
    session: str | None = field(default=None, repr=False)  # what the cookie holds, where that opened the door

    def may(self, permission: Permission) -> bool:
        """Whether this is allowed."""
        return permission in ROLES[self.role] and (self.scopes is None or permission in self.scopes)

    @property
    def permissions(self) -> list[Permission]:
        """All that is allowed."""
        return [one for one in Permission if self.may(one)]


LOCAL = Principal(Kind.LOCAL, Role.ADMIN)
INSTALLATION = Principal(Kind.INSTALLATION, Role.ADMIN)

CALLER: ContextVar[Principal | None] = ContextVar("tandem_caller", default=None)


def own_name(value: Any) -> Any:
    """The name that an act is kept under: the caller's own where it has one, whatever the request says."""
    caller = CALLER.get()
    return value if caller is None or caller.name is None else caller.name


def sees_masked(caller: Principal) -> bool:
    """Whether values of people are masked for this caller."""
    return not caller.may(Permission.PLAIN)
