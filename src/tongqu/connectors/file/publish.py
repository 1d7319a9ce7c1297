"""Makes a finished run's rows visible: one rename, found again after a crash by what the ledger noted before it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.file.assembly import MANIFEST, build_file, build_folder
from tongqu.connectors.file.ledger import StreamLedger
from tongqu.connectors.file.target import Target
from tongqu.core.data import Written
from tongqu.kit import files, lasting
from tongqu.kit.faults import crash_point


def publish(target: Target, schema: pa.Schema, ledger: StreamLedger, document: dict[str, Any], append: bool) -> Written:
    """Build the new content, note in the ledger what it is (inode and size), and put it in the target's place.

    Called again after a crash it builds anew, renames what is built, or finds that the rename was done.
    """
    listed = [part for split in document["splits"].values() for part in split["parts"]]
    parts = [ledger.parts / name for name, _, _ in listed]
    with files.translated(target.path):
        noted = document.get("swap")
        if noted is None or not (_is(target.path, noted) or _is(target.temporary, noted) or noted["move"]):
            noted = _build(target, schema, parts, document["run"], append)
            document["swap"] = noted
            ledger.store(document)
        crash_point("in_finish")
        if noted["move"]:
            _move(target)
        elif not _is(target.path, noted):
            _swap(target, keep=not append)
        elif target.partition and target.temporary.exists():
            target.temporary.rename(target.previous)  # cut off between the exchange and this
        size = noted["bytes"]
    return Written(inserted=sum(rows for _, rows, _ in listed), bytes=size)


def _build(target: Target, schema: pa.Schema, parts: list[Path], run: str, append: bool) -> dict[str, Any]:
    if target.partition:
        names = build_folder(target, schema, parts, run)
        size = sum((target.temporary / name).stat().st_size for name in names)
    else:
        build_file(target, schema, parts, append)
        lasting.sync(target.temporary)
        size = target.temporary.stat().st_size
    found = target.temporary.stat()
    move = bool(target.partition) and append
    return {"inode": found.st_ino, "size": 0 if target.partition else size, "bytes": size, "move": move}


def _is(path: Path, noted: Mapping[str, Any]) -> bool:
    if not path.exists():
        return False
    found = path.stat()
    return found.st_ino == noted["inode"] and (path.is_dir() or found.st_size == noted["size"])


def _swap(target: Target, keep: bool) -> None:
    """Put the temporary in the target's place; the old content stays as `target.previous` if asked."""
    old = target.path.exists()
    if old and keep:
        remove(target.previous)
    if not target.partition:
        if old and keep:
            link(target.path, target.previous)
        lasting.replace(target.temporary, target.path)
        return
    if old and files.exchange(target.temporary, target.path):
        target.temporary.rename(target.previous)
    else:
        if old:
            target.path.rename(target.previous)
        target.temporary.rename(target.path)
    lasting.sync(target.path.parent)


def link(source: Path, name: Path) -> None:
    """Give a file a second name; a copy of it where the file system has no hard links."""
    try:
        os.link(source, name)
    except OSError:  # a file system without hard links
        shutil.copy2(source, name)


def remove(path: Path) -> None:
    """Remove a file or folder; nothing happens if there is none."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _move(target: Target) -> None:
    """Add the temporary folder's files to the target's; the manifest comes last."""
    if not target.temporary.exists():
        return
    found = sorted(p for p in target.temporary.rglob("*") if p.is_file() and p.name != MANIFEST)
    for path in [*found, target.temporary / MANIFEST]:
        place = target.path / path.relative_to(target.temporary)
        lasting.make_folder(place.parent)
        if path.exists():
            path.replace(place)
            lasting.sync(place.parent)
    shutil.rmtree(target.temporary)
