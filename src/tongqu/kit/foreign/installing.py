"""Installs other people's packages: every file of them confirmed by its hash, into an environment of their own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tongqu.core.errors import InstallError, InvalidSettingsError, NotFoundError, UnconfirmedError
from tongqu.kit.foreign.shelf import LOCK, VENV, Installed, Shelf, canonical

_WANTED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")
_PROGRAMS = (
    "import importlib.metadata as m, json, sys; "
    "found = m.distribution(sys.argv[1]).entry_points; "
    "print(json.dumps(sorted(one.name for one in found if one.group == 'console_scripts')))"
)
_BUNDLED = (
    "import ensurepip, pathlib, sysconfig; "
    "places = [pathlib.Path(ensurepip.__file__).parent / '_bundled', sysconfig.get_config_var('WHEEL_PKG_DIR')]; "
    "print(max(w for p in places if p for w in pathlib.Path(p).glob('pip-*.whl')) / 'pip')"
)
_SECONDS = 1800
_WHEELS = ["--only-binary", ":all:"]
_BUILDERS = ("setuptools", "wheel")


@dataclass(frozen=True)
class Pinned:
    """One file that is to be installed."""

    name: str
    version: str
    sha256: str

    @property
    def line(self) -> str:
        """It in a requirements file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


@dataclass(frozen=True)
class Resolved:
    """A package with all that it needs, each pinned to one file."""

    name: str
    version: str
    packages: tuple[Pinned, ...]

    @property
    def lock(self) -> str:
        """The requirements file of it, one line a package."""
        return "".join(one.line for one in self.packages)

    @property
    def digest(self) -> str:
        """SHA-256 of the lock: who confirms it confirms every file."""
        return hashlib.sha256(self.lock.encode()).hexdigest()


@dataclass(frozen=True)
class Origin:
    """Where packages come from: the index that pip is set up for, or a folder of wheels; and the Python to use."""

    wheels: Path | None = None
    python: str = ""
    more: tuple[str, ...] = ()
    """Requirements that the package forgot to name."""
    build: bool = False
    """Whether packages without a wheel are built: that runs code of theirs, even to find out what they need."""

    @property
    def options(self) -> list[str]:
        """For pip."""
        offline = ["--no-index", "--find-links", str(self.wheels)] if self.wheels else []
        return ["--disable-pip-version-check", "--no-input", *offline, *([] if self.build else _WHEELS)]

    @property
    def wanted(self) -> list[str]:
        """What is resolved beside the package itself."""
        return [*self.more, *(_BUILDERS if self.build else ())]

    @property
    def interpreter(self) -> str:
        """The Python that environments are made of."""
        return self.python or sys.executable


def parsed(requirement: str) -> tuple[str, str]:
    """Name and version of `NAME==VERSION`; raises InvalidSettingsError for anything else."""
    match = _WANTED.fullmatch(requirement.strip())
    if match is None:
        raise InvalidSettingsError(
            f"{requirement!r} names no version", path="NAME==VERSION", hint="for example tap-jsonl==0.3.1"
        )
    return canonical(match["name"]), match["version"]


