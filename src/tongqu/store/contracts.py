"""What each applied version of a project promises the callers of its APIs, kept for as long as the project is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

Address = tuple[str, str]
"""Version and name of an API."""
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE contracts (
        env TEXT NOT NULL,
        config INTEGER NOT NULL,
        version TEXT NOT NULL,
        api TEXT NOT NULL,
        at TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (env, config, version, api)
    ) WITHOUT ROWID;
    CREATE TABLE sunsets (
        env TEXT NOT NULL,
        version TEXT NOT NULL,
        api TEXT NOT NULL,
        sunset TEXT NOT NULL,
        PRIMARY KEY (env, version, api)
    ) WITHOUT ROWID;
    """,
)


class Contracts:
    """One home's contracts, by environment and applied version. Safe for several processes. Raises sqlite3.Error."""

    def __init__(self, path: Path):
        self._database = durable(path, SCHEMA)

    @classmethod
    def open(cls, home: Home) -> Contracts:
        """The contracts of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.contracts)

    def of(self, env: str, config: int) -> dict[Address, dict[str, Any]]:
        """The contracts of one applied version."""
        rows = self._database.execute(
            "SELECT version, api, document FROM contracts WHERE env = ? AND config = ? ORDER BY api, version",
            (env, config),
        )
        return {(version, api): json.loads(document) for version, api, document in rows}

    def keep(self, env: str, config: int, at: str, found: Mapping[Address, Mapping[str, Any]]) -> None:
        """Keep the contracts of an applied version, instead of what was kept of it, and the days they end."""
        rows = [(env, config, *address, at, json.dumps(told, ensure_ascii=False)) for address, told in found.items()]
        days = [(env, *address, told["sunset"]) for address, told in found.items() if told.get("sunset")]
        with writing(self._database) as done:
            done.execute("DELETE FROM contracts WHERE env = ? AND config = ?", (env, config))
            done.executemany("INSERT INTO contracts VALUES (?, ?, ?, ?, ?, ?)", rows)
            for version, api in found:
                done.execute("DELETE FROM sunsets WHERE env = ? AND version = ? AND api = ?", (env, version, api))
            done.executemany("INSERT INTO sunsets VALUES (?, ?, ?, ?)", days)

    def configs(self, env: str) -> list[int]:
        """The applied and proposed versions of which there are contracts, oldest first."""
        rows = self._database.execute("SELECT DISTINCT config FROM contracts WHERE env = ? ORDER BY config", (env,))
        return [int(config) for (config,) in rows]

    def sunsets(self, env: str) -> dict[Address, str]:
        """The day on which each version that was ever published ends, or ended, where one was told."""
        rows = self._database.execute("SELECT version, api, sunset FROM sunsets WHERE env = ?", (env,))
        return {(version, api): sunset for version, api, sunset in rows}

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()


def sunsets(home: Home, env: str) -> dict[Address, str]:
    """`Contracts.sunsets` of a home; looking creates nothing."""
    if not home.contracts.exists():
        return {}
    store = Contracts(home.contracts)
    try:
        return store.sunsets(env)
    finally:
        store.close()
