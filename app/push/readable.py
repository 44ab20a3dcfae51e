"""An engagement as a line that people read: in a vendor's timeline, in the API, on the command line.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors.contract import Doing, Ending

_DID: Final[Mapping[str, str]] = {
    Doing.SEND: "Was sent a mail",
    Doing.OPEN: "Opened a mail",
    Doing.CLICK: "Clicked in a mail",
    Doing.BOUNCE: "A mail came back",
    Doing.UNSUBSCRIBE: "Unsubscribed",
    Doing.COMPLAINT: "Reported a mail as spam",
    Doing.REPLY: "Answered",
    Doing.FORM: "Filled in a form",
    Doing.PAGE_VISIT: "Visited a page",
    Doing.SURVEY: "Answered a survey",
    Doing.EVENT: "Took part in an event",
    Doing.CALL: "Call",
    Doing.MEETING: "Meeting",
    Doing.MAIL: "Mail",
    Doing.MESSAGE: "Message",
    Doing.NOTE: "Note",
    Doing.TASK: "Task",
}
_ENDED: Final[Mapping[str, str]] = {
    Ending.NO_ANSWER: "no answer",
    Ending.LEFT_MESSAGE: "left a message",
    Ending.WRONG_NUMBER: "wrong number",
    Ending.NO_SHOW: "nobody came",
    Ending.HARD: "for good",
    Ending.SOFT: "for now",
}
_SHOWN: Final = ("title", "url", "reason")
LONGEST: Final = 500


def line(act: Mapping[str, Any]) -> str:
    """What somebody did, in a line.  ``act``: a row of the table engagement."""
    parts = [_DID.get(act["kind"], str(act["kind"]))]
    if act["campaign"] is not None:
        variant = f" (variant {act['variant']})" if act["variant"] is not None else ""
        parts.append(f"campaign {act['campaign']}{variant}")
    if act["outcome"] is not None:
        parts.append(_ENDED.get(act["outcome"], str(act["outcome"]).replace("_", " ")))
    detail = act["detail"] if act["detail"] is not None else {}
    parts += [" ".join(str(detail[name]).split()) for name in _SHOWN if detail.get(name)]
    if act["human"] == 0 and act["kind"] in {Doing.OPEN, Doing.CLICK}:
        parts.append("by a machine, not the person")
    return ": ".join(parts[:2]) + "".join(f", {part}" for part in parts[2:]) if len(parts) > 1 else parts[0]


def entry(act: Mapping[str, Any]) -> str:
    """The same as an entry of a timeline: with where it is from."""
    text = f"{line(act)} [{act['connection']}]"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
