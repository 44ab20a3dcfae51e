"""Checks what a connector says against the vendor's own machine-readable specification.

In: a specification and the transport that answers (respx, a simulator).  Out: the answers, or an AssertionError that
says which rule a request or an answer breaks.  Use::

    checked = SpecCheck(load("mailchimp", "mailchimp-root-api-openapi.yml"), httpx.MockTransport(router.handler))
    Http(..., transport=checked)
    ...
    assert checked.seen  # guards the guard

The specifications are not part of this repository: they are looked for in the directory named by TANDEM_SPECS, else in
``../shared/specs`` beside it, and a test that needs one is skipped where there is none.
"""

from __future__ import annotations

import copy
import functools
import gzip
import json
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

ROOT = Path(__file__).resolve().parent.parent
METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def folder() -> Path:
    """Where specifications are looked for."""
    given = os.environ.get("TANDEM_SPECS")
    return Path(given) if given else ROOT.parent / "shared" / "specs"


def load(vendor: str, *names: str) -> dict[str, Any]:
    """The specification, the paths of several files merged; skips the test where a file is missing.

    Swagger 2.0 becomes OpenAPI 3.0.  A name may end in ``.gz``.
    """
    missing = [name for name in names if not (folder() / vendor / name).is_file()]
    if missing:
        pytest.skip(f"no specification {vendor}/{missing[0]} in {folder()} (set TANDEM_SPECS)")
    return copy.deepcopy(_load(tuple(folder() / vendor / name for name in names)))


