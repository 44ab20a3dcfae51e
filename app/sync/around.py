"""What stands around the contacts that the chain has just stored: it finds them, and they find it.

A hot path: where no mapping reads companies, deals or acts nothing is asked, and otherwise only for records, ids and
addresses that are new.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection as Db

from app.records import belongings, merges
from app.sync import engaging, objects
from app.sync.batch import Batch
from app.sync.connection import Connection, Connections
from app.sync.summarising import touched
from connectors.contract import Record


def met(
    db: Db, state: Batch, connection: Connection, connections: Connections, records: Sequence[Record], now: int
) -> None:
    """These records of people were stored: what waited for them is theirs, and what they say of companies is kept."""
    if not connections.around:
        return
    new = {link.remote_id: contact.id for link, contact in state.new_links}
    belongings.renamed(db, connection.name, state.renamed)
    new |= {now_id: state.links[now_id].contact_id for _, now_id in state.renamed if now_id in state.links}
    addresses = {
        key.value: state.changed[old].id
        for old, keys in state.keys.items()
        for key in keys
        if key.key == "email" and key.strong and key not in state.keys_before.get(old, ())
    }
    stand_ins = merges.stand_ins(db, {*new.values(), *addresses.values()}) if new or addresses else {}
    new = {record_id: stand_ins.get(contact, contact) for record_id, contact in new.items()}
    addresses = {value: stand_ins.get(contact, contact) for value, contact in addresses.items()}
    got = engaging.claimed(db, connection, connections, new, addresses, now)
    got |= belongings.claim(db, connection.name, new) if new else set()
    touched(db, connections, got, now)
    saying = [r for r in records if r.ties and r.id in state.links]
    if saying:
        objects.tied(db, connection, connections, saying, now)
