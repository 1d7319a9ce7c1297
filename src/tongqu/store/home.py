"""The folder where Tongqu keeps what belongs to one project: runs, secrets, undo."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tongqu.kit import lasting

KEY_FILE = "secret.key"
"""Name of the file in a home that holds the keys of its secrets."""


@dataclass(frozen=True)
class Home:
    """`$TONGQU_HOME`, or `.tongqu` in the project's folder."""

    path: Path

    @classmethod
    def locate(cls, project: Path, environ: Mapping[str, str] = os.environ) -> Home:
        """Where the home is; nothing is created."""
        return cls(Path(environ.get("TONGQU_HOME") or project / ".tongqu").expanduser().absolute())

    def ensure(self) -> Path:
        """The folder, made with mode 0700 and kept out of version control; raises OSError if it cannot be."""
        if not self.path.is_dir():
            lasting.make_folder(self.path, 0o700)
            (self.path / ".gitignore").write_text("*\n", encoding="utf-8")
        return self.path

    @property
    def runs(self) -> Path:
        """The database of runs."""
        return self.path / "runs.db"

    @property
    def versions(self) -> Path:
        """The database of the project's versions."""
        return self.path / "versions.db"

    @property
    def profiles(self) -> Path:
        """The database of profiles."""
        return self.path / "profiles.db"

    @property
    def identity(self) -> Path:
        """The database of clients, people and their keys."""
        return self.path / "identity.db"

    @property
    def gateway_key(self) -> Path:
        """The file of the key that signs cursors and entity tags."""
        return self.path / "gateway.key"

    @property
    def serve(self) -> Path:
        """Where the running `serve` says how to reach it."""
        return self.path / "serve.json"

    def lodging(self, identity: str) -> Path:
        """The folder of a connector for what it points to (`Source.lodge`); nothing is created."""
        return self.path / "connections" / hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def foreign(self) -> Path:
        """The folder of other people's packages (`kit.foreign.shelf`)."""
        return self.path / "foreign"

    @property
    def secrets(self) -> Path:
        """The folder of secret files."""
        return self.path / "secrets"

    @property
    def secret_store(self) -> Path:
        """The database of sealed secrets."""
        return self.path / "secrets.db"

    @property
    def secret_key(self) -> Path:
        """The file of the keys that seal the secrets."""
        return self.path / KEY_FILE

    @property
    def secret_usage(self) -> Path:
        """The database of when which reference was resolved."""
        return self.path / "secret-usage.db"

    @property
    def audit(self) -> Path:
        """The folder of the audit trail."""
        return self.path / "audit"

    @property
    def audit_key(self) -> Path:
        """The file of the key that seals the audit trail."""
        return self.path / "audit.key"

    @property
    def api_usage(self) -> Path:
        """The database of who used which field of which API."""
        return self.path / "api-usage.db"

    @property
    def drills(self) -> Path:
        """The database of security drills."""
        return self.path / "drills.db"

    @property
    def feed(self) -> Path:
        """The database of what changed in which table."""
        return self.path / "feed.db"

    @property
    def outbox(self) -> Path:
        """The database of outbound webhooks."""
        return self.path / "outbox.db"

    @property
    def intake(self) -> Path:
        """The database of rows that were sent to `/ingest` and are not written yet."""
        return self.path / "intake.db"

    @property
    def subject_key(self) -> Path:
        """The file of the key that persons are digested with."""
        return self.path / "subjects.key"

    @property
    def tombstones(self) -> Path:
        """The database of erased persons."""
        return self.path / "tombstones.db"

    @property
    def pending(self) -> Path:
        """The database of changes that wait for a second person."""
        return self.path / "pending.db"

    @property
    def drafts(self) -> Path:
        """The database of what reviewers said about drafts."""
        return self.path / "drafts.db"

    @property
    def news(self) -> Path:
        """The database of what is told to callers about APIs, and to whom."""
        return self.path / "news.db"

    @property
    def exports(self) -> Path:
        """The database of how many rows callers took."""
        return self.path / "exports.db"

    @property
    def contracts(self) -> Path:
        """The database of what published versions promise."""
        return self.path / "contracts.db"

    @property
    def jobs(self) -> Path:
        """The database of jobs and schedules, unless they are kept in PostgreSQL."""
        return self.path / "jobs.db"

    @property
    def bells(self) -> Path:
        """The folder where processes that wait for work can be woken."""
        return self.path / "bells"

    @property
    def two_way(self) -> Path:
        """The database of two-way syncs."""
        return self.path / "two-way.db"
