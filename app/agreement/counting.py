"""What a journey adds to the counters of the scorecard.  Pure.

A counter has a dimension, a value, an indicator and a day (since 1970, UTC).  Everything stands once under the
dimension ``""``, which is all, and once under each value of each dimension it has; values of one dimension add up to
all, but for ``did``, of which a lead has several.

======================= ==============================================================================================
indicator               on the day of … is counted
======================= ==============================================================================================
``page_visit`` …        an engagement of that kind that took place, not by a machine; ``paid_click``: a click of an ad
``stage:<name>``        a lead came to this stage of the agreement
``lead``, ``mql`` …     a round passed this milestone (``app.agreement.journey``)
``a>b``                 a round passed ``a`` that passed ``b`` too, then or later; on the day of ``a``: cohorts
``a>b?``                a round passed ``a``, not ``b``, and may still
``recycled``, …         leads given back, to come again or for good; ``recycled>again``, ``recycled>won``: that were
                        handed over again within 180 days, that won
``deal:won`` …          deals by the day on which they were opened, won, lost; ``deal:days`` days from open to won
``won:<cur>`` …         money in ten thousandths, by currency: ``opened``, ``won``, ``lost``; of won also ``sourced``
                        and ``influenced``, which overlap
``by:<model>:<cur>``    money of won deals as the model credits it; ``by:<model>`` the deals, in ten thousandths
======================= ==============================================================================================
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from app.agreement.attribution import DAY_MS, MODELS, PARTS, Touch, parts, weights
from app.agreement.facts import DOING
from app.agreement.journey import STAGES, Done, Journey, Round, Sale, variant
from app.agreement.words import Team

Cell: TypeAlias = tuple[str, str, str, int]  # dimension, value, indicator, day
ALL: Final = ""
DIMENSIONS: Final = ("channel", "campaign", "variant", "persona", "profile", "team", "did")
ALIKE: Final[Mapping[str, str]] = {"did+persona": "persona", "did+channel": "channel"}
"""Dimensions of what was done with similar leads: their values are the kind, a blank, and that of the other one."""
AIMS: Final[Mapping[str, str]] = {"mql": "mql>sql", "sql": "sql>won"}
"""What is to come next: the milestone that was passed, and the counter of those who passed the next one."""
NONE: Final = "(none)"
AGAIN_DAYS: Final = 180
ADS: Final = frozenset({"ads", "paid", "cpc"})
_DOING: Final = frozenset(DOING)
_PAIRS: Final = tuple((a, b) for i, a in enumerate(STAGES) for b in STAGES[i + 1 :])


def day(moment: int) -> int:
    """The day of a moment, in UTC."""
    return moment // DAY_MS


def counts(journey: Journey, persona: str | None, profile: str | None) -> dict[Cell, int]:
    """All that the journey adds."""
    made: Counter[Cell] = Counter()
    who = {"persona": _named(persona), "profile": _named(profile)}
    for act in journey.acts:
        if act.counts:
            _act(made, act, who)
    source = who | {
        "channel": _named(journey.channel),
        "campaign": _named(journey.campaign),
        "variant": _named(journey.variant),
        "team": _named(journey.team),
    }
    for number, step in enumerate(journey.steps):
        if step.what == "stage":
            _add(made, source, f"stage:{step.name}", day(step.at))
        elif step.what in {"recycled", "rejected"}:
            _add(made, source, step.what, day(step.at))
            if step.what == "recycled":
                _again(made, journey, number, source)
    for one in journey.rounds:
        _round(made, one, source)
    for sale in journey.sales:
        _sale(made, sale, journey, source)
    return {cell: n for cell, n in made.items() if n}


def _named(value: str | None) -> str:
    return value if value is not None and value else NONE


def _add(made: Counter[Cell], values: Mapping[str, str], indicator: str, on: int, n: int = 1) -> None:
    made[(ALL, ALL, indicator, on)] += n
    for dimension, value in values.items():
        made[(dimension, value, indicator, on)] += n


def _act(made: Counter[Cell], act: Done, who: dict[str, str]) -> None:
    paid = act.kind == "click" and act.way in ADS
    own = {"channel": act.way, "campaign": _named(act.campaign), "variant": variant(act) if act.variant else NONE}
    _add(made, who | own, "paid_click" if paid else act.kind, day(act.at))


def _again(made: Counter[Cell], journey: Journey, number: int, source: Mapping[str, str]) -> None:
    at = journey.steps[number].at
    again = next((s.at for s in journey.steps[number + 1 :] if s.what == "mql"), None)
    if again is not None and again - at <= AGAIN_DAYS * DAY_MS:
        _add(made, source, "recycled>again", day(at))
    if any(one.at.get("won", -1) >= at for one in journey.rounds):
        _add(made, source, "recycled>won", day(at))


def _round(made: Counter[Cell], one: Round, source: Mapping[str, str]) -> None:
    for name, at in one.at.items():
        _add(made, source, name, day(at))
    cohorts: list[tuple[str, str]] = []
    for a, b in _PAIRS:
        if a in one.at:
            if b in one.at:
                cohorts.append((a, f"{a}>{b}"))
            elif one.open:
                cohorts.append((a, f"{a}>{b}?"))
    if "mql" in one.at:
        if one.tried_at is not None:
            cohorts.append(("mql", "mql>tried"))
        elif one.open and "sal" not in one.at:
            cohorts.append(("mql", "mql>tried?"))
        if one.kept:
            cohorts.append(("mql", "mql>kept"))
        elif one.open:
            cohorts.append(("mql", "mql>kept?"))
        if one.ended in {"recycled", "rejected"}:
            cohorts.append(("mql", "mql>given_back"))
        elif one.open:
            cohorts.append(("mql", "mql>given_back?"))
        if one.tries:
            _add(made, source, "mql:tries", day(one.at["mql"]), one.tries)
    for a, indicator in cohorts:
        _add(made, source, indicator, day(one.at[a]))
    aims = [(a, a) for a in AIMS if a in one.at] + [(a, i) for a, i in cohorts if i.rstrip("?") == AIMS.get(a)]
    for kind in one.did & _DOING:  # of similar leads only, for what to do next
        for dimension, by in ALIKE.items():
            for a, indicator in aims:
                made[(dimension, f"{kind} {source[by]}", indicator, day(one.at[a]))] += 1
    for kind in one.did:  # what was done before the end, for how it went on with those of whom it was done
        for name, at in one.at.items():
            made[("did", kind, name, day(at))] += 1
        for a, indicator in cohorts:
            made[("did", kind, indicator, day(one.at[a]))] += 1


def _sale(made: Counter[Cell], sale: Sale, journey: Journey, source: Mapping[str, str]) -> None:
    opened = day(sale.opened_at)
    _add(made, source, "deal:opened", opened)
    if sale.amount is not None:
        _add(made, source, f"opened:{sale.currency}", opened, sale.amount)
    if sale.closed_at is None:
        return
    closed = day(sale.closed_at)
    _add(made, source, f"deal:{sale.status}", closed)
    if sale.amount is not None:
        _add(made, source, f"{sale.status}:{sale.currency}", closed, sale.amount)
        _add(made, source, f"deal:{sale.status}:{sale.currency}", closed)
    if sale.status != "won":
        return
    _add(made, source, "deal:days", closed, max(0, sale.closed_at - sale.opened_at) * PARTS // DAY_MS)
    if sale.amount is not None:
        if sale.touches and sale.touches[0].team == Team.MARKETING:
            _add(made, source, f"sourced:{sale.currency}", closed, sale.amount)
        if any(one.team == Team.MARKETING for one in sale.touches):
            _add(made, source, f"influenced:{sale.currency}", closed, sale.amount)
    lead_at = journey.rounds[0].at.get("lead") if journey.rounds else None
    for model in MODELS:
        _credit(made, sale, model, weights(model, sale.touches, sale.opened_at, lead_at), closed)


def _credit(made: Counter[Cell], sale: Sale, model: str, shares: list[float], closed: int) -> None:
    touches: Iterable[Touch | None] = sale.touches if shares else [None]
    given = shares if shares else [1.0]
    wholes = [(f"by:{model}", PARTS)]
    if sale.amount is not None:
        wholes.append((f"by:{model}:{sale.currency}", sale.amount))
    for indicator, whole in wholes:
        for one, n in zip(touches, parts(whole, given), strict=True):
            values = {
                "team": _named(one.team if one is not None else None),
                "channel": _named(one.channel if one is not None else None),
                "campaign": _named(one.campaign if one is not None else None),
            }
            _add(made, values, indicator, closed, n)


def packed(made: Mapping[Cell, int]) -> bytes:
    """The form at rest: what is subtracted when the journey changes is exactly what was added."""
    text = json.dumps(sorted([*cell, n] for cell, n in made.items()), ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode(), 6)


def unpacked(data: bytes | None) -> dict[Cell, int]:
    """The counts of a form at rest; none for None."""
    if data is None:
        return {}
    return {(d, v, i, on): n for d, v, i, on, n in json.loads(zlib.decompress(data))}
