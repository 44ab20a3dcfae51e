"""Salesforce's outbound messages.  In: SOAP in XML, URL, secrets.  Out: events in Salesforce's words.  No I/O or clock.

Nothing signs them: a secret in the URL and the org's id are what there is, beside TLS client certificates, which the
proxy in front checks.  They hold the values of now, not of the moment that set them off, may come twice and in any
order, and never tell a deletion.  Source: developer.salesforce.com, "Outbound Messaging" (SOAP API Developer Guide).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlsplit
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from connectors._salesforce_wire import CONTACT, FLAGS, KINDS, LEAD, MODIFIED, full_id, time
from connectors._signing import require, same
from connectors.contract import Action, Answer, Delivery, Event, Kind, Ref, Unreadable, Untrusted

PARAMETER: Final = "secret"  # query parameter of the endpoint URL, our choice
_SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_OUTBOUND: Final = "http://soap.sforce.com/2005/09/outbound"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"

_OTHERS: Final = {"Account": Kind.COMPANY, "Opportunity": Kind.DEAL}

ACK: Final = Answer(
    200,
    f'<soapenv:Envelope xmlns:soapenv="{_SOAP}"><soapenv:Body><notificationsResponse xmlns="{_OUTBOUND}">'
    "<Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>".encode(),
    "text/xml; charset=utf-8",
)
"""Without this Salesforce sends the message again for a day."""


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Untrusted unless the URL holds one of the secrets."""
    try:
        query = parse_qsl(urlsplit(delivery.url).query, max_num_fields=50, errors="surrogateescape")
    except ValueError:
        raise Untrusted("salesforce: the URL is malformed") from None
    require([value for name, value in query if name == PARAMETER], secrets)


def events(body: bytes, org: str) -> tuple[Event, ...]:
    """The events of one message; none for other objects.  Untrusted from another org, Unreadable if it is none.

    A notification without an id is left out: the raw bytes are kept, and the poll finds the record.
    """
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Unreadable(f"salesforce: the body is no XML that may be read ({type(error).__name__})") from None
    message = root.find(f"{{{_SOAP}}}Body/{{{_OUTBOUND}}}notifications")
    if message is None:
        raise Unreadable("salesforce: the body is no outbound message")
    said = full_id(_text(message, "OrganizationId"))
    if said is None or not same(said, org):
        raise Untrusted("salesforce: an outbound message of another org")
    notifications = message.findall(f"{{{_OUTBOUND}}}Notification")
    made = [_event(one, org) for one in notifications]
    found = tuple(event for event in made if event is not None)
    if not notifications or (not found and any(_type(one) in KINDS.values() for one in notifications)):
        raise Unreadable(f"salesforce: none of {len(notifications)} notifications names a record")
    return found


def _event(notification: Element, org: str) -> Event | None:
    entity = _type(notification)
    own, about = full_id(_text(notification, "Id")), notification.find(f"{{{_OUTBOUND}}}sObject")
    if entity not in KINDS.values() or about is None or own is None:
        return None
    fields = {_local(child.tag): _value(child) for child in about}
    id_ = full_id(fields.get("Id", ""))
    if id_ is None or KINDS.get(id_[:3]) != entity:
        return None
    action = Action.CHANGED
    losers: tuple[str, ...] = ()
    contact = full_id(fields.get("ConvertedContactId", ""))
    ref = id_
    if (
        entity == LEAD
        and fields.get("IsConverted") == "true"
        and contact is not None
        and KINDS.get(contact[:3]) == CONTACT
    ):
        action, ref, losers = Action.MERGED, contact, (id_,)
    elif fields.get("IsDeleted") == "true":
        action = Action.DELETED
    dedupe = hashlib.sha256(f"{org}:{own}".encode()).hexdigest()
    kind = _OTHERS.get(entity, Kind.CONTACT)
    urgent = kind is Kind.CONTACT and _objects(fields)
    return Event(kind, action, Ref(ref), dedupe, time(fields.get(MODIFIED)), losers=losers, urgent=urgent)


def _objects(fields: Mapping[str, str]) -> bool:
    return any(fields.get(name) == "true" for name in FLAGS)


def _type(notification: Element) -> str:
    about = notification.find(f"{{{_OUTBOUND}}}sObject")
    return "" if about is None else about.get(f"{{{_XSI}}}type", "").rpartition(":")[2]


def _text(parent: Element, name: str) -> str:
    found = parent.find(f"{{{_OUTBOUND}}}{name}")
    return "" if found is None else _value(found)


def _value(element: Element) -> str:
    return element.text.strip() if element.text is not None else ""


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
