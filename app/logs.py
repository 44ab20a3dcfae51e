"""Logging.  In: what structlog and the standard library are told.  Out: one line per event on stderr, JSON or readable.

Never on stdout, which belongs to what a command prints.  No line names a person or a secret: what looks like an e-mail
address is replaced whoever wrote it (vendors quote addresses in their errors), fields with telling names are blanked,
the query of a URL is cut off, and a traceback carries no values.  No value ends a line, begins another, colours it or
turns its direction: such characters are written out.  Handlers of this module are the only ones.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import IO, Any, Final

import structlog

# What an address looks like in running text; wider than RFC 5322's dot-atom on purpose, since a miss is worse here.
# Lengths are bounded (RFC 5321, 4.5.3.1), so that a long line cannot make the search slow.
_ADDRESS: Final = re.compile(r"[^\s<>\"'(),;:]{1,64}(?:@|%40)[^\s<>\"'(),;:]{1,255}\.[^\s<>\"'(),;:]{1,63}")
# Secrets travel in queries (a vendor that cannot sign puts its secret there), and so do addresses.
_QUERY: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"']+)\?[^\s\"')]+", re.IGNORECASE)
# A database URL's password: scheme://user:password@host
_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)", re.IGNORECASE)
# What is not seen but acts: controls (C0, C1 and with them every escape sequence), separators of lines, marks of
# direction (https://unicode.org/reports/tr9/#Directional_Formatting_Characters), halves of pairs that no stream takes.
_ACTING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TRACES: Final = frozenset({"exception", "stack"})  # of several lines on purpose
_SECRET_NAMES: Final = frozenset(
    {"access_token", "api_key", "authorization", "body", "client_secret", "fields", "password", "secret", "token"}
)
_QUIET: Final = (
    "httpx",
    "httpcore",
    "alembic",
    "asyncio",
    "uvicorn",
)  # they name every URL, or tell what nobody acts on
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def set_up(level: str = "INFO", *, json: bool = False, stream: IO[str] | None = None) -> None:
    """Send every log line to ``stream`` (None: stderr) from ``level`` on.  Raises ValueError for an unknown level."""
    name = level.upper()
    if name not in LEVELS:
        raise ValueError(f"log level {level!r} is unknown; known: {', '.join(LEVELS)}")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        scrub,
    ]
    target = sys.stderr if stream is None else stream
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # modules make their loggers before this runs
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(name)
    for quiet in _QUIET:
        logging.getLogger(quiet).setLevel(max(logging.WARNING, logging.getLevelName(name)))


def scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what could be a person or a secret; a processor of structlog."""
    for key, value in list(event.items()):
        if key in _TRACES and isinstance(value, str):
            # Indented, so that no line of a message inside it looks like a line of the log.
            event[key] = "\n".join(f"  {visible(clean(line))}" for line in value.splitlines())
        elif visible(key) == key:
            event[key] = _clean(key, value)
        else:
            event[visible(key)] = _clean(key, event.pop(key))
    return event


def visible(text: str) -> str:
    """A text with whatever acts on a terminal or a file of lines written out, as Python writes it."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def clean(text: str) -> str:
    """A text without addresses, passwords in URLs and queries of URLs, for messages that people will see."""
    return _ADDRESS.sub("<address>", _QUERY.sub(r"\1?<hidden>", _PASSWORD.sub(r"\1<hidden>", text)))


def _clean(key: str, value: Any) -> Any:
    if key.lower() in _SECRET_NAMES:
        return "<hidden>"
    if isinstance(value, str):
        return visible(clean(value))
    if isinstance(value, Mapping):
        return {visible(str(k)): _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", v) for v in value]
    if isinstance(value, bytes):
        return "<hidden>"
    if value is None or isinstance(value, bool | int | float):
        return value
    return visible(clean(str(value)))
