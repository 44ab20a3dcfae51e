"""Accounts of colleagues.  In: names, roles, hashes of passwords.  Out: who there is, and what each may."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, delete, insert, select, update

from app.core import tables as t
from app.core.db import now_ms
from app.core.errors import NotFound, NotPossible

a = t.account.c
NAME_LENGTH: Final = 100


def plain(name: str) -> str:
    """The name as it is kept and compared: without spaces around it, in small letters."""
    return name.strip().casefold()


def add(db: Db, name: str, role: str, password: str | None, by: str) -> int:
    """Make one that signs in with a password; its id.  Raises NotPossible where the name is taken or cannot be one."""
    name = plain(name)
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise NotPossible(f"a name has 1 to {NAME_LENGTH} characters that can be printed")
    if db.execute(select(a.id).where(a.name == name)).first() is not None:
        raise NotPossible("there is an account of this name; `tandem user role` and `tandem user password` change it")
    query = insert(t.account).values(name=name, role=role, password=password, made_at=now_ms(), made_by=by)
    number: int = db.execute(query.returning(a.id)).scalar_one()
    return number


def provided(db: Db, issuer: str, subject: str, name: str, role: str) -> RowMapping:
    """The account of whom an identity provider vouches for; made where there is none.  Name and role follow it.

    A name that another account has is told apart by the provider's subject: nobody gets an account by taking its name.
    """
    mine = (a.issuer == issuer) & (a.subject == subject)
    row = db.execute(select(t.account).where(mine)).mappings().one_or_none()
    name = plain(name)[:NAME_LENGTH]
    other = select(a.id).where(a.name == name)
    if row is not None:
        other = other.where(a.id != row["id"])
    if not name or not name.isprintable() or db.execute(other).first() is not None:
        name = f"{name[: NAME_LENGTH - 70]} ({subject[:64]})".strip() if name.isprintable() else subject[:64]
    if row is None:
        db.execute(
            insert(t.account).values(
                name=name, role=role, issuer=issuer, subject=subject, made_at=now_ms(), made_by=issuer
            )
        )
    elif (row["name"], row["role"]) != (name, role):
        db.execute(update(t.account).where(a.id == row["id"]).values(name=name, role=role))
    return db.execute(select(t.account).where(mine)).mappings().one()


def by_name(db: Db, name: str) -> RowMapping | None:
    """The account of this name."""
    return db.execute(select(t.account).where(a.name == plain(name))).mappings().one_or_none()


def known(db: Db, name: str) -> RowMapping:
    """The account of this name.  Raises NotFound."""
    row = by_name(db, name)
    if row is None:
        raise NotFound("there is no account of this name; `tandem user list` shows all")
    return row


def listed(db: Db, limit: int, after: int | None = None) -> list[RowMapping]:
    """By id, beyond ``after``."""
    query = select(t.account).order_by(a.id).limit(limit)
    return list(db.execute(query if after is None else query.where(a.id > after)).mappings())


def there_are(db: Db) -> bool:
    """Whether there is any, disabled ones too: to disable the last one must not open what accounts closed."""
    return db.execute(select(a.id).limit(1)).first() is not None


def change(db: Db, number: int, **values: Any) -> None:
    """Change an account; whoever is signed in by it has to do so again."""
    db.execute(update(t.account).where(a.id == number).values(**values))
    db.execute(delete(t.session).where(t.session.c.account_id == number))


def signed_in(db: Db, number: int) -> None:
    """Note that somebody signed in."""
    db.execute(update(t.account).where(a.id == number).values(signed_in_at=now_ms()))
