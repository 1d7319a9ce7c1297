"""Quarantined rows beside a file target: what was kept with the chunks, mended since, and settled by replays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tongqu.connectors.file.ledger import QUARANTINE, load, now, store
from tongqu.core.data import BadRow
from tongqu.core.dirty import OPEN, STILL_BAD, Fix, Settled
from tongqu.kit import files, lasting

_FIXES = "fixes.json"


def keep(folder: Path, name: str, told: dict[str, str], rows: Sequence[BadRow]) -> None:
    """Write a chunk's quarantined rows; they count once a stream's document lists the name."""
    lines = []
    holders: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows):
        id = f"{name.removesuffix('.jsonl')}-{number:06d}"
        holder = holders.setdefault((row.step, row.shape), id) if row.shape else None
        cause = {"step": row.step, "code": row.code, "field": row.field, "value": row.value}
        rest = {"original": row.original, "message": row.message, "state": row.state}
        shape = {"shape": row.shape if holder == id else f"={holder}"} if holder else {}
        lines.append(json.dumps({"id": id, **told, **cause, **rest, **shape}, ensure_ascii=False))
    with files.translated(folder):
        lasting.make_folder(folder)
    files.write_atomically(folder / name, ("\n".join(lines) + "\n").encode())


def settling(settled: Sequence[Settled]) -> dict[str, dict[str, Any]]:
    """What a stream's document notes of rows that went in again, by id."""
    at = now()
    found: dict[str, dict[str, Any]] = {}
    for one in settled:
        cause = {"code": one.code, "field": one.field, "value": one.value, "message": one.message}
        found[one.id] = {"state": one.state, "at": at, **({"cause": cause} if one.state == STILL_BAD else {})}
    return found


def rows(state: Path) -> Iterator[dict[str, Any]]:
    """All committed quarantined rows below a state folder, each with its state of now."""
    fixes = (load(state / QUARANTINE / _FIXES) or {}).get("fixes", {})
    documents = [load(path) or {} for path in sorted(state.glob("*/*.json")) if _is_stream(path)]
    settled: dict[str, dict[str, Any]] = {}
    for document in documents:
        settled |= document.get("settled", {})  # what is settling becomes so when its rows become visible
    for document in documents:
        for name in document.get("quarantine", []):
            shapes: dict[str, str] = {}
            with (state / QUARANTINE / name).open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    shapes[row["id"]] = row.get("shape", "")
                    if row.get("shape", "").startswith("="):
                        row["shape"] = shapes[row["shape"][1:]]
                    yield _now(row, fixes.get(row["id"], {}), settled.get(row["id"], {}))


def fix(state: Path, fixes: Sequence[Fix]) -> int:
    """Store mended versions, all in one step; returns how many rows were open."""
    if not (state / QUARANTINE).exists():
        return 0
    lock = files.Lock(state / QUARANTINE / "fixes.lock", "this quarantine")
    try:
        known = (load(state / QUARANTINE / _FIXES) or {}).get("fixes", {})
        wanted = {one.id: one for one in fixes}
        at, done = now(), 0
        for row in rows(state):
            one = wanted.get(row["id"])
            if one is not None and row["state"] in OPEN:
                fixed = one.fixed if one.fixed is not None else row.get("fixed")
                known[one.id] = {"state": one.state, "fixed": fixed, "history": one.history, "at": at}
                done += 1
        store(state / QUARANTINE / _FIXES, {"fixes": known})
    finally:
        lock.release()
    return done


def _now(row: dict[str, Any], fixed: dict[str, Any], settled: dict[str, Any]) -> dict[str, Any]:
    """The row with what happened to it since; of two events the later one says its state, but a row that went in has
    gone in, whatever the clock says."""
    if fixed:
        row |= {"fixed": fixed["fixed"], "history": fixed["history"], "state": fixed["state"]}
    if settled:
        if not fixed or settled["state"] not in OPEN or settled["at"] > fixed["at"]:
            row["state"] = settled["state"]
        if "cause" in settled:
            first = {name: row[name] for name in ("code", "field", "value", "message")}
            row |= {"cause": json.dumps(first, ensure_ascii=False), **settled["cause"]}
    return row


def _is_stream(path: Path) -> bool:
    return path.name != "run.json" and path.parent.name != QUARANTINE
