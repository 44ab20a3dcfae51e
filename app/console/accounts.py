"""Connections: how each stands, its budget, its subscriptions, its brakes, its tokens; letting it rest and go on."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

from app.console.menu import Entry
from app.console.shell import ROOT, Sent, Shell, shape
from app.core.words import Writes
from app.ops import brakes, connect, connections, replicas
from app.ops.brakes import EndingAsked
from app.ops.connections import PauseAsked
from app.ops.shapes import Name
from app.repair import hooks
from connectors.contract import Can, NeedsHuman, Refused, TryLater

ENTRY: Final = Entry("Connections", f"{ROOT}/connections", "Service", "n")
WAITING: Final = 10  # contacts shown of those that wait for a brake


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    database, known = shell.database, shell.connections

    @router.get("/connections")
    def list_connections(request: Request) -> Response:
        with database.read() as db:
            found = connections.states(db, known)
        tokens = {one.connection: one for one in connect.standings(database, shell.connecting)}
        return shell.page(request, "connections.html", found=found, tokens=tokens)

    @router.get("/connections/{name}")
    def show_connection(request: Request, name: Name) -> Response:
        with database.read() as db:
            one = connections.state_now(db, known, name)
            used = next((c for c in replicas.replicas(db).calls if c.connection == name), None)
            stopped = {str(on.kind): brakes.waiting(db, known, name, on.kind, WAITING) for on in one.brakes}
        token = next((t for t in connect.standings(database, shell.connecting) if t.connection == name), None)
        return shell.page(
            request, "connection.html", one=one, used=used, stopped=stopped, token=token, share=known[name].call_share
        )

    @router.get("/connections/{name}/webhooks")
    def show_webhooks(request: Request, name: Name) -> Response:
        """Asks the vendor, so a page of its own."""
        one = known[name]
        if Can.HOOKS not in one.connector.can:
            return shell.page(request, "webhooks.html", name=name, able=False, ours=[], wrong=[], others=0)
        try:
            here, others = hooks.ours(one, shell.public_url)
        except (TryLater, Refused, NeedsHuman) as problem:
            raise HTTPException(502, f"{name}: {problem}") from None
        return shell.page(
            request, "webhooks.html", name=name, able=True, ours=here, wrong=hooks.wrong(here), others=len(others)
        )

    @router.post("/connections/{name}/pause")
    def pause(name: Name, sent: Sent) -> Response:
        asked = shape(PauseAsked, reason=sent.get("reason"))
        connections.pause(database, known, name, asked.reason)
        shell.wake()
        return shell.done(f"{ENTRY.path}/{name}", "paused")

    @router.post("/connections/{name}/resume")
    def resume(name: Name) -> Response:
        connections.resume(database, known, name)
        shell.wake()
        return shell.done(f"{ENTRY.path}/{name}", "resumed")

    @router.post("/connections/{name}/brakes/{kind}")
    def end_brake(name: Name, kind: Writes, sent: Sent) -> Response:
        asked = shape(EndingAsked, by=sent.get("by"))
        known[name]  # raises NotFound
        match sent.get("ending"):
            case "release":
                ended = brakes.release(database, name, kind, asked.by)
            case "discard":
                ended = brakes.discard(database, known, name, kind, asked.by)
            case _:
                raise HTTPException(422, "say whether what waits is released or discarded")
        shell.wake()
        return shell.done(f"{ENTRY.path}/{name}", ended.ending, by=asked.by, n=ended.links)

    return router