def resolve(requirement: str, origin: Origin) -> Resolved:
    """All that a package needs, as the index has it now; installs nothing. Raises InstallError."""
    name, version = parsed(requirement)
    with tempfile.TemporaryDirectory(prefix="tongqu-resolve-") as folder:
        python = _environment(Path(folder) / VENV, origin)
        report = Path(folder) / "report.json"
        wanted = ["--dry-run", "--ignore-installed", "--report", str(report), f"{name}=={version}", *origin.wanted]
        _run([*_pip(python), *origin.options, *wanted], f"{name}=={version}")
        found = [_pinned(one) for one in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return Resolved(name, version, tuple(sorted(found, key=lambda one: (one.name != name, one.name))))


def _pinned(one: dict[str, Any]) -> Pinned:
    name, about = canonical(one["metadata"]["name"]), one["download_info"]
    sha256 = about.get("archive_info", {}).get("hashes", {}).get("sha256")
    if sha256 is None:
        raise InstallError(f"{name}: the index gives no SHA-256 of {about['url']}", path=name, hint="use --from DIR")
    return Pinned(name, one["metadata"]["version"], sha256)


def read_lock(requirement: str, text: str) -> Resolved:
    """A lock that was written by `Resolved.lock`; raises InvalidSettingsError if it is none of this package."""
    name, version = parsed(requirement)
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidSettingsError(
                f"not a line of a lock: {line[:80]!r}", path="--lock", hint="NAME==VERSION --hash=…"
            )
        found.append(Pinned(canonical(match["name"]), match["version"], match["sha256"]))
    if not any((one.name, one.version) == (name, version) for one in found):
        raise InvalidSettingsError(f"the lock has no {name}=={version}", path="--lock")
    return Resolved(name, version, tuple(found))


def install(shelf: Shelf, resolved: Resolved, confirmed: str, origin: Origin) -> Installed:
    """Install exactly these files; what was installed under the name before is replaced, or kept if this fails.

    Raises UnconfirmedError unless `confirmed` is the digest of the lock, InstallError if pip fails.
    """
    need_confirmed(resolved, confirmed)
    with _alone(shelf):
        place, old = shelf.place(resolved.name), shelf.folder / f".{resolved.name}.old"
        _recover(place, old)
        if place.exists():
            place.rename(old)
        try:
            done = _fill(shelf, place, resolved, origin)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            if old.exists():
                old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return done


def need_confirmed(resolved: Resolved, confirmed: str) -> None:
    """Raise UnconfirmedError unless somebody confirmed the digest of the lock."""
    if confirmed.removeprefix("sha256:").lower() == resolved.digest:
        return
    what = f"{resolved.name}=={resolved.version}"
    said = "what would be installed is something else than was confirmed" if confirmed else "nobody has confirmed"
    raise UnconfirmedError(
        f"{what} ({len(resolved.packages)} packages) is not installed: {said}",
        path=what,
        hint=f"look at the list of packages, then: tongqu connectors install {what} --hash sha256:{resolved.digest}",
        params={"package": what},
    )


def _fill(shelf: Shelf, place: Path, resolved: Resolved, origin: Origin) -> Installed:
    place.mkdir(parents=True, mode=0o700)
    lock = place / LOCK
    lock.write_text(resolved.lock, encoding="utf-8")
    python = _environment(place / VENV, origin)
    what = f"{resolved.name}=={resolved.version}"
    pip = [*_pip(python), *origin.options, "--no-deps", "--require-hashes", "-r"]
    if origin.build:
        builders = place / "builders.txt"
        named = {canonical(re.split(r"[^\w.-]", one)[0]) for one in origin.wanted}
        builders.write_text("".join(one.line for one in resolved.packages if one.name in named), encoding="utf-8")
        _run([*pip, str(builders), *_WHEELS], what)
        builders.unlink()
        pip.insert(-1, "--no-build-isolation")  # what would come into the isolation has no hash
    _run([*pip, str(lock)], what)
    programs = json.loads(_run([python, "-I", "-c", _PROGRAMS, resolved.name], what))
    version = _run([python, "-I", "-c", "import platform; print(platform.python_version())"], what).strip()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    done = Installed(
        resolved.name, resolved.version, resolved.digest, len(resolved.packages), tuple(programs), version, at
    )
    shelf.write(done)
    return done


def remove(shelf: Shelf, name: str) -> Installed:
    """Delete an installed package with its environment; raises NotFoundError."""
    found = shelf.find(name)
    if found is None:
        there = ", ".join(one.name for one in shelf.listed()) or "none"
        raise NotFoundError(f"the package {name!r} is not installed", path=name, hint=f"installed: {there}")
    with _alone(shelf):
        gone = shelf.folder / f".{found.name}.gone"
        shelf.place(name).rename(gone)
        shutil.rmtree(gone)
    return found


@contextmanager
def _alone(shelf: Shelf) -> Iterator[None]:
    """One installation at a time."""
    shelf.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (shelf.folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _recover(place: Path, old: Path) -> None:
    """After a crash: an installation that was cut is gone, the one before it is back."""
    if old.exists():
        shutil.rmtree(place, ignore_errors=True)
        old.rename(place)


def _environment(place: Path, origin: Origin) -> str:
    """A new environment without pip in it; its Python."""
    _run([origin.interpreter, "-m", "venv", "--without-pip", str(place)], "venv")
    return str(place / "bin" / "python")


def _pip(python: str) -> list[str]:
    """The command that runs the pip which every Python brings along, from its wheel."""
    return [python, _run([python, "-I", "-c", _BUNDLED], "pip").strip(), "install", "--quiet"]


def _run(command: Sequence[str], what: str) -> str:
    """What a command says; raises InstallError with its last words."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TONGQU_"))}
    try:
        done = subprocess.run(  # noqa: S603  # Python itself
            command, capture_output=True, text=True, env=environment, check=False, timeout=_SECONDS, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{what}: {error}", path=what, hint="is this Python complete (venv, ensurepip)?") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip() and "WARNING" not in line]
        said = " / ".join(re.sub(r"//[^/@\s]+@", "//***@", line) for line in lines[-4:])
        raise InstallError(
            f"{what} cannot be installed: {said}", path=what,
            hint="only wheels are taken, unless --build allows more; --from DIR takes wheels that were built elsewhere",
        )  # fmt: skip
    return done.stdout
