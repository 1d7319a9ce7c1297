"""Resolves `${env:X}`, `${secret:X}` and `${file:X}`: the one place where a reference becomes its value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tongqu.core.errors import SecretError
from tongqu.store.scrub import Scrubber

REFERENCE = re.compile(r"\$\{(?P<kind>[a-z]+):(?P<name>[^}]*)\}")
_KINDS = ("env", "secret", "file")


def has_reference(value: object) -> bool:
    """Whether the text holds a reference."""
    return isinstance(value, str) and REFERENCE.search(value) is not None


class References:
    """Looks references up in the environment, the home's secrets and files beside the project."""

    def __init__(self, *, secrets: Path, folder: Path, scrubber: Scrubber, environ: Mapping[str, str] = os.environ):
        self._secrets = secrets
        self._folder = folder
        self._scrubber = scrubber
        self._environ = environ

    def resolve(self, value: Any, path: str = "") -> Any:
        """The value with all references in it (also in mappings and lists) replaced.

        A reference in the user or password part of a URL is percent-encoded. Raises SecretError naming the reference
        and where it was looked for. Values of secrets and files are never shown afterwards.
        """
        if isinstance(value, Mapping):
            return {key: self.resolve(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve(item, f"{path}[{at}]") for at, item in enumerate(value)]
        if not has_reference(value):
            return value
        credentials = _credentials_end(value)

        def put(found: re.Match[str]) -> str:
            text = self._look_up(found["kind"], found["name"].strip(), path)
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
        else:
            raise SecretError(
                f"unknown kind of reference {kind!r} in ${{{kind}:{name}}}",
                path=path,
                hint=f"valid: {', '.join('${' + valid + ':NAME}' for valid in _KINDS)}",
            )
        self._scrubber.add(text)
        return text

    def _secret(self, name: str, path: str) -> str:
        variable = "TONGQU_SECRET_" + re.sub(r"\W", "_", name)
        for candidate in (variable, variable.upper()):
            if candidate in self._environ:
                return self._environ[candidate]
        file = self._secrets / name
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise SecretError(f"{name!r} is not a name of a secret", path=path, hint="letters, digits, _ - and . only")
        if not file.is_file():
            raise SecretError(
                f"the secret {name!r} is not there: looked for the variable {variable} and the file {file}",
                path=path,
                hint=f"export {variable}=… or write the file with mode 0600",
                params={"name": name, "variable": variable, "file": str(file)},
            )
        if file.stat().st_mode & 0o077:
            raise SecretError(
                f"the secret file {file} can be read by others (mode {file.stat().st_mode & 0o777:04o})",
                path=path,
                hint=f"chmod 600 {file}",
            )
        return file.read_text(encoding="utf-8").rstrip("\n")

    def _file(self, name: str, path: str) -> str:
        file = self._folder / Path(name).expanduser()
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
