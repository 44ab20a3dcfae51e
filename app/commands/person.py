"""Everything held about one person, as a page that the person can read.  Values are always escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jinja2

from app.core.db import dumps

_TITLES: Final = {
    "contacts": "What is held to be right, and who said it",
    "contact_key": "What you are found by",
    "link": "Your records in other systems",
    "merge": "Entries about you that were put together",
    "alias": "Numbers under which other systems knew you earlier",
    "consent": "What you agreed to and objected to",
    "history": "What changed",
    "conflict": "What a person has to decide",
    "refusal": "What other systems said and was not taken over",
    "work": "What is about to be written",
    "withheld": "What somebody decided not to write to another system",
    "canary_contact": "Where writing about you was tried first",
    "approval": "What somebody approved to be written",
    "dead": "What could not be processed",
    "inbox": "What was received about you",
    "delivery": "Messages in which it was received",
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Personal data</title>
<style>
body {font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem}
table {border-collapse: collapse; margin: 0 0 1rem; width: 100%}
th, td {border: 1px solid #bbb; overflow-wrap: anywhere; padding: .2rem .5rem; text-align: left; vertical-align: top}
th {width: 12rem}
</style>
<h1>Personal data held about {{ addresses | join(", ") }}</h1>
{% for title, rows in parts %}
<h2>{{ title }}</h2>
{% for row in rows %}
<table>
{% for name, value in row.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ value | text }}</td></tr>
{% endfor %}
</table>
{% else %}
<p>Nothing.</p>
{% endfor %}
{% endfor %}
</html>
"""


def page(found: Mapping[str, Any]) -> str:
    """The HTML page of what ``app.repair.subject.everything`` found."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["text"] = _text
    parts = []
    for name, title in _TITLES.items():
        rows = [{**row, **row["facts"]} if "facts" in row else row for row in found[name]]
        parts.append((title, [{k: v for k, v in row.items() if k != "facts"} for row in rows]))
    return environment.from_string(_PAGE).render(addresses=found["addresses"], parts=parts)


def _text(value: Any) -> str:
    if isinstance(value, dict) and {"value", "source", "at", "rule"} <= set(value):
        return f"{_text(value['value'])} (from {value['source']}, {value['at']}, {value['rule']})"
    if isinstance(value, (dict, list)):
        return dumps(value)
    return "none" if value is None else str(value)
