"""The brief as Markdown, and as one HTML page that prints.  Pure: a body in, text out."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from app.agreement.briefing import Body

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 1.2rem }
h2 { font-size: 1.05rem; margin: 1.2rem 0 .2rem }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #ccc; vertical-align: top }
td:nth-child(2), td:nth-child(3) { font-variant-numeric: tabular-nums }
@media print { body { margin: 0; max-width: none; font-size: 10.5pt } section { break-inside: avoid } }
@page { size: A4; margin: 16mm }
"""


def markdown(body: Body) -> str:
    """The brief as Markdown."""
    lines = [f"# {title(body)}", "", compared(body), ""]
    for section in body["sections"]:
        lines += [f"## {section['title']}", ""]
        if section["rows"]:
            lines.append(_line(section["columns"]))
            lines.append("|" + "---|" * len(section["columns"]))
            lines += [_line(row) for row in section["rows"]]
        else:
            lines.append(section["empty"])
        lines.append("")
    lines += ["## Open questions", "", *(f"- {_plain(q)}" for q in questions(body))]
    return "\n".join(lines) + "\n"


def html(body: Body) -> str:
    """The brief as one page of HTML with nothing outside of it; prints on A4."""
    parts = [f"<h1>{escape(title(body))}</h1><p>{escape(compared(body))}</p>"]
    for section in body["sections"]:
        rows = "".join(_cells("td", row) for row in section["rows"])
        table = f"<table><thead>{_cells('th', section['columns'])}</thead><tbody>{rows}</tbody></table>"
        shown = table if rows else f"<p>{escape(section['empty'])}</p>"
        parts.append(f"<section><h2>{escape(section['title'])}</h2>{shown}</section>")
    items = "".join(f"<li>{escape(q)}</li>" for q in questions(body))
    parts.append(f"<section><h2>Open questions</h2><ul>{items}</ul></section>")
    head = f'<meta charset="utf-8"><title>{escape(title(body))}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def title(body: Body) -> str:
    """Its heading."""
    return f"Sales and marketing, {body['start']} to {body['end']}"


def compared(body: Body) -> str:
    """With what it is compared."""
    if body["since"] is None:
        return "The first brief: there is none to compare it with."
    return f"“Last time” is the brief up to {body['since']}."


def questions(body: Body) -> list[str]:
    """The open questions, or that there are none."""
    return body["questions"] if body["questions"] else ["None."]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(text: str) -> str:
    for sign in "\\|<>*_`[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _line(cells: list[Any]) -> str:
    return "| " + " | ".join(_plain(_text(c)) for c in cells) + " |"


def _cells(tag: str, cells: list[Any]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(_text(c))}</{tag}>" for c in cells) + "</tr>"
