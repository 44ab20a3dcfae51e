"""The objects of a Salesforce org and their fields, as the describes tell them.

``FIELDS`` is about people; ``ALL`` has what stands around them, too: accounts, opportunities, users, activities, links.
A field over a relation has its name with a dot.  Source: developer.salesforce.com, "Object Reference".
"""

from __future__ import annotations

from typing import Any

PREFIXES = {
    "Contact": "003",
    "Lead": "00Q",
    "Account": "001",
    "Opportunity": "006",
    "User": "005",
    "Task": "00T",
    "Event": "00U",
    "EmailMessage": "02s",
    "AccountContactRelation": "07k",
    "OpportunityContactRole": "00K",
    "TaskRelation": "0RT",
    "EventRelation": "0RE",
    "EmailMessageRelation": "0MR",
    "TaskStatus": "01J",
    "ContentNote": "069",
    "ContentDocumentLink": "06A",
}
SALUTATIONS = ("Mr.", "Ms.", "Mrs.", "Dr.", "Prof.")
SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
STAGES = {"Prospecting": None, "Negotiation/Review": None, "Closed Won": True, "Closed Lost": False}


def _text(length: int, **more: Any) -> dict[str, Any]:
    return {"type": "string", "length": length, "nillable": True, "updateable": True, **more}


def _flag() -> dict[str, Any]:
    return {"type": "boolean", "nillable": False, "updateable": True, "default": False}


def _read(kind: str, default: Any = None) -> dict[str, Any]:
    return {"type": kind, "nillable": True, "updateable": False, "default": default}


def _address(prefix: str) -> dict[str, dict[str, Any]]:
    lengths = {"Street": 255, "City": 40, "State": 80, "PostalCode": 20, "Country": 80}
    return {f"{prefix}{part}": _text(length) for part, length in lengths.items()}


_COMMON: dict[str, dict[str, Any]] = {
    "Id": {**_read("id"), "nillable": False},
    "IsDeleted": _read("boolean", default=False),
    "MasterRecordId": _read("reference"),
    "Salutation": _text(40, type="picklist", options=SALUTATIONS, restricted=True),
    "FirstName": _text(40),
    "LastName": _text(80, nillable=False),
    "Email": _text(80, type="email"),
    "Phone": _text(40, type="phone"),
    "MobilePhone": _text(40, type="phone"),
    "Title": _text(128),
    "Description": _text(32_000, type="textarea"),
    "LeadSource": _text(255, type="picklist", options=SOURCES),
    "HasOptedOutOfEmail": _flag(),
    "DoNotCall": _flag(),
    "CreatedDate": _read("datetime"),
    "LastModifiedDate": _read("datetime"),
    "SystemModstamp": _read("datetime"),
}
FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "Contact": {
        **_COMMON,
        **_address("Mailing"),
        "AccountId": {"type": "reference", "nillable": True, "updateable": True},
        "Department": _text(80),
    },
    "Lead": {
        **_COMMON,
        **_address(""),
        "Title": _text(128),
        "Company": _text(255, nillable=False),
        "Website": _text(255, type="url"),
        "Status": _text(255, type="picklist", options=("Open", "Working", "Closed"), default="Open", nillable=False),
        "IsConverted": _read("boolean", default=False),
        "ConvertedDate": _read("date"),
        "ConvertedAccountId": _read("reference"),
        "ConvertedContactId": _read("reference"),
    },
}


