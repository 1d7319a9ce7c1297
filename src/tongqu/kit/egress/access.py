"""How a project's own processes find and enter the hub that runs in its home."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from tongqu.kit.egress.tokens import private_file
from tongqu.kit.living import born, lives

_FILE = "hub.json"


@dataclass(frozen=True)
class Access:
    """The running hub's place (host:port), a token that ends with it, and its key's fingerprint."""

    listen: str
    token: str
    fingerprint: str

    @property
    def port(self) -> int:
        """The port that the hub listens on."""
        return int(self.listen.rpartition(":")[2])

    @classmethod
    def read(cls, home: Path) -> Access | None:
        """The hub of this home; None if none runs."""
        try:
            found = json.loads((home / _FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**found) if lives(found.pop("pid"), found.pop("started", None)) else None

    def write(self, home: Path) -> None:
        """Let the home's processes in; the file is its owner's alone (0600)."""
        pid = os.getpid()
        private_file(home / _FILE, json.dumps({**asdict(self), "pid": pid, "started": born(pid)}))


def forget(home: Path) -> None:
    """The hub of this home has ended."""
    (home / _FILE).unlink(missing_ok=True)
