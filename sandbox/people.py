"""People who do not exist, the same ones for the same seed.  In: how many.  Out: two accounts that half agree.

Most are in both accounts, some in one only; of those in both, some fields differ and some are missing on one side, as
after years of two teams typing.  Addresses end in ``example.com``, ``.net`` or ``.org``, which nobody owns (RFC 2606);
telephone numbers are put together at random in national and international notations.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim

BORN = datetime(2024, 1, 8, 8, 0, tzinfo=UTC)  # when the accounts were opened
SPAN = 600  # days over which the people came
ONLY_HUBSPOT, ONLY_MAILCHIMP = 0.16, 0.12  # shares; the rest is in both
DIFFERING, MISSING = 0.12, 0.08  # of the fields of those in both


@dataclass(frozen=True, slots=True)
class Place:
    """One country: names, towns, the form of its telephone numbers (``#`` = a digit) and of its companies."""

    country: str
    code: str  # telephone
    trunk: str  # what is dialled before a number inside the country
    language: str
    given: tuple[str, ...]
    family: tuple[str, ...]
    towns: tuple[tuple[str, str], ...]  # as written there, and as others write it
    numbers: tuple[str, ...]
    company: tuple[str, ...]  # "{}" = a word


PLACES = (
    Place(
        "Germany", "49", "0", "de",
        ("Anna", "Jörg", "Katharina", "Lukas", "Sabine", "Uwe", "Mareike", "Tobias", "Henriette", "Björn"),
        ("Müller", "Schröder", "Weiß", "Hoffmann", "Krüger", "von der Heide", "Jäger", "Lindner", "Böhm", "Vogt"),
        (("München", "Munich"), ("Köln", "Cologne"), ("Hamburg", "Hamburg"), ("Nürnberg", "Nuremberg")),
        ("30 #######", "89 ######", "171 #######"),
        ("{} GmbH", "{} AG", "{} & Söhne KG"),
    ),
    Place(
        "France", "33", "0", "fr",
        ("Élodie", "Jean-Luc", "Camille", "Benoît", "Margaux", "Théo", "Hélène", "Loïc", "Anaïs", "Pascal"),
        ("Lefèvre", "Dubois", "Garçon", "Moreau", "d'Aubigné", "Fournier", "Girard", "Le Goff", "Rousseau", "Petit"),
        (("Lyon", "Lyon"), ("Marseille", "Marseilles"), ("Nîmes", "Nimes"), ("Orléans", "Orleans")),
        ("1 ## ## ## ##", "4 ## ## ## ##", "6 ## ## ## ##"),
        ("{} SARL", "{} SA", "Groupe {}"),
    ),
    Place(
        "Spain", "34", "", "es",
        ("Lucía", "José María", "Íñigo", "Carmen", "Álvaro", "Begoña", "Nuria", "Sergio", "Pilar", "Andrés"),
        ("García López", "Muñoz", "Fernández Ruiz", "Ibáñez", "Ortega", "Núñez", "Castro Gil", "Peña", "Vega", "Soler"),
        (("Sevilla", "Seville"), ("Zaragoza", "Saragossa"), ("Madrid", "Madrid"), ("A Coruña", "Corunna")),
        ("91 ### ## ##", "6## ### ###"),
        ("{} S.L.", "{} S.A.", "{} Hermanos"),
    ),
    Place(
        "Poland", "48", "", "pl",
        ("Agnieszka", "Łukasz", "Małgorzata", "Paweł", "Zofia", "Grzegorz", "Ewa", "Stanisław", "Kinga", "Michał"),
        ("Kowalska", "Wiśniewski", "Wójcik", "Kamiński", "Żak", "Szymańska", "Dąbrowski", "Nowak", "Łuczak", "Pawlak"),
        (("Kraków", "Cracow"), ("Łódź", "Lodz"), ("Warszawa", "Warsaw"), ("Gdańsk", "Gdansk")),
        ("22 ### ## ##", "6## ### ###"),
        ("{} sp. z o.o.", "{} S.A."),
    ),
    Place(
        "United Kingdom", "44", "0", "en",
        ("Olivia", "Harry", "Siobhán", "Mohammed", "Priya", "Callum", "Grace", "Owain", "Bethan", "Rhys"),
        ("Smith", "O'Connor", "Patel", "MacLeod", "Taylor-Jones", "Khan", "Evans", "Fraser", "Whitby", "Ashdown"),
        (("London", "London"), ("Leeds", "Leeds"), ("Cardiff", "Caerdydd"), ("Edinburgh", "Edinburgh")),
        ("20 7### ####", "113 ### ####", "7700 ######"),
        ("{} Ltd", "{} plc", "{} & Partners"),
    ),
    Place(
        "United States", "1", "", "en",
        ("Emily", "DeShawn", "Maria", "Tyler", "Aaliyah", "José", "Hannah", "Wyatt", "Mei", "Jordan"),
        ("Johnson", "Nguyen", "Ramirez", "Goldberg", "Washington", "St. John", "Kim", "Baker", "Hernandez", "Olsen"),
        (("New York", "NYC"), ("Saint Paul", "St. Paul"), ("Austin", "Austin"), ("Seattle", "Seattle")),
        ("(212) ###-####", "(512) ###-####", "206-###-####"),
        ("{} Inc.", "{} LLC", "The {} Company"),
    ),
    Place(
        "Sweden", "46", "0", "sv",
        ("Åsa", "Björn", "Maja", "Göran", "Elsa", "Håkan", "Ingrid", "Nils", "Ebba", "Örjan"),
        ("Lindqvist", "Sjöberg", "Åkesson", "Nyström", "Bergström", "af Klint", "Holm", "Öberg", "Ek", "Dahl"),
        (("Göteborg", "Gothenburg"), ("Malmö", "Malmo"), ("Stockholm", "Stockholm"), ("Umeå", "Umea")),
        ("8 ### ## ##", "31 ## ## ##", "70 ### ## ##"),
        ("{} AB", "{} Handelsbolag"),
    ),
    Place(
        "Türkiye", "90", "0", "tr",
        ("Ayşe", "Mehmet", "Gülşen", "Çağlar", "İrem", "Oğuz", "Şebnem", "Ümit", "Elif", "Kıvanç"),
        ("Yılmaz", "Öztürk", "Çelik", "Şahin", "Doğan", "Kılıç", "Aydın", "Güneş", "Koç", "Erdoğdu"),
        (("İstanbul", "Istanbul"), ("İzmir", "Izmir"), ("Ankara", "Ankara"), ("Muğla", "Mugla")),
        ("212 ### ## ##", "532 ### ## ##"),
        ("{} A.Ş.", "{} Ltd. Şti."),
    ),
    Place(
        "Brazil", "55", "0", "pt",
        ("João", "Mariana", "Antônio", "Letícia", "Thiago", "Conceição", "Rafael", "Beatriz", "Caio", "Luísa"),
        ("da Silva", "Gonçalves", "dos Santos", "Araújo", "Oliveira", "Assunção", "Pereira", "Brandão", "Lima", "Reis"),
        (("São Paulo", "Sao Paulo"), ("Brasília", "Brasilia"), ("Belém", "Belem"), ("Recife", "Recife")),
        ("11 9####-####", "21 ####-####"),
        ("{} Ltda.", "{} S.A."),
    ),
    Place(
        "Greece", "30", "", "el",
        ("Ελένη", "Γιώργος", "Σοφία", "Νίκος", "Κατερίνα", "Δημήτρης", "Ιωάννα", "Πέτρος", "Άννα", "Σπύρος"),
        ("Παπαδόπουλος", "Γεωργίου", "Οικονόμου", "Αντωνίου", "Μακρής", "Νικολάου", "Ιωάννου", "Βλάχος", "Καρράς"),
        (("Αθήνα", "Athens"), ("Θεσσαλονίκη", "Thessaloniki"), ("Πάτρα", "Patras"), ("Ηράκλειο", "Heraklion")),
        ("21 0### ####", "69# ### ####"),
        ("{} Α.Ε.", "{} Ε.Π.Ε."),
    ),
)  # fmt: skip

WORDS = (
    "Nordlicht", "Blue Harbour", "Solaris", "Kestrel", "Meridian", "Terra Nova", "Lumen", "Quercus", "Atlas",
    "Aurora", "Finch", "Granit", "Halcyon", "Juniper", "Marlow", "Orion", "Pinnacle", "Riverbank", "Silverline",
)  # fmt: skip
JOBS = (
    ("Head of Sales", "Sales Director"), ("Marketing Manager", "Head of Marketing"), ("Owner", "Managing Director"),
    ("Buyer", "Purchasing"), ("CTO", "Chief Technology Officer"), ("Accountant", "Finance"), ("Engineer", "Developer"),
)  # fmt: skip
TIERS = ("bronze", "silver", "gold")
STAGES = ("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer")
TAGS = ("Newsletter", "Trade fair 2025", "Webinar", "Prospect")

_GREEK = {
    **dict(zip("αβγδεζηικλμνξοπρστυφως", "avgdeziiklmnxoprstyfos", strict=True)),
    "θ": "th",
    "χ": "ch",
    "ψ": "ps",
}
_PLAIN = str.maketrans({"ß": "ss", "ł": "l", "Ł": "L", "ø": "o", "ı": "i", "İ": "I", "ö": "oe", "ü": "ue", "ä": "ae"})


@dataclass(frozen=True, slots=True)
class Person:
    """One person, as one of the two sides has them; ``None`` = not known."""

    email: str
    given: str | None
    family: str | None
    phone: str | None
    company: str | None
    job: str | None
    town: str | None
    country: str | None
    birthday: date | None
    tier: str | None
    language: str
    came: datetime
    changed: datetime


def people(n: int, seed: int) -> list[tuple[Person | None, Person | None]]:
    """``n`` people as (in HubSpot, in Mailchimp); None = not there."""
    random = Random(seed)
    taken: Counter[tuple[str, str]] = Counter()
    found: list[tuple[Person | None, Person | None]] = []
    for _ in range(n):
        place = random.choice(PLACES)
        person = _person(random, place, taken)
        where = random.random()
        if where < ONLY_HUBSPOT:
            found.append((person, None))
        elif where < ONLY_HUBSPOT + ONLY_MAILCHIMP:
            found.append((None, person))
        else:
            found.append((_worn(random, person), _other(random, place, person)))
    return found


def populate(hubspot: HubSpotSim, mailchimp: MailchimpSim, n: int, seed: int = 1) -> None:
    """Fill both accounts with ``n`` people, as if they had come over the years.  No webhook is sent."""
    random = Random(seed + 1)
    for crm, marketing in people(n, seed):
        gone = random.random()
        if crm is not None:
            at = int(crm.came.timestamp() * 1000)
            contact = hubspot.portal.create(hubspot.portal.check(_properties(random, crm)), "IMPORT", at=at)
            # A field of no consequence carries the time of the last change.
            last = {"hs_lead_status": random.choice(("NEW", "OPEN", "CONNECTED"))}
            at = int(crm.changed.timestamp() * 1000)
            hubspot.portal.update(contact, last, "CRM_UI", at=at)
            if 0.06 < gone < 0.1:
                hubspot.consent.unsubscribe_all(crm.email, "CRM_UI", at=at)
        if marketing is not None:
            status = "subscribed" if gone > 0.08 else "unsubscribed" if gone > 0.02 else "cleaned"
            tags = [t for t in TAGS if random.random() < 0.25]
            member = {"status": status, "tags": tags, "language": marketing.language, **_member(marketing)}
            source = "user" if random.random() < 0.7 else "admin"
            mailchimp.audience.create(member, source, lax=True, at=int(marketing.changed.timestamp()))


def _person(random: Random, place: Place, taken: Counter[tuple[str, str]]) -> Person:
    given, family = random.choice(place.given), random.choice(place.family)
    word = random.choice(WORDS)
    at = f"{_latin(word)}.example.{random.choice(('com', 'net', 'org'))}"
    first, last = _latin(given), _latin(family)
    local = random.choice((f"{first}.{last}", f"{first[0]}.{last}", f"{first}{last}", last))
    taken[local, at] += 1
    number = taken[local, at]
    email = f"{local}@{at}" if number == 1 else f"{local}{number}@{at}"
    came = BORN + timedelta(seconds=random.randrange(SPAN * 86_400))
    changed = came + timedelta(seconds=random.randrange(60, 90 * 86_400))
    return Person(
        email=email,
        given=given,
        family=family,
        phone=_phone(random, place, re.sub("#", lambda _: str(random.randrange(10)), random.choice(place.numbers))),
        company=random.choice(place.company).format(word),
        job=random.choice(JOBS)[0],
        town=random.choice(place.towns)[0],
        country=place.country,
        birthday=date(1950, 1, 1) + timedelta(days=random.randrange(20_000)),
        tier=random.choice(TIERS),
        language=place.language,
        came=came,
        changed=changed,
    )


def _worn(random: Random, person: Person) -> Person:
    """With some fields forgotten."""
    for name in ("phone", "company", "job", "town", "country", "birthday", "tier", "given"):
        if random.random() < MISSING:
            nothing: dict[str, Any] = {name: None}
            person = replace(person, **nothing)
    return person


def _other(random: Random, place: Place, person: Person) -> Person:
    """As the other team wrote them down."""

    def differs() -> bool:
        return random.random() < DIFFERING

    other = person
    if differs():
        other = replace(other, email=person.email.title())
    if differs() and person.given is not None:
        other = replace(other, given=_ascii(person.given))
    if differs() and person.phone is not None:
        other = replace(other, phone=_phone(random, place, _national(place, person.phone)))
    if differs():
        other = replace(other, town=next((b for a, b in place.towns if a == person.town), person.town))
    if differs():
        other = replace(other, job=next((b for a, b in JOBS if a == person.job), person.job))
    if differs() and person.company is not None:
        other = replace(other, company=person.company.upper())
    if differs():
        other = replace(other, tier=random.choice(TIERS))
    shift = timedelta(seconds=random.randrange(-30 * 86_400, 30 * 86_400))
    return _worn(random, replace(other, changed=max(other.came, other.changed + shift)))


def _properties(random: Random, person: Person) -> dict[str, str]:
    known = {
        "email": person.email,
        "firstname": person.given,
        "lastname": person.family,
        "phone": person.phone,
        "company": person.company,
        "jobtitle": person.job,
        "city": person.town,
        "country": person.country,
        "date_of_birth": None if person.birthday is None else person.birthday.isoformat(),
        "customer_tier": person.tier,
        "hs_language": person.language,
        "lifecyclestage": random.choice(STAGES),
    }
    return {name: value for name, value in known.items() if value is not None}


def _member(person: Person) -> dict[str, object]:
    known = {
        "FNAME": person.given,
        "LNAME": person.family,
        "PHONE": person.phone,
        "COMPANY": person.company,
        "JOBTITLE": person.job,
        "CITY": person.town,
        "COUNTRY": person.country,
        "BIRTHDAY": None if person.birthday is None else person.birthday.strftime("%m/%d"),
        "TIER": None if person.tier is None else person.tier.title(),
    }
    return {"email_address": person.email, "merge_fields": {t: v for t, v in known.items() if v is not None}}


def _phone(random: Random, place: Place, number: str) -> str:
    """The number in one of the notations that people use."""
    digits = re.sub(r"\D", "", number)
    return random.choice(
        (
            f"+{place.code} {number}",
            f"+{place.code}{digits}",
            f"00{place.code} {number}",
            f"{place.trunk}{number}",
            f"+{place.code} ({place.trunk}) {number}" if place.trunk else f"+{place.code} {number}",
        )
    )


def _national(place: Place, phone: str) -> str:
    """The number without what is dialled before it."""
    for start in (f"+{place.code} ({place.trunk}) ", f"+{place.code} ", f"+{place.code}", f"00{place.code} "):
        if phone.startswith(start):
            return phone.removeprefix(start)
    return phone.removeprefix(place.trunk) if place.trunk else phone


def _ascii(text: str) -> str:
    """Without accents, in the letters of the language."""
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in parts if not unicodedata.combining(c)))


def _latin(text: str) -> str:
    """As it is written in an address: small Latin letters."""
    plain = _ascii(text.translate(_PLAIN)).lower()
    return re.sub(r"[^a-z]", "", "".join(_GREEK.get(c, c) for c in plain))


def shares(found: Sequence[tuple[Person | None, Person | None]]) -> tuple[int, int, int]:
    """(in both, only in HubSpot, only in Mailchimp)."""
    both = sum(a is not None and b is not None for a, b in found)
    return both, sum(b is None for _, b in found), sum(a is None for a, _ in found)
