"""What may be said about a request and its answer.  In: paths, bodies, secrets.  Out: text for errors and logs.

It holds no secret and no person: addresses, long numbers, tokens, and what the request itself carried are blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import orjson

EXCERPT = 200  # characters of the vendor's own words in an error
_BODY = 64 * 1024  # an error body longer than this is not looked into
_READ = 2000  # characters of the vendor's words that are looked at
_MASK = "***"

_ADDRESS = re.compile(r"[^\s<>\"'(),;:@]{1,64}(?:@|%40)[^\s<>\"'(),;:@]{1,255}")
_TOKEN = re.compile(
    r"\b(?=[\w\-.~+/]*[0-9])[\w\-.~+/]{24,}=*"
)  # keys, hashes, JWTs; words are shorter or have no digit
_PHONE = re.compile(r"(?<!\w)\+?\(?[0-9](?:[ ()./-]?[0-9]){6,}(?!\w)")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")  # md5 of an address and the like


def masked_path(url: str) -> str:
    """The path without query, with segments that hold an address, a hash or a phone number blotted out."""
    return "/".join(_MASK if _personal(unquote(part)) else part for part in urlsplit(url).path.split("/"))


def _personal(segment: str) -> bool:
    # Digits alone are a record id; with a plus they are a phone number.
    return "@" in segment or _HEX.search(segment) is not None or re.fullmatch(r"\+[0-9 ]{6,}", segment) is not None


def excerpt(response: httpx.Response, *, secrets: Collection[str], sent: object) -> str:
    """The vendor's ``message``, ``detail`` or ``title``, masked and cut; empty where there is none.

    ``sent``: what the request carried; its values are not repeated.
    """
    if len(response.content) > _BODY:
        return ""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return ""
    said = next(_said(body), "")
    return masked(" ".join(said.split()), {*secrets, *values(sent)})


def _said(body: object) -> Iterator[str]:
    """RFC 9457 has title and detail, most others message; some wrap it in ``error`` or a list of ``errors``."""
    if isinstance(body, Mapping):
        for key in ("message", "detail", "title", "error_description"):
            if isinstance(text := body.get(key), str) and text.strip():
                yield text
        for key in ("error", "errors"):
            yield from _said(body.get(key))
    elif isinstance(body, list):
        for entry in body[:1]:
            yield from _said(entry)


def masked(text: str, unsaid: Collection[str] = ()) -> str:
    """The text without these values, addresses, tokens and phone numbers; at most ``EXCERPT`` characters."""
    if len(text) > _READ:
        text = text[:_READ].rpartition(" ")[0]  # half an address would not be seen as one
    for value in sorted((v for v in unsaid if len(v) > 1), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _MASK, text, flags=re.IGNORECASE)
    for pattern in (_ADDRESS, _TOKEN, _PHONE):
        text = pattern.sub(_MASK, text)
    return text if len(text) <= EXCERPT else text[:EXCERPT].rstrip() + "…"


def values(sent: Any) -> Iterator[str]:
    """The values of all objects in a body.  Words in plain lists are names of fields more often than not: kept."""
    if isinstance(sent, Mapping):
        for value in sent.values():
            if isinstance(value, str):
                yield value
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                yield str(value)
            else:
                yield from values(value)
    elif isinstance(sent, (list, tuple)):
        for value in sent:
            yield from values(value)
