"""Companies: by domain and by name."""

from __future__ import annotations

from typing import Any

import pytest

from app.match.companies import blocking, company, compare
from app.match.score import Band

ACME = {"company_name": "Acme Robotics GmbH", "website": "https://www.acme-robotics.de", "country": "DE"}


@pytest.mark.parametrize(
    ("other", "band", "contradiction"),
    [
        ({"name": "ACME Robotics", "domain": "acme-robotics.de"}, Band.LINK, None),
        ({"name": "Acme Robotcs GmbH & Co. KG", "email": "info@mail.acme-robotics.de"}, Band.LINK, None),
        ({"name": "AcmeRobotics", "domain": "acme-robotics.de", "country": "DE"}, Band.LINK, None),
        ({"name": "Acme Robotics Ltd", "domain": "acme-robotics.co.uk", "country": "GB"}, Band.REVIEW, "two countries"),
        ({"name": "Zebedee Foods", "domain": "acme-robotics.de"}, Band.REVIEW, "two names"),
        ({"name": "Acme Robotics 2", "domain": "acme-robotics.de"}, Band.REVIEW, "two numbers"),
        ({"name": "Acme Robotics", "email": "acme@gmail.com", "city": "Bonn"}, Band.CREATE, None),
        ({"name": "Zebedee Foods", "domain": "zebedee.de"}, Band.CREATE, "two web sites"),
        ({"name": "n/a"}, Band.CREATE, None),
    ],
)
def test_each_pair_has_its_band(other: dict[str, Any], band: Band, contradiction: str | None) -> None:
    """Linked where name and site agree; asked where one of them does; whichever comes first."""
    a, b = company(ACME), company(other)
    scores = compare(a, b), compare(b, a)
    assert [s.band for s in scores] == [band, band]
    for score in scores:
        assert (score.contradiction is None) == (contradiction is None)
        assert contradiction is None or (score.contradiction is not None and contradiction in score.contradiction)


@pytest.mark.parametrize(
    "other",
    [
        {"domain": "acme-robotics.de"},
        {"domain": "acme-robotics.com"},
        {"name": "Acme Robotics S.A."},
        {"name": "AcmeRobotics"},
        {"name": "Akme Robotics"},
    ],
)
def test_records_of_one_company_share_a_key(other: dict[str, Any]) -> None:
    """By site, by its label, by name, by sound."""
    assert set(blocking(company(ACME))) & set(blocking(company(other)))


def test_a_free_provider_is_nobody_s_site() -> None:
    """Else all its customers were one company."""
    assert company({"website": "https://gmail.com", "email": "acme@gmx.de"}).site == ""
    assert blocking(company({})) == ()
