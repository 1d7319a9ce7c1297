"""Resolves `${env:X}`, `${secret:X}`, `${file:X}`, `${vault:X}`: the one place where a reference becomes its value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tongqu.core.errors import SecretError, TongquError
from tongqu.store.home import KEY_FILE
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.names import RESERVED, named

REFERENCE = re.compile(r"\$\{(?P<kind>[a-z]+):(?P<name>[^}]*)\}")
KINDS = ("env", "secret", "file", "vault")
"""What a reference can point to."""

SECRETIVE = re.compile(
    r"(passw|pwd|secret|token|(api|access|private|app|sign)[_-]?key|credential|authorization|cookie|signature)[^.]*$",
    re.IGNORECASE,
)
"""Names of settings whose value is a secret even if it comes from a plain variable."""

Stored = Callable[[str], str | None]
"""The value of a sealed secret, or None if there is none of that name."""
Fetched = Callable[[str], str]
"""The value at `PATH#FIELD` of a vault; raises TongquError."""
Noted = Callable[[Sequence[tuple[str, str]]], None]
"""Is told the kind and name of references that were resolved."""


def _nothing(name: str) -> None:
    del name


def _no_vault(name: str) -> str:
    raise SecretError(f"there is no vault to look {name!r} up in", hint="set VAULT_ADDR and VAULT_TOKEN")


def _unnoted(found: Sequence[tuple[str, str]]) -> None:
    del found


def has_reference(value: object) -> bool:
    """Whether the text holds a reference."""
    return isinstance(value, str) and REFERENCE.search(value) is not None


class References:
    """Looks references up in the environment, the home's secrets, files beside the project and a vault.

    `${secret:X}` is the variable `TONGQU_SECRET_X`, else the sealed secret, else a file in the folder `secrets`.
    """

    def __init__(
        self,
        *,
        secrets: Path,
        folder: Path,
        scrubber: Scrubber,
        environ: Mapping[str, str] = os.environ,
        stored: Stored = _nothing,
        vault: Fetched = _no_vault,
        noted: Noted = _unnoted,
    ):
        self._secrets = secrets
        self._folder = folder
        self._scrubber = scrubber
        self._environ = environ
        self._stored = stored
        self._vault = vault
        self._noted = noted

    def resolve(self, value: Any, path: str = "") -> Any:
        """The value with all references in it (also in mappings and lists) replaced.

        A reference in the user or password part of a URL is percent-encoded. Raises SecretError naming the reference
        and where it was looked for, and what a vault's connection raises. Values of secrets, files and vaults are never
        shown afterwards.
        """
        found: list[tuple[str, str]] = []
        try:
            return self._resolved(value, path, found)
        finally:
            if found:
                self._noted(found)

    def missing(self, value: Any, path: str = "") -> list[SecretError]:
        """What is wrong with each reference in the value, also in mappings and lists; raises what a vault's connection
        raises."""
        if isinstance(value, Mapping):
            several = [self.missing(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
            return [error for found in several for error in found]
        if isinstance(value, list | tuple):
            return [error for at, item in enumerate(value) for error in self.missing(item, f"{path}[{at}]")]
        wrong = []
        for found in REFERENCE.finditer(value) if isinstance(value, str) else ():
            try:
                self._look_up(found["kind"], found["name"].strip(), path)
            except SecretError as error:
                wrong.append(error)
        return wrong

    def _resolved(self, value: Any, path: str, used: list[tuple[str, str]]) -> Any:
        if isinstance(value, Mapping):
            return {
                key: self._resolved(item, f"{path}.{key}" if path else str(key), used) for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._resolved(item, f"{path}[{at}]", used) for at, item in enumerate(value)]
        if not has_reference(value):
            return value
        credentials = _credentials_end(value)

        def put(found: re.Match[str]) -> str:
            text = self._look_up(found["kind"], found["name"].strip(), path)
            used.append((found["kind"], found["name"].strip()))
            if found["kind"] == "env" and SECRETIVE.search(path):
                self._scrubber.add(text)
            if found.start() >= credentials:
                return text
            if found["kind"] == "env":
                self._scrubber.add(text) if _is_password(value, found.start()) else None
            encoded = quote(text, safe="")
            if found["kind"] != "env":
                self._scrubber.add(encoded)
            return encoded

        resolved = REFERENCE.sub(put, value)
        self._scrubber.add_url(resolved)
        return resolved

    def _look_up(self, kind: str, name: str, path: str) -> str:
        if kind == "env":
            if name in RESERVED:
                raise SecretError(f"the variable {name} holds the key of all secrets and is no value", path=path)
            if name in self._environ:
                return self._environ[name]
            raise SecretError(
                f"the environment variable {name} is not set",
                path=path,
                hint=f"set it: export {name}=…",
                params={"name": name},
            )
        if kind == "secret":
            text = self._secret(name, path)
        elif kind == "file":
            text = self._file(name, path)
        elif kind == "vault":
            text = self._in_vault(name, path)
        else:
            raise SecretError(
                f"unknown kind of reference {kind!r} in ${{{kind}:{name}}}",
                path=path,
                hint=f"valid: {', '.join('${' + valid + ':NAME}' for valid in KINDS)}",
            )
        self._scrubber.add(text)
        return text

    def _secret(self, name: str, path: str) -> str:
        variable = "TONGQU_SECRET_" + re.sub(r"\W", "_", name)
        for candidate in (variable, variable.upper()):
            if candidate in self._environ and candidate not in RESERVED:
                return self._environ[candidate]
        stored = self._stored(named(name, path))
        if stored is not None:
            return stored
        file = self._secrets / name
        if not file.is_file():
            raise SecretError(
                f"the secret {name!r} is not there: looked for the variable {variable}, among the sealed secrets of the"
                f" home, and for the file {file}",
                path=path,
                hint=f"tongqu secret set {name}",
                params={"name": name, "variable": variable, "file": str(file)},
            )
        if file.stat().st_mode & 0o077:
            raise SecretError(
                f"the secret file {file} can be read by others (mode {file.stat().st_mode & 0o777:04o})",
                path=path,
                hint=f"chmod 600 {file}",
            )
        return file.read_text(encoding="utf-8").rstrip("\n")

    def _in_vault(self, name: str, path: str) -> str:
        try:
            return self._vault(name)
        except TongquError as error:
            error.path = path or error.path
            raise

    def _file(self, name: str, path: str) -> str:
        file = self._folder / Path(name).expanduser()
        if file.name == KEY_FILE and file.resolve().parent == self._secrets.parent.resolve():
            raise SecretError(f"the file {file} holds the key of all secrets and is no value", path=path)
        try:
            return file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(
                f"the file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}",
                path=path,
                hint="relative names are looked for in the project's folder",
                params={"name": name, "file": str(file)},
            ) from error


def _credentials_end(url: str) -> int:
    """Where the credentials of a URL end: the position of its `@`, or 0 if it has none."""
    start = url.find("://")
    if start < 0:
        return 0
    masked = REFERENCE.sub(lambda found: "_" * len(found[0]), url)
    end = re.search(r"[/?#]", masked[start + 3 :])
    authority = masked[: start + 3 + end.start()] if end else masked
    return max(authority.rfind("@"), 0)


def _is_password(url: str, position: int) -> bool:
    return ":" in url[url.find("://") + 3 : position]
