"""Other people's packages in a project's home: installed, listed, removed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.foreign.installing import Origin, Resolved, install, need_confirmed, read_lock, remove, resolve
from tongqu.kit.foreign.shelf import LOCK, Installed, Shelf
from tongqu.store.home import Home


@dataclass(frozen=True)
class InstallRequest:
    """What is to be installed: `NAME==VERSION`, the confirmed digest, and where it comes from."""

    requirement: str
    confirmed: str = ""
    lock: str = ""
    wheels: str = ""
    python: str = ""
    more: tuple[str, ...] = ()
    build: bool = False


def shelf(home: Home) -> Shelf:
    """Where a home keeps packages."""
    return Shelf(home.foreign)


def resolved(request: InstallRequest) -> Resolved:
    """What would be installed. Raises InvalidSettingsError, InstallError."""
    if not request.lock:
        return resolve(request.requirement, _origin(request))
    try:
        text = Path(request.lock).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettingsError(f"{request.lock}: {error.strerror}", path="--lock") from error
    return read_lock(request.requirement, text)


def installed(home: Home, request: InstallRequest, found: Resolved) -> dict[str, Any]:
    """Install what was resolved; raises UnconfirmedError if nobody has confirmed exactly that."""
    need_confirmed(found, request.confirmed)
    home.ensure()
    return {
        "ok": True,
        "installed": _document(shelf(home), install(shelf(home), found, request.confirmed, _origin(request))),
    }


def listed(home: Home) -> dict[str, Any]:
    """All installed packages."""
    return {"installed": [_document(shelf(home), one) for one in shelf(home).listed()]}


def removed(home: Home, name: str) -> dict[str, Any]:
    """Remove a package; raises NotFoundError."""
    return {"ok": True, "removed": asdict(remove(shelf(home), name))}


def _origin(request: InstallRequest) -> Origin:
    wheels = Path(request.wheels).expanduser().absolute() if request.wheels else None
    if wheels is not None and not wheels.is_dir():
        raise InvalidSettingsError(f"{request.wheels} is no folder", path="--from", hint="a folder of wheels")
    return Origin(wheels, request.python, request.more, request.build)


def _document(where: Shelf, one: Installed) -> dict[str, Any]:
    return {**asdict(one), "lock": str(where.place(one.name) / LOCK), "egress": "not enforced"}
