"""A mock of a vault's documented HTTP interface (KV 1 and 2, AppRole, namespaces); it is not a vault."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

LABEL = "vault: mock of the documented HTTP interface"


@dataclass
class MockVault:
    """Answers on a random port of 127.0.0.1: `secret/` is KV version 2, `old/` version 1, `db/` no KV at all."""

    token: str = "token-of-the-mock-vault"  # noqa: S105  # of a mock
    role: tuple[str, str] = ("role-1", "secret-id-of-the-mock")
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Fields by path, as for `vault kv get`."""
    calls: list[str] = field(default_factory=list)
    """Method and path of what was asked."""
    namespaces: list[str] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        """What VAULT_ADDR is."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                vault.calls.append(f"GET {self.path}")
                vault.namespaces.append(self.headers.get("X-Vault-Namespace", ""))
                known = self.headers.get("X-Vault-Token") == vault.token
                self._answer(*(vault.read(self.path) if known else (403, {"errors": ["permission denied"]})))

            def do_POST(self) -> None:
                vault.calls.append(f"POST {self.path}")
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                good = self.path == "/v1/auth/approle/login" and (body["role_id"], body["secret_id"]) == vault.role
                auth = {"auth": {"client_token": vault.token, "lease_duration": 60, "renewable": True}}
                self._answer(*((200, auth) if good else (400, {"errors": ["invalid role or secret ID"]})))

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def read(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and document for a path below `/v1/`."""
        path = path.removeprefix("/v1/")
        if path.startswith("sys/internal/ui/mounts/"):
            mount = path.removeprefix("sys/internal/ui/mounts/").partition("/")[0]
            kinds = {"secret": ("kv", {"version": "2"}), "old": ("kv", None), "db": ("database", None)}
            if mount not in kinds:
                return 403, {"errors": ["preflight capability check returned 403"]}
            return 200, {"data": {"path": f"{mount}/", "type": kinds[mount][0], "options": kinds[mount][1]}}
        second = path.startswith("secret/data/")
        found = self.values.get(path.replace("secret/data/", "secret/", 1) if second else path)
        if found is None or (path.startswith("secret/") and not second):
            return 404, {"errors": []}
        return 200, {"data": {"data": found, "metadata": {"version": 1}} if second else found}
