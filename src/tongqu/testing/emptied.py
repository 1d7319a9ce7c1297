"""A place on a server that somebody lends us: its tables are dropped before each check, so its name must say so."""

from __future__ import annotations

from tongqu.core import registry
from tongqu.kit.tables.source import TableSource

_NAME = "tongqu_test"


def emptied(name: str, url: str) -> str:
    """The URL, after all tables of its schema have been dropped; refuses one whose database, schema or user is not
    called `tongqu_test…`, because nobody would lend another one for this."""
    connector = registry.connector(name)
    assert connector.source is not None
    settings = connector.from_url(url)
    named = [str(getattr(settings, field, "") or "") for field in ("database", "service", "db_schema", "user")]
    assert any(word.lower().startswith(_NAME) for word in named), f"{name}: this place is not called {_NAME}…: {named}"
    source = connector.source(settings)
    assert isinstance(source, TableSource)
    db = source.reach.connect(reading=True)
    try:
        catalogue = source.reach.catalogue(db)
        for table, view in catalogue.names(catalogue.schema):
            if not view:
                db.say(db.dialect.drop(db.dialect.place(catalogue.schema, table)))
        db.commit()
    finally:
        db.close()
        source.close()
    return url
