"""The packages of other people that were installed: where they are, what is in them, and their locks."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from tongqu.core.errors import MissingDriverError
from tongqu.kit import lasting

RECORD, VENV, LOCK = "installed.json", "venv", "lock.txt"
FOLDER = "foreign"


@dataclass(frozen=True)
class Installed:
    """One installed package."""

    name: str
    version: str
    digest: str
    """SHA-256 of its lock: what was confirmed when it was installed."""
    packages: int
    """How many packages the lock names, this one among them."""
    programs: tuple[str, ...]
    python: str
    at: str


@dataclass(frozen=True)
class Shelf:
    """The folder `foreign` of a home: a folder for each package, with its virtual environment and its lock."""

    folder: Path

    @classmethod
    def of_lodging(cls, lodging: Path | None, told: str) -> Shelf:
        """The shelf that a connector looks at: the one it is told, else that of the home it lodges in."""
        if told:
            return cls(Path(told).expanduser().absolute())
        if lodging is None:
            raise MissingDriverError("no folder of installed packages is known", hint="set `installed`")
        return cls(lodging.parent.parent / FOLDER)

    def place(self, name: str) -> Path:
        """The folder of a package, which need not exist."""
        return self.folder / canonical(name)

    def listed(self) -> list[Installed]:
        """All installed packages, by name."""
        found = [self.find(one.parent.name) for one in sorted(self.folder.glob(f"*/{RECORD}"))]
        return [one for one in found if one is not None]

    def find(self, name: str) -> Installed | None:
        """The installed package of that name."""
        file = self.place(name) / RECORD
        if not file.is_file():
            return None
        values = json.loads(file.read_text(encoding="utf-8"))
        return Installed(**values | {"programs": tuple(values["programs"])})

    def need(self, name: str) -> Installed:
        """As `find`; raises MissingDriverError with the command that installs it."""
        found = self.find(name)
        if found is None:
            there = ", ".join(one.name for one in self.listed()) or "none"
            raise MissingDriverError(
                f"the package {name!r} is not installed",
                path=str(self.folder),
                hint=f"tongqu connectors install {name}==VERSION; installed: {there}",
                params={"extra": name},
            )
        return found

    def program(self, package: str, name: str) -> Path:
        """The path of a program of an installed package; raises MissingDriverError."""
        found = self.need(package)
        path = self.place(package) / VENV / "bin" / name
        if not path.is_file():
            raise MissingDriverError(
                f"the package {package!r} has no program {name!r}",
                path=str(self.folder),
                hint=f"its programs: {', '.join(found.programs) or 'none'}",
                params={"extra": package},
            )
        return path

    def write(self, installed: Installed) -> None:
        """Note that a package is installed, as the last step of it."""
        os.sync()  # what it consists of comes before the note
        lasting.put(self.place(installed.name) / RECORD, (json.dumps(asdict(installed), indent=2) + "\n").encode())


def canonical(name: str) -> str:
    """A package's name as indexes compare names: `Tap_CSV` is `tap-csv`."""
    return re.sub(r"[-_.]+", "-", name).lower()
