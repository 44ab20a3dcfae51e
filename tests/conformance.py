"""What every vendor's connector promises.  In: its class and its Example.  Out: a test class.

    TestAcme = conformance(Acme, ACME)

is the whole cost of a vendor in ``test_conformance.py``.  Each promise is a method; only those of claimed capabilities
are there, and one that checks that the others raise Unsupported.  The promises: ``promises_*.py``.  That each of them
can fail: ``test_conformance_bites.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

for _module in (
    "promise",
    *(f"promises_{name}" for name in ("around", "changed", "hooks", "merge", "read", "receive", "self", "write")),
):
    pytest.register_assert_rewrite(f"tests.{_module}")  # else a failure says only "AssertionError"

from connectors.contract import Connector  # noqa: E402
from tests import (  # noqa: E402
    promises_around,
    promises_changed,
    promises_hooks,
    promises_merge,
    promises_read,
    promises_receive,
    promises_self,
    promises_write,
)
from tests.promise import Promises  # noqa: E402
from tests.stage import Example, Seed, Vendor  # noqa: E402

__all__ = ["Example", "Seed", "Vendor", "conformance"]

_FAMILIES: tuple[type[Promises], ...] = (
    promises_self.Self,
    promises_receive.Receive,
    promises_read.Read,
    promises_changed.Changed,
    promises_write.Write,
    promises_merge.Merge,
    promises_hooks.Hooks,
    promises_around.Around,
)


def conformance(kind: type[Connector], example: Example) -> type[Promises]:
    """The test class of this connector."""
    members: dict[str, Any] = {"kind": kind, "example": example, "__doc__": f"What {kind.name} promises."}
    for family in _FAMILIES:
        for name, member in vars(family).items():
            if not name.startswith("__"):
                needs = getattr(member, "needs", None)
                if needs is None or needs <= kind.can:
                    members[name] = member
    return type(f"Test{kind.__name__}", (Promises,), members)
