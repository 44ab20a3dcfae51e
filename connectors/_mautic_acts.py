"""What contacts did and were sent, from Mautic's tables of statistics.  In: a cursor.  Out: acts.

Each kind of act is a table with a time; the tables take turns, each walked by id over a window of time as contacts are.
A mail is told as read once, when it was first opened.  Mautic says nothing of who or what opened or clicked.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/stats.rst`` (tables, columns), ``emails.rst``;
github.com/mautic/mautic, ``EmailBundle/Entity/Stat.php``, ``EmailReply.php``, ``EmailBundle/MonitoredEmail/Processor/
Bounce.php`` (a bounce sets do-not-contact), ``PageBundle/Entity/Hit.php``, ``LeadBundle/Entity/DoNotContact.php``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from connectors import _mautic_walk as walk
from connectors._cursor import Turns
from connectors._mautic_calls import BATCH, COMMENT, Contacts
from connectors._mautic_wire import REASONS, number, rows, time, yes
from connectors.contract import Act, ActPage, Doing, Ending, NeedsHuman, Ref

SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "sent": ("email_stats", "date_sent"),
    "read": ("email_stats", "date_read"),
    "hits": ("page_hits", "date_hit"),
    "forms": ("form_submissions", "date_submitted"),
    "objections": ("lead_donotcontact", "date_added"),
    "replies": ("email_stat_replies", "date_replied"),
    "texts": ("sms_message_stats", "date_sent"),
}
"""Turn → (table, column of the time)."""
_CHANNELS: Final = {"email": "email", "sms": "sms"}
_OBJECTIONS: Final = {REASONS["unsubscribed"]: Doing.UNSUBSCRIBE, REASONS["bounced"]: Doing.BOUNCE}
_TURNS: Final = Turns("mautic", SOURCES, walk.Poll)
_CLICKED: Final = "ct"  # the parameter by which Mautic knows again who clicked
_LOOKED_UP: Final = 10  # mails in one call: the answer holds their whole text
_KEPT: Final = 5_000  # names that are remembered
_UNSEEN: Final = frozenset({403, 404})


@dataclass(frozen=True, slots=True)
class Name:
    """What a mail or a form is called.  ``variant``: which of an A/B test it is, whose name is ``name`` then."""

    name: str
    subject: str | None = None
    variant: str | None = None


class Names:
    """Names of mails, forms and campaigns, remembered; none where the user may not see them."""

    def __init__(self, contacts: Contacts) -> None:
        """No I/O."""
        self._contacts = contacts
        self._names: dict[str, dict[int, Name | None]] = {"emails": {}, "forms": {}, "campaigns": {}, "events": {}}
        self._lock = threading.Lock()

    def of(self, kind: str, ids: Iterable[int | None]) -> Mapping[int, Name | None]:
        """The names of these ``emails``, ``forms`` or ``campaigns``."""
        return self._known(kind, ids, lambda part: self._listed(kind, part))

    def campaigns(self, events: Iterable[int | None]) -> Mapping[int, Name | None]:
        """The names of the campaigns that have these events."""
        return self._known("events", events, self._evented)

    def _known(
        self, kind: str, ids: Iterable[int | None], ask: Callable[[list[int]], Mapping[int, Name | None]]
    ) -> Mapping[int, Name | None]:
        with self._lock:
            known = self._names[kind]
            lacking = sorted({i for i in ids if i is not None} - known.keys())
            if len(known) + len(lacking) > _KEPT:
                known.clear()
                lacking = sorted({i for i in ids if i is not None})
        told: dict[int, Name | None] = {}
        for start in range(0, len(lacking), _LOOKED_UP):
            part = lacking[start : start + _LOOKED_UP]
            told |= {**dict.fromkeys(part), **ask(part)}
        with self._lock:
            known.update(told)
            return dict(known)

    def _listed(self, kind: str, part: list[int]) -> Mapping[int, Name | None]:
        where = {"where[0][col]": "id", "where[0][expr]": "in", "where[0][val]": ",".join(map(str, part))}
        # A mail's other half of an A/B test is told in its long form only.
        short = {} if kind == "emails" else {"minimal": 1}
        response = self._contacts.send("GET", f"/{kind}", params={"limit": BATCH, **short, **where}, take=_UNSEEN)
        if response.status_code in _UNSEEN:
            return {}
        found = rows(self._contacts.json(response), kind)
        return {i: _name(row) for row in found if (i := number(row, "id")) in part and i is not None}

    def _evented(self, part: list[int]) -> Mapping[int, Name | None]:
        whose: dict[int, int] = {}
        for event in part:
            told = self._contacts.stats("campaign_lead_event_log", [("event_id", "eq", event)], 0, size=1)
            campaign = number(told.rows[0], "campaign_id") if told is not None and told.rows else None
            if campaign is not None:
                whose[event] = campaign
        names = self.of("campaigns", whose.values()) if whose else {}
        return {event: names.get(campaign) for event, campaign in whose.items()}


def _name(row: Mapping[str, Any]) -> Name:
    own, subject, parent = str(row.get("name")), row.get("subject"), row.get("variantParent")
    whole = parent.get("name") if isinstance(parent, Mapping) else None
    tested = isinstance(whole, str) or bool(row.get("variantChildren"))
    return Name(
        whole if isinstance(whole, str) else own,
        subject if isinstance(subject, str) and subject else None,
        own if tested else None,
    )


def acts(contacts: Contacts, names: Names, cursor: str | None) -> ActPage:
    """One page of one table; the tables take turns until none has more."""
    turn, states = _TURNS.load(cursor)
    table, when = SOURCES[turn]
    state = walk.begin(states[turn] if turn in states else walk.Poll(walk.FIRST))
    start = state.start if state.start is not None else walk.FIRST
    key = "stat_id" if turn == "replies" else "id"  # a reply's own id is no number
    found = contacts.stats(table, [(when, "gte", start)], state.after, key=key)
    if found is None and turn == next(iter(SOURCES)):  # all tables of contacts need the same permission
        raise NeedsHuman("mautic: the API user's role does not let it see statistics (Contacts: view own and others)")
    told: list[Act] = []
    if found is None:  # a table that this version does not have
        following = walk.advance(state, None, full=False, now=None, newest=None, phases=walk.ACTS)
    else:
        newest = max((at for row in found.rows if (at := time(row.get(when))) is not None), default=None)
        following = walk.advance(state, found.last, full=found.full, now=found.at, newest=newest, phases=walk.ACTS)
        told = _told(
            contacts, names, turn, [(row, at) for row in found.rows if (at := time(row.get(when))) is not None]
        )
    cursor, more = _TURNS.dump(turn, {**states, turn: following}, more=following.start is not None)
    return ActPage(tuple(told), cursor, more=more)


_Rows = list[tuple[Mapping[str, Any], datetime]]


def _told(contacts: Contacts, names: Names, turn: str, found: _Rows) -> list[Act]:
    match turn:
        case "sent" | "read":
            return _mails(names, turn, found)
        case "hits":
            return _hits(contacts, names, found)
        case "forms":
            return _forms(names, found)
        case "objections":
            return _objections(names, found)
        case "replies":
            return _replies(contacts, names, found)
    return [
        Act(f"sms_message_stats:{number(row, 'id')}", who, Doing.MESSAGE, at, False, channel="sms", outcome=Ending.SENT)
        for row, at in found
        if (who := _who(row)) is not None
    ]


def _mails(names: Names, turn: str, found: _Rows) -> list[Act]:
    mails = names.of("emails", [number(row, "email_id") for row, _ in found])
    campaigns = names.campaigns([_event(row) for row, _ in found])
    made = []
    for row, at in found:
        mail, whole = mails.get(number(row, "email_id") or 0), campaigns.get(_event(row) or 0)
        if (who := _who(row)) is None:
            continue
        sent = turn == "sent"
        made.append(
            Act(
                id=f"email_stats:{number(row, 'id')}:{turn}",
                who=who,
                kind=Doing.SEND if sent else Doing.OPEN,
                at=at,
                human=False if sent else None,
                channel="email",
                outcome=(Ending.FAILED if yes(row, "is_failed") else Ending.SENT) if sent else None,
                detail=_detail(title=mail.subject if mail is not None else None, of=whole),
                **_mail(mail),
            )
        )
    return made


def _hits(contacts: Contacts, names: Names, found: _Rows) -> list[Act]:
    """Clicks on links that Mautic follows, and visits of pages.  Visitors whom nobody knows are left out."""
    known = contacts.known([who.value for row, _ in found if (who := _who(row)) is not None])
    found = [(row, at) for row, at in found if (who := _who(row)) is not None and who.value in known]
    mails = names.of("emails", [number(row, "email_id") for row, _ in found])
    made = []
    for row, at in found:
        clicked, mail = number(row, "redirect_id") is not None, mails.get(number(row, "email_id") or 0)
        channel = "email" if number(row, "email_id") is not None else _CHANNELS.get(str(row.get("source")))
        title = row.get("url_title")
        made.append(
            Act(
                id=f"page_hits:{number(row, 'id')}",
                who=Ref(str(number(row, "lead_id"))),
                kind=Doing.CLICK if clicked else Doing.PAGE_VISIT,
                at=at,
                channel=channel if clicked and channel is not None else "web",
                detail=_detail(title=title if isinstance(title, str) else None, url=_url(row.get("url"))),
                **_mail(mail),
            )
        )
    return made


def _forms(names: Names, found: _Rows) -> list[Act]:
    forms = names.of("forms", [number(row, "form_id") for row, _ in found])
    made = []
    for row, at in found:
        form = forms.get(number(row, "form_id") or 0)
        if (who := _who(row)) is not None:
            detail = _detail(title=form.name if form is not None else None, url=_url(row.get("referer")))
            made.append(Act(f"form_submissions:{number(row, 'id')}", who, Doing.FORM, at, channel="web", detail=detail))
    return made


def _objections(names: Names, found: _Rows) -> list[Act]:
    """Who unsubscribed and whose mail came back.  What Tandem wrote there is no act."""
    kinds = [_OBJECTIONS.get(number(row, "reason") or 0) for row, _ in found]
    mails = names.of("emails", [_mailed(row) for row, _ in found])
    return [
        Act(
            id=f"lead_donotcontact:{number(row, 'id')}",
            who=who,
            kind=kind,
            at=at,
            channel=_CHANNELS.get(str(row.get("channel"))),
            **_mail(mails.get(_mailed(row) or 0)),
        )
        for (row, at), kind in zip(found, kinds, strict=True)
        if kind is not None and row.get("comments") != COMMENT and (who := _who(row)) is not None
    ]


def _replies(contacts: Contacts, names: Names, found: _Rows) -> list[Act]:
    asked = sorted({i for row, _ in found if (i := number(row, "stat_id")) is not None})
    stats = contacts.stats("email_stats", [("id", "in", ",".join(map(str, asked)))], 0) if asked else None
    mailed = {number(row, "id"): row for row in (stats.rows if stats is not None else ())}
    mails = names.of("emails", [number(row, "email_id") for row in mailed.values()])
    made = []
    for row, at in found:
        stat = mailed.get(number(row, "stat_id"))
        if stat is not None and (who := _who(stat)) is not None:
            mail = mails.get(number(stat, "email_id") or 0)
            id_ = f"email_stat_replies:{row.get('id')}"
            outcome = Ending.RECEIVED
            made.append(Act(id_, who, Doing.REPLY, at, True, channel="email", outcome=outcome, **_mail(mail)))
    return made


# --- parts of rows ----------------------------------------------------------------------------------------------------


def _who(row: Mapping[str, Any]) -> Ref | None:
    """The contact; none once it was deleted."""
    id_ = number(row, "lead_id")
    return None if id_ is None else Ref(str(id_))


def _event(row: Mapping[str, Any]) -> int | None:
    """The campaign's event that sent this, where one did."""
    return number(row, "source_id") if row.get("source") == "campaign.event" else None


def _mailed(row: Mapping[str, Any]) -> int | None:
    return number(row, "channel_id") if row.get("channel") == "email" else None


def _mail(mail: Name | None) -> dict[str, Any]:
    return {} if mail is None else {"campaign": mail.name, "variant": mail.variant}


def _detail(*, title: str | None = None, url: str | None = None, of: Name | None = None) -> dict[str, str]:
    said = {"title": title, "url": url, "campaign": of.name if of is not None else None}
    return {name: value for name, value in said.items() if value}


def _url(value: object) -> str | None:
    """A page's address without what says who clicked."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    kept = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n != _CLICKED]
    return urlunsplit(parts._replace(query=urlencode(kept)))
