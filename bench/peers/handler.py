"""The handler that a developer writes in an afternoon: FastAPI and httpx, no inbox, all within the request.

On a webhook it reads each contact at HubSpot and puts the member at Mailchimp, and answers when all of them are done;
an error is a 500, after which HubSpot tries the whole delivery again.  It does what is cheap to do well: it checks the
signature, keeps its connections, works at all events of a delivery at once, and stays within the ten simultaneous
connections that Mailchimp grants.  ``uvicorn bench.peers.handler:app``
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
from fastapi import FastAPI, HTTPException, Request

AT_ONCE = 10  # Mailchimp's limit for one account; HubSpot is asked no faster than Mailchimp takes it
KEPT = 2.0  # seconds that an idle connection is kept: shorter than a server does, or a call meets one that just closed


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    token, key = os.environ["PEER_HUBSPOT_TOKEN"], os.environ["PEER_MAILCHIMP_KEY"]
    one_minute = httpx.Timeout(60)
    async with (
        httpx.AsyncClient(
            base_url=os.environ["PEER_HUBSPOT_URL"],
            headers={"authorization": f"Bearer {token}"},
            limits=httpx.Limits(keepalive_expiry=KEPT),
            timeout=one_minute,
        ) as hubspot,
        httpx.AsyncClient(
            base_url=os.environ["PEER_MAILCHIMP_URL"],
            headers={"authorization": f"Bearer {key}"},
            limits=httpx.Limits(keepalive_expiry=KEPT),
            timeout=one_minute,
        ) as mailchimp,
    ):
        app.state.hubspot, app.state.mailchimp = hubspot, mailchimp
        # Not the client's own limit of connections: what waits for one in its pool costs it time with every answer.
        app.state.looking, app.state.writing = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/hubspot")
async def hook(request: Request) -> None:
    """One delivery: up to a hundred events."""
    body = await request.body()
    stamp = request.headers.get("x-hubspot-request-timestamp", "")
    secret = os.environ["PEER_HUBSPOT_SECRET"]
    mac = hmac.new(secret.encode(), f"POST{request.url}".encode() + body + stamp.encode(), hashlib.sha256)
    signature = request.headers.get("x-hubspot-signature-v3", "")
    if not hmac.compare_digest(base64.b64encode(mac.digest()).decode(), signature):
        raise HTTPException(401)
    await asyncio.gather(*(carry(event["objectId"]) for event in await request.json()))


async def carry(contact_id: int) -> None:
    """One contact, from HubSpot to Mailchimp."""
    path = f"/crm/v3/objects/contacts/{contact_id}"
    async with app.state.looking:
        found = await app.state.hubspot.get(path, params={"properties": "email,firstname,lastname,city"})
    found.raise_for_status()
    known = found.json()["properties"]
    fields = {"FNAME": known["firstname"], "LNAME": known["lastname"], "CITY": known["city"]}
    async with app.state.writing:
        put = await app.state.mailchimp.put(
            f"/lists/{os.environ['PEER_MAILCHIMP_LIST']}/members/{quote(known['email'])}",
            json={"email_address": known["email"], "status_if_new": "subscribed", "merge_fields": fields},
        )
    put.raise_for_status()
