"""What libraries find out about endpoints, commands, statements and whom to trust: once for each test process.

The API is built anew for each test that asks it: a hundred endpoints, each a function inside of a function that knows
the test's database.  What FastAPI makes of their signatures is the same each time, and is nine tenths of the cost.  It
is remembered by the code of the endpoint; what the code is bound to is that of the test.  The command line is built
anew for each command that a test types; it is bound to nothing.  The authorities that sign certificates are read anew
for each client, of which nearly all speak plain HTTP to this machine.

SQLAlchemy keeps the text of each statement that it has seen for each engine, and each test has engines of its own: to
write the texts anew takes longer than the statements of most tests do.  Here all engines of one kind of database share
them, and with them the dialect that wrote them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import ssl
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from fastapi import routing
from fastapi.dependencies import utils
from fastapi.dependencies.models import Dependant
from fastapi.security.base import SecurityBase
from httpx import create_ssl_context
from httpx._transports import default
from sqlalchemy import Connection, Dialect, event
from sqlalchemy.util import LRUCache
from typer import testing
from typer.main import get_command

from app.core.db import Database

_PLAIN = (type(None), bool, int, float, str)  # a default that says nothing about the test
_LISTS = ("path_params", "query_params", "header_params", "cookie_params", "body_params", "dependencies")
_asked, _returned, _field = utils.get_dependant, routing.get_typed_return_annotation, routing.create_model_field

_begin_store = Database.__init__
_TEXTS = 4_000  # statements whose text is kept; the whole suite has fewer

_dialects: dict[str, Dialect] = {}  # by its name; of an engine that has asked its database what it can do
_texts: LRUCache[Any, Any] = LRUCache(_TEXTS)
_dependants: dict[Any, tuple[CodeType, Dependant | None]] = {}  # the code is held, so that its id stays its own
_returns: dict[int, tuple[CodeType, Any]] = {}
_fields: dict[Any, Any] = {}


def begin() -> None:
    """From now on."""
    utils.get_dependant = routing.get_dependant = _dependant  # type: ignore[attr-defined]
    routing.get_typed_return_annotation = _return  # type: ignore[attr-defined]
    routing.create_model_field = _model_field  # type: ignore[attr-defined]
    testing._get_command = functools.cache(get_command)  # type: ignore[attr-defined]
    default.create_ssl_context = _trusted
    Database.__init__ = _store  # type: ignore[method-assign]


def _store(self: Database, url: str, **how: Any) -> None:
    _begin_store(self, url, **how)
    for engine in {self._writer, self._reader}:
        engine._compiled_cache = _texts
        if engine.name in _dialects:
            engine.dialect = _dialects[engine.name]
        else:
            event.listen(engine, "engine_connect", _connected)


def _connected(connection: Connection) -> None:
    _dialects.setdefault(connection.dialect.name, connection.dialect)


def _trusted(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is not True or cert is not None or not trust_env:
        return create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
    return _usual(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _usual(*_: str | None) -> ssl.SSLContext:
    return create_ssl_context()


def _alike(call: Callable[..., Any]) -> bool:
    """Whether all functions of this code have one signature: annotations are text, defaults are plain."""
    return (
        type(call) is FunctionType
        and not hasattr(call, "__wrapped__")
        and all(isinstance(said, str) for said in call.__annotations__.values())
        and all(isinstance(one, _PLAIN) for one in (call.__defaults__ or ()))
        and all(isinstance(one, _PLAIN) for one in (call.__kwdefaults__ or {}).values())
    )


def _settled(dependant: Dependant) -> bool:
    """Whether all that it depends on are things of a module, which are the same for every test."""
    return all(_of_a_module(one.call) and _settled(one) for one in dependant.dependencies)


def _of_a_module(call: Any) -> bool:
    if isinstance(call, SecurityBase):
        return True
    return type(call) is FunctionType and "<locals>" not in call.__qualname__


def _dependant(*, path: str, call: Callable[..., Any], **how: Any) -> Dependant:
    if not _alike(call):
        return _asked(path=path, call=call, **how)
    code: CodeType = call.__code__  # type: ignore[attr-defined]
    key = (id(code), path, repr((call.__defaults__, call.__kwdefaults__, how)))  # type: ignore[attr-defined]
    if key not in _dependants:
        found = _asked(path=path, call=call, **how)
        _dependants[key] = (code, _copied(found, call) if _settled(found) else None)
        return found
    known = _dependants[key][1]
    return _asked(path=path, call=call, **how) if known is None else _copied(known, call)


def _copied(one: Dependant, call: Callable[..., Any] | None) -> Dependant:
    """With lists of its own: what a router asks for is put before an endpoint's own."""
    return dataclasses.replace(one, call=call, **{name: list(getattr(one, name)) for name in _LISTS})


def _return(call: Callable[..., Any]) -> Any:
    if not _alike(call):
        return _returned(call)
    code: CodeType = call.__code__  # type: ignore[attr-defined]
    if id(code) not in _returns:
        _returns[id(code)] = (code, _returned(call))
    return _returns[id(code)][1]


def _model_field(**what: Any) -> Any:
    key = tuple(sorted(what.items(), key=lambda one: one[0]))
    if key not in _fields:
        _fields[key] = _field(**what)
    return _fields[key]
