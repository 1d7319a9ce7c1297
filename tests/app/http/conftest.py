"""A gateway with people and programs of every role, for the tests of its management."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.http.rights import ROLES
from tongqu.app.services.identity import Callers, NewClient
from tongqu.app.services.people import NewUser, People
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.home import Home
from tongqu.store.identity.clients import Client
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import make
from tongqu.testing.services.gateway import Answered, Gateway

PASSWORD = "correct horse battery staple"
PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
  copy: {type: sqlite, path: copy.db}
datasets:
  inspection:
    key: [lot]
    fields: {lot: {type: string}, qty: {type: int64}, inspector: {type: string, class: personal, mask: name}}
pipelines:
  all: {source: {connection: lake, dataset: inspection}, sink: {connection: copy}}
apis:
  inspections: {source: {connection: lake, dataset: inspection}, access: {roles: [quality]}}
identity: {separate_duties: true}
"""


@dataclass(frozen=True)
class Place:
    """A running gateway, and the tokens of its programs by role (`many`: two duties, `narrow`: another scope)."""

    gateway: Gateway
    folder: Path
    callers: Callers
    tokens: dict[str, str]

    def ask(self, role: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answered:
        """A call of `/manage` as the program of that role; underscores in names of headers are dashes."""
        own = [("authorization", f"Bearer {self.tokens[role]}")] if role else []
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.gateway.ask(f"/manage{path}", method, body, [*own, *given])

    def owner(self) -> dict[str, Any]:
        """What stands in `serve.json`."""
        found: dict[str, Any] = json.loads((self.gateway.home / "serve.json").read_text())
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("managed")
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    rows = [("L1", 1, "王芳"), ("L2", 2, "李雷")]
    make(folder / "lake.db", "inspection", "lot TEXT PRIMARY KEY, qty INTEGER, inspector TEXT", rows)
    callers = Callers(Home(folder / "home"), Scrubber(), lambda: IdentitySettings(separate_duties=True))
    for role in (*ROLES, "quality"):
        callers.add(NewClient(role, (role,)))
    callers.add(NewClient("narrow", ("project_viewer",), scopes=("read",)))
    with callers.opened() as identities:
        identities.clients.add(Client("many", ("system_admin", "audit_admin")))
    People(callers).add(NewUser("chen", duties=("security",), keep_password=True), lambda: PASSWORD)
    tokens = {name: callers.token(name, "50m", ())["access_token"] for name in (*ROLES, "quality", "narrow", "many")}
    with Gateway(folder) as gateway:
        yield Place(gateway, folder, callers, tokens)
