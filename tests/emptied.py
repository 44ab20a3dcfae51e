"""PostgreSQL databases that are used again: emptied after a test, which is a tenth of the cost of a new one.

A new database is a copy of several hundred files.  One whose tables are no longer as the migration made them, or that
cannot be emptied, is dropped.
"""

from __future__ import annotations

import itertools
import os

import psycopg

TEMPLATE = "template_tandem"
_numbers = itertools.count(1)
_empty: list[str] = []

# All columns, indexes and constraints, as one text to compare.
_SHAPE = """
SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
    SELECT c.relname::text || '.' || a.attname::text || ':' || a.atttypid || a.attnotnull || a.atthasdef AS line
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0
    UNION ALL SELECT coalesce(array_to_string(reloptions, ','), '') || relname::text || relkind::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT tgname::text FROM pg_trigger
    UNION ALL SELECT version_num FROM alembic_version
) shape
"""
# A table of a few pages is emptied by DELETE, a tenth of the cost of new files for it and each of its indexes.  What it
# leaves behind in the pages stays little: a table that has grown by it gets new files after all.
_EMPTY = """
DO $$
DECLARE kept record; large text[] := '{}';
BEGIN
    FOR kept IN SELECT quote_ident(relname) AS name, pg_relation_size(oid) AS size FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
            AND pg_relation_size(oid) > 0
    LOOP
        IF kept.size > 32768 THEN
            large := large || kept.name;
        ELSE
            EXECUTE 'DELETE FROM ' || kept.name;
        END IF;
    END LOOP;
    IF array_length(large, 1) > 0 THEN
        EXECUTE 'TRUNCATE ' || array_to_string(large, ', ');
    END IF;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
END $$
"""


def take(url: str) -> str:
    """The name of an empty, migrated database on this server."""
    if _empty:
        return _empty.pop()
    name = f"t{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
        db.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')
    return name


def give(url: str, name: str, shape: str) -> None:
    """Empty it for the next test, or drop it.  ``shape``: what its tables have to be like."""
    with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    try:
        with psycopg.connect(f"{url}/{name}", autocommit=True) as db:
            db.execute("SET lock_timeout = '5s'")
            if shape_of(db) == shape:
                db.execute(_EMPTY)
                db.execute("SELECT pg_stat_reset()")
                _empty.append(name)
                return
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):  # held on to, gone with its server, taken apart
        pass
    with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
        db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def shape_of(db: psycopg.Connection) -> str:
    """What the tables of a database are like."""
    row = db.execute(_SHAPE).fetchone()
    assert row is not None
    return str(row[0])