def _other(**fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of an object, with those that all have."""
    return {
        "Id": {**_read("id"), "nillable": False},
        "IsDeleted": _read("boolean", default=False),
        **fields,
        **{name: _read("datetime") for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp")},
    }


def _ref() -> dict[str, Any]:
    return _text(18, type="reference")


def _number(kind: str) -> dict[str, Any]:
    return {"type": kind, "nillable": True, "updateable": True}


_ACTIVITY = {
    "Subject": _text(255, type="combobox"),
    "Type": _text(255, type="picklist"),
    "WhoId": _ref(),
    "WhatId": _ref(),
    "OwnerId": _ref(),
    "ActivityDate": _text(10, type="date"),
    "Description": _text(32_000, type="textarea"),
    "IsRecurrence": _flag(),
}
OBJECTS: dict[str, dict[str, dict[str, Any]]] = {
    "Account": _other(
        Name=_text(255, nillable=False),
        MasterRecordId=_read("reference"),
        IsPersonAccount=_read("boolean", default=False),
        Website=_text(255, type="url"),
        Phone=_text(40, type="phone"),
        Industry=_text(255, type="picklist"),
        Type=_text(255, type="picklist"),
        NumberOfEmployees=_number("int"),
        AnnualRevenue=_number("currency"),
        OwnerId=_ref(),
        **_address("Billing"),
    ),
    "AccountContactRelation": _other(
        AccountId=_ref(),
        ContactId=_ref(),
        IsDirect=_read("boolean", default=False),
        IsActive={**_flag(), "default": True},
        Roles=_text(4_099, type="multipicklist"),
    ),
    "Opportunity": _other(
        Name=_text(120, nillable=False),
        AccountId=_ref(),
        StageName=_text(255, type="picklist", options=tuple(STAGES), nillable=False),
        Amount=_number("currency"),
        CurrencyIsoCode=_text(3, type="picklist"),
        CloseDate=_text(10, type="date", nillable=False),
        Type=_text(255, type="picklist"),
        LeadSource=_text(255, type="picklist"),
        OwnerId=_ref(),
        Loss_Reason__c=_text(255, type="picklist"),
        IsClosed=_read("boolean", default=False),
        IsWon=_read("boolean", default=False),
    ),
    "OpportunityContactRole": _other(
        OpportunityId=_ref(), ContactId=_ref(), Role=_text(255, type="picklist"), IsPrimary=_flag()
    ),
    "User": _other(
        Name=_text(121, nillable=False),
        Email=_text(128, type="email", nillable=False),
        IsActive={**_flag(), "default": True},
        Department=_text(80),
        UserType=_text(40, type="picklist", default="Standard"),
        **{"UserRole.Name": _text(80)},
    ),
    "Task": _other(
        **_ACTIVITY,
        Status=_text(255, type="picklist", default="Not Started", nillable=False),
        TaskSubtype=_text(40, type="picklist", default="Task"),
        CallType=_text(40, type="picklist"),
        CallDisposition=_text(255),
        CompletedDateTime=_read("datetime"),
        IsClosed=_read("boolean", default=False),
    ),
    "TaskStatus": _other(ApiName=_text(255), IsClosed=_flag(), SortOrder=_number("int")),
    "TaskRelation": _other(TaskId=_ref(), RelationId=_ref()),
    "Event": _other(**_ACTIVITY, StartDateTime=_text(28, type="datetime"), IsChild=_flag()),
    "EventRelation": _other(EventId=_ref(), RelationId=_ref(), Status=_text(40, type="picklist")),
    "EmailMessage": _other(
        Subject=_text(3_000),
        Incoming=_flag(),
        Status=_text(40, type="picklist", default="3"),
        MessageDate=_text(28, type="datetime"),
        ActivityId=_ref(),
        RelatedToId=_ref(),
        IsBounced=_flag(),
    ),
    "ContentNote": {n: a for n, a in _other(Title=_text(255), OwnerId=_ref()).items() if n != "SystemModstamp"},
    "ContentDocumentLink": _other(ContentDocumentId=_ref(), LinkedEntityId=_ref(), ShareType=_text(40)),
    "EmailMessageRelation": _other(
        EmailMessageId=_ref(), RelationId=_ref(), RelationType=_text(40, type="picklist"), RelationAddress=_text(255)
    ),
}
ALL = {**FIELDS, **OBJECTS}