@functools.cache
def _load(paths: tuple[Path, ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for path in paths:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        found = (
            json.loads(raw)
            if ".json" in path.suffixes
            else yaml.load(raw, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        )
        found = openapi(found) if found.get("swagger") == "2.0" else _prepared(found)
        if not merged:
            merged = found
        merged["paths"] = {**merged["paths"], **found["paths"]}
        for section, parts in found.get("components", {}).items():
            merged.setdefault("components", {}).setdefault(section, {}).update(parts)
    return merged


def _prepared(document: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI 3 document without what openapi-core stumbles over.

    That is: examples, answers of any type, variables in the server's URL, and credentials of a kind that it does not
    know (SpecCheck looks for the header itself).
    """
    made: dict[str, Any] = _references(document)
    made.pop("security", None)
    made.get("components", {}).pop("securitySchemes", None)
    for server in made["servers"]:
        for name, variable in server.pop("variables", {}).items():
            server["url"] = server["url"].replace(f"{{{name}}}", variable["default"])
    for _, operation in _operations(made):
        operation.pop("security", None)
        for answer in operation.get("responses", {}).values():
            if "*/*" in answer.get("content", {}):
                answer["content"] = {"application/json": answer["content"]["*/*"]}
    return made


# --- Swagger 2.0 ------------------------------------------------------------------------------------------------------


def openapi(swagger: Mapping[str, Any]) -> dict[str, Any]:
    """A Swagger 2.0 document as OpenAPI 3.0, as far as requests and answers are concerned."""
    scheme = (swagger.get("schemes") or ["https"])[0]
    produces = swagger.get("produces", ["application/json"])
    return {
        "openapi": "3.0.3",
        "info": {"title": swagger["info"]["title"], "version": swagger["info"]["version"]},
        "servers": [{"url": f"{scheme}://{swagger.get('host', 'localhost')}{swagger.get('basePath', '')}"}],
        "paths": {
            path: {
                method: _operation(operation, item.get("parameters", []), produces)
                for method, operation in item.items()
                if method in METHODS
            }
            for path, item in swagger["paths"].items()
        },
        "components": {"schemas": _references(swagger.get("definitions", {}))},
    }


def _operation(operation: Mapping[str, Any], shared: list[Any], produces: list[str]) -> dict[str, Any]:
    parameters = [*shared, *operation.get("parameters", [])]
    made: dict[str, Any] = {
        "parameters": [_parameter(p) for p in parameters if p["in"] not in {"body", "formData"}],
        "responses": {
            str(status): {
                "description": answer.get("description", ""),
                **(
                    {"content": {kind: {"schema": _references(answer["schema"])} for kind in produces}}
                    if "schema" in answer
                    else {}
                ),
            }
            for status, answer in operation["responses"].items()
        },
    }
    for body in (p for p in parameters if p["in"] == "body"):
        made["requestBody"] = {
            "required": body.get("required", False),
            "content": {"application/json": {"schema": _references(body["schema"])}},
        }
    return made


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: parameter[key] for key in ("name", "in", "required") if key in parameter}
    kept = ("type", "format", "enum", "items", "minimum", "maximum", "pattern")
    made["schema"] = _references({key: parameter[key] for key in kept if key in parameter})
    if parameter.get("type") == "array":
        made |= {"style": "form" if parameter["in"] == "query" else "simple"}
        made |= {"explode": parameter.get("collectionFormat", "csv") == "multi"}
    return made


def _references(node: Any) -> Any:
    """The node with its references moved, and without what OpenAPI 3.0 does not know or an example spoils."""
    if isinstance(node, dict):
        return {
            key: value.replace("#/definitions/", "#/components/schemas/")
            if key == "$ref" and isinstance(value, str)
            else _references(value)
            for key, value in node.items()
            if key not in {"example", "examples"} or isinstance(value, dict)
        }
    return [_references(part) for part in node] if isinstance(node, list) else node


def strict(schema: Any) -> Any:
    """The schema with ``additionalProperties: false`` wherever properties are listed: finds misspelt keys."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        listed = isinstance(made.get("properties"), dict) and made.get("type", "object") == "object"
        if listed and "additionalProperties" not in made and not {"allOf", "anyOf", "oneOf"} & made.keys():
            made["additionalProperties"] = False
        return made
    return [strict(part) for part in schema] if isinstance(schema, list) else schema


# --- the transport ----------------------------------------------------------------------------------------------------


class SpecCheck(httpx.BaseTransport):
    """A transport that checks each request and its answer.  ``seen`` lists the operations met.

    ``closed``: a key in a request body that the specification does not list is an error.  ``credential``: the header
    that every request must carry; checked here, as openapi-core lets a missing one pass.  ``unlisted``: query
    parameters that the specification forgot.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        inner: httpx.BaseTransport,
        *,
        closed: bool = True,
        credential: str = "authorization",
        unlisted: Collection[str] = (),
    ) -> None:
        made = copy.deepcopy(dict(document))
        for _, operation in _operations(made):
            for content in operation.get("requestBody", {}).get("content", {}).values() if closed else ():
                content["schema"] = strict(content["schema"])
        self._server = made["servers"][0]["url"].rstrip("/")
        self._inner = inner
        self._credential = credential
        self._unlisted = frozenset(unlisted)
        self._paths = {template: _pattern(template) for template in made["paths"]}
        self._document = made
        # The document itself is the vendor's: not ours to judge.
        readers = {"application/problem+json": lambda raw, **_charset: json.loads(raw)}
        config = Config(spec_validator_cls=None, extra_media_type_deserializers=readers)
        self._api = OpenAPI.from_dict(made, config=config)
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """AssertionError for what breaks the specification."""
        request.read()
        path = urlsplit(str(request.url)).path
        base = urlsplit(self._server).path
        assert path.startswith(base), f"{path} is not under {base}"
        name = self._operation(request, path.removeprefix(base))
        response = self._inner.handle_request(request)
        response.read()
        with self._lock:
            self.seen.append(name)
            adapted = _Request(request, self._server, path)
            self._judge(name, lambda: self._api.validate_request(adapted))
            if response.status_code < 500:  # above, it may be a proxy that speaks
                self._judge(f"answer to {name}", lambda: self._api.validate_response(adapted, _Response(response)))
        return response

    def _operation(self, request: httpx.Request, path: str) -> str:
        method = request.method.lower()
        # A literal path before a template, as OpenAPI 3.0 has it.
        fits = sorted((t for t, p in self._paths.items() if p.fullmatch(path)), key=lambda t: t.count("{"))
        fits = [t for t in fits if method in self._document["paths"][t]]
        assert fits, f"{request.method} {path} is not in the specification"
        name = f"{request.method} {fits[0]}"
        assert request.headers.get(self._credential), f"{name}: no {self._credential} header"
        operation = self._document["paths"][fits[0]][method]
        listed = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"} | self._unlisted
        assert set(request.url.params) <= listed, f"{name}: {set(request.url.params) - listed} not listed"
        if request.content:
            assert "requestBody" in operation, f"{name}: takes no body"
        return name

    @staticmethod
    def _judge(name: str, check: Any) -> None:
        try:
            check()
        except OpenAPIError as error:
            reasons = getattr(error.__cause__, "schema_errors", ())
            told = "; ".join(f"{'/'.join(map(str, r.absolute_path))}: {r.message[:200]}" for r in reasons)
            raise AssertionError(f"{name}: {error} {error.__cause__ or ''} {told}") from error


@dataclass(frozen=True)
class _Request:
    request: httpx.Request
    host_url: str
    path: str

    def __init__(self, request: httpx.Request, server: str, path: str) -> None:
        object.__setattr__(self, "request", request)
        # The vendor's own host, whatever host the test uses.
        object.__setattr__(self, "host_url", "{0.scheme}://{0.netloc}".format(urlsplit(server)))
        object.__setattr__(self, "path", path)
        object.__setattr__(
            self,
            "parameters",
            RequestParameters(
                query=ImmutableMultiDict(request.url.params.multi_items()),
                header=Headers(list(request.headers.items())),
            ),
        )

    @property
    def method(self) -> str:
        return self.request.method.lower()

    @property
    def content_type(self) -> str:
        return self.request.headers.get("content-type", "").lower()

    @property
    def body(self) -> bytes | None:
        return self.request.content or None


@dataclass(frozen=True)
class _Response:
    response: httpx.Response

    @property
    def status_code(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> Headers:
        return Headers(list(self.response.headers.items()))

    @property
    def content_type(self) -> str:
        return self.response.headers.get("content-type", "").lower()

    @property
    def data(self) -> bytes | None:
        return self.response.content or None


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield f"{method.upper()} {path}", operation


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in _PARTS.split(template)))


_PARTS = re.compile(r"(\{[^{}]+\})")
