"""Our own errors.  Those that vendors cause are in ``connectors.contract``, named by what happens next."""

from __future__ import annotations


class ConfigError(Exception):
    """The configuration cannot be used.  The message says where, what is wrong and what would be valid."""


class LeaseLost(Exception):
    """Somebody else holds the lease now: what was prepared under it must not be stored."""


class NotFound(Exception):
    """The named thing does not exist."""


class NotPossible(Exception):
    """The named thing is not in a state in which this can be done; the message says why."""
