"""Opens the connector's SQLite file: read-only for a source, made if it is missing for a sink."""

from __future__ import annotations

from pathlib import Path

from tongqu.connectors.sqlite.settings import SqliteSettings
from tongqu.core.errors import NotFoundError, PrivilegeError
from tongqu.kit.local_path import absolute, sink_folder
from tongqu.kit.patterns import nearest
from tongqu.kit.sqlite import SqliteDb, connect


def open_source(settings: SqliteSettings) -> SqliteDb:
    """A read-only connection; NotFoundError if the file is missing, which is never created."""
    path = Path(absolute(settings.path))
    if not path.is_file():
        near = (
            nearest(path.name, [p.name for p in path.parent.iterdir() if p.is_file()]) if path.parent.is_dir() else ""
        )
        raise NotFoundError(
            f"there is no SQLite file {settings.path!r}",
            hint=f"similar names: {near}" if near else f"looked for {path}",
            params={"path": str(path)},
        )
    try:
        return connect(settings, "ro")
    except PrivilegeError:
        if not Path(f"{path}-journal").exists():
            raise
        connect(settings, "rw").close()  # a writer died: opening for writing rolls its transaction back
        return connect(settings, "ro")


def open_sink(settings: SqliteSettings) -> SqliteDb:
    """A writing connection; creates the file if it is missing."""
    path = Path(absolute(settings.path))
    sink_folder(settings.path)
    fresh = not path.exists() or path.stat().st_size == 0
    db = connect(settings, "rwc")
    try:
        if settings.journal == "wal" or (settings.journal == "auto" and fresh):
            db.rows("PRAGMA journal_mode = wal")  # stays as it is where the file system has no shared memory
        for pragma in ("foreign_keys = off", "legacy_alter_table = on", "recursive_triggers = off"):
            db.run(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db
