"""Reads `${vault:PATH#FIELD}` from HashiCorp Vault or OpenBao: the KV engine, version 1 or 2, over its HTTP interface.

Where and as whom is told by the variables that Vault's own command line reads: `VAULT_ADDR`, `VAULT_TOKEN`,
`VAULT_NAMESPACE`, `VAULT_CACERT` (each also as `BAO_…`, which comes first); instead of a token an AppRole may be given
as `VAULT_ROLE_ID` and `VAULT_SECRET_ID`. PATH is written as for `vault kv get`: `secret/plant/mes`, without the `data/`
that version 2 puts in between. Source: https://developer.hashicorp.com/vault/api-docs/secret/kv (v1 and v2),
https://developer.hashicorp.com/vault/api-docs/auth/approle, `internal/ui/mounts` as the command line uses it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from urllib.parse import quote

from tongqu.core.errors import AuthError, PrivilegeError, ReadError, SecretError
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.store.scrub import Scrubber

Send = Callable[[Call], Reply]
"""Makes a call; an answer with one of `Call.accepts` is no error."""

_ANSWERS = (400, 403, 404)
_KEPT_SECONDS = 60.0


@dataclass(frozen=True)
class VaultAccess:
    """Where the vault is and who asks."""

    address: str
    namespace: str = ""
    ca_file: str = ""
    token: str = field(default="", repr=False)
    role: str = field(default="", repr=False)
    role_secret: str = field(default="", repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> VaultAccess:
        """As the environment says; raises SecretError if it does not say where the vault is."""

        def told(name: str) -> str:
            return (environ.get(f"BAO_{name}") or environ.get(f"VAULT_{name}") or "").strip()

        if not told("ADDR"):
            raise SecretError("VAULT_ADDR does not say where the vault is", hint="export VAULT_ADDR=https://vault:8200")
        return cls(
            told("ADDR").rstrip("/"),
            told("NAMESPACE"),
            told("CACERT"),
            told("TOKEN"),
            told("ROLE_ID"),
            told("SECRET_ID"),
        )


class Vault:
    """One vault. What was read is kept in memory for a minute, or as long as its lease where that is shorter, so that
    several fields of a path cost one call; a token by AppRole is asked for when it is needed, again before its lease
    ends, and once more when it is refused. Nothing read is ever shown."""

    def __init__(
        self, access: VaultAccess, send: Send, scrubber: Scrubber, *, clock: Callable[[], float] = time.monotonic
    ):
        self._access = access
        self._send = send
        self._scrubber = scrubber
        self._clock = clock
        self._token = access.token
        self._token_until = math.inf
        self._kept: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._lock = RLock()
        for secret in (access.token, access.role_secret):
            scrubber.add(secret)

    def value(self, name: str) -> str:
        """The value at `PATH#FIELD`; FIELD may be left out where there is only one.

        Raises SecretError (no such path or field), AuthError, PrivilegeError, and what `send` raises.
        """
        path, _, wanted = name.partition("#")
        path = path.strip("/ ")
        if not path or any(part in ("", ".", "..") for part in path.split("/")):
            raise SecretError(f"{name!r} is no path in a vault", hint="for example ${vault:secret/plant/mes#password}")
        with self._lock:
            fields = self._fields(path)
        key = wanted.strip() or (next(iter(fields)) if len(fields) == 1 else "")
        if key not in fields:
            what = f"has no field {key!r}" if key else "has several fields"
            raise SecretError(f"{path!r} in the vault {what}", hint=f"there are: {', '.join(sorted(fields))}")
        value = fields[key]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        self._scrubber.add(text)
        return text

    def _fields(self, path: str) -> Mapping[str, Any]:
        kept = self._kept.get(path)
        if kept and self._clock() < kept[0]:
            return kept[1]
        mount, version = self._mount(path)
        rest = path[len(mount) :].lstrip("/")
        where = f"{mount}/data/{rest}" if version == 2 else path
        reply = self._asked(where, path)
        found = _json(reply).get("data") if reply.status == 200 else None
        fields = found.get("data") if version == 2 and isinstance(found, Mapping) else found
        if not isinstance(fields, Mapping):
            raise SecretError(f"there is nothing at {path!r} in the vault", hint=f"vault kv get {path}")
        self._kept[path] = (self._clock() + min(_KEPT_SECONDS, _lease(_json(reply))), fields)
        return fields

    def _mount(self, path: str) -> tuple[str, int]:
        """Where the engine that holds the path is mounted, and its version."""
        reply = self._asked(f"sys/internal/ui/mounts/{path}", path)
        if reply.status == 404:  # a vault older than 0.10, which has version 1 only
            return path.partition("/")[0], 1
        data = _json(reply).get("data") or {}
        kind, options = str(data.get("type", "")), data.get("options") or {}
        if kind not in ("kv", "generic"):
            raise SecretError(f"{path!r} is in an engine {kind!r} of the vault, and only kv is read", hint="kv put it")
        return str(data.get("path", "")).strip("/"), 2 if str(options.get("version", "1")) == "2" else 1

    def _asked(self, where: str, path: str) -> Reply:
        """The answer of a GET: 200 or 404."""
        fresh = self._log_in()
        reply = self._get(where)
        if reply.status == 403 and self._access.role and not fresh:  # the token has run out
            self._token = ""
            self._log_in()
            reply = self._get(where)
        if reply.status == 403:
            raise PrivilegeError(
                f"the vault does not let us read {path!r}",
                hint="the token needs a policy with `read` on the path, and must not have run out",
            )
        if reply.status == 400:
            raise ReadError(f"the vault refused to read {path!r}: {_errors(reply)}")
        return reply

    def _get(self, where: str) -> Reply:
        url = f"{self._access.address}/v1/{quote(where, safe='/')}"
        return self._send(Call("GET", url, headers=self._headers(), accepts=_ANSWERS))

    def _log_in(self) -> bool:
        """Whether a token had to be asked for."""
        if self._token and self._clock() < self._token_until:
            return False
        self._token = ""
        if not self._access.role:
            raise SecretError("there is no token for the vault", hint="export VAULT_TOKEN=…")
        body = {"role_id": self._access.role, "secret_id": self._access.role_secret}
        reply = self._send(
            Call(
                "POST",
                f"{self._access.address}/v1/auth/approle/login",
                headers={**self._headers(), "content-type": "application/json"},
                body=json.dumps(body).encode(),
                repeat=Repeat.SAFE,
                accepts=_ANSWERS,
            )
        )
        auth = _json(reply).get("auth") if reply.status == 200 else None
        if not isinstance(auth, Mapping) or not auth.get("client_token"):
            raise AuthError(f"the vault refused the AppRole: {_errors(reply)}", hint="VAULT_ROLE_ID, VAULT_SECRET_ID")
        self._token = str(auth["client_token"])
        self._token_until = self._clock() + 0.9 * _lease(auth)
        self._scrubber.add(self._token)
        return True

    def _headers(self) -> dict[str, str]:
        own = {"x-vault-request": "true", "x-vault-token": self._token, "x-vault-namespace": self._access.namespace}
        return {name: value for name, value in own.items() if value}


def _json(reply: Reply) -> Mapping[str, Any]:
    try:
        found = json.loads(reply.content)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise ReadError(f"what answers at {reply.url.partition('/v1/')[0]} is no vault", hint="look at VAULT_ADDR")
    return found


def _lease(told: Mapping[str, Any]) -> float:
    """For how many seconds what was told holds; a vault says 0 for what does not end."""
    seconds = told.get("lease_duration")
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else math.inf


def _errors(reply: Reply) -> str:
    """What the vault said, which holds no secret; nothing where it said nothing readable."""
    try:
        said = json.loads(reply.content).get("errors") or []
    except (ValueError, AttributeError):
        said = []
    return "; ".join(str(one) for one in said) or f"status {reply.status}"
