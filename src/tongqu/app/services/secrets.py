"""Secrets of a home: made ready, set, listed, removed, re-keyed, checked and taken over from plain files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import SecretError
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.names import named

if TYPE_CHECKING:
    from tongqu.kit.http.call import Call, Reply
    from tongqu.store.secrets.keys import Keys
    from tongqu.store.secrets.sealed import Secrets
    from tongqu.store.secrets.vault import Vault


def looked_up(home: Home, scrubber: Scrubber, name: str) -> str | None:
    """The value of a sealed secret; None if there is none, or no store. Raises SecretError."""
    if not home.secret_store.exists():
        return None
    from tongqu.store.secrets.keys import Keys
    from tongqu.store.secrets.sealed import look_up

    return look_up(home, Keys(home, scrubber), name)


def vault(scrubber: Scrubber, environ: Mapping[str, str] = os.environ) -> Vault:
    """The vault that the environment names; raises SecretError if it names none."""
    from tongqu.kit.http.client import Http
    from tongqu.kit.http.settings import HttpSettings
    from tongqu.store.secrets.vault import Vault, VaultAccess

    access = VaultAccess.of(environ)
    told = {
        "base_url": access.address,
        "tls": {"ca_file": access.ca_file or None},
        "timeouts": {"read_seconds": 20, "call_seconds": 60},
        "limits": {"answer_bytes": 4 << 20},
    }
    settings = HttpSettings.parse(told, "VAULT_ADDR")

    def send(call: Call) -> Reply:  # calls are few and far between: no connection is kept for them
        with closing(Http(settings)) as http:
            return http.send(call)

    return Vault(access, send, scrubber)


@dataclass(frozen=True)
class Keeping:
    """The secrets of one home. Every method gives the document that the command prints; none of them holds a value."""

    home: Home
    scrubber: Scrubber

    def init(self, profile: str) -> dict[str, Any]:
        """Make the store and its key if they are not there; SecretError if they are of another profile."""
        from tongqu.store.secrets.envelope import PROFILES
        from tongqu.store.secrets.sealed import Secrets

        fresh = not self.home.secret_store.exists()
        with _readable(self.home):
            store = Secrets.made(self.home, self._keys(), PROFILES[profile or "standard"])
            store.close()
        state = self._state()
        if profile and state["algorithm"] != PROFILES[profile]:
            raise SecretError(
                f"the secrets of this home are sealed by {state['algorithm']}, not {PROFILES[profile]}",
                hint=f"tongqu secret rotate --profile {profile}",
            )
        return {"made": fresh, **state}

    def set(self, name: str, value: Callable[[], str]) -> dict[str, Any]:
        """Seal what `value` gives, which is asked only if it can be kept."""
        with self._opened() as store:
            store.data_key()
            named(name)
            text = value()
            self.scrubber.add(text)
            return store.set(name, text).to_json()

    def list(self) -> dict[str, Any]:
        """What is held, sealed or as a plain file, and when it was last used."""
        from tongqu.store.secrets.usage import last_uses

        with _readable(self.home):
            used = last_uses(self.home)
        held: list[dict[str, Any]] = []
        if self.home.secret_store.exists():
            with self._opened() as store:
                held = [{**one.to_json(), "kind": "sealed"} for one in store.list()]
        sealed = {one["name"] for one in held}
        plain = [file.name for file in self._files() if file.name not in sealed]
        empty = {"version": 1, "created": "", "changed": "", "algorithm": "", "key": ""}
        held += [{"name": name, **empty, "kind": "file"} for name in plain]
        return {"secrets": [{**one, "used": used.get(one["name"], "")} for one in held]}

    def remove(self, name: str) -> dict[str, Any]:
        """Forget a sealed secret; raises SecretError if there is none."""
        with self._opened() as store:
            if not store.remove(name):
                raise SecretError(
                    f"there is no sealed secret {name!r}", hint="tongqu secret list", params={"name": name}
                )
        return {"removed": name}

    def rotate(self, what: str, profile: str) -> dict[str, Any]:
        """Change the key, the data key or both (`what`: `key`, `data`, `both`); raises SecretError."""
        from tongqu.store.secrets.envelope import PROFILES
        from tongqu.store.secrets.rotation import rotate

        with self._opened() as store:
            algorithm = PROFILES[profile] if profile else ""
            done = rotate(store, key=what != "data", data=what != "key", algorithm=algorithm)
        return done.to_json()

    def usage(self, name: str, limit: int) -> dict[str, Any]:
        """What was resolved, newest first."""
        from tongqu.store.secrets.usage import uses

        with _readable(self.home):
            return {"uses": uses(self.home, name, limit)}

    def take_over(self, delete: bool) -> dict[str, Any]:
        """Seal the plain files of the folder `secrets`; with `delete` each file is removed once its value is read back.

        A sealed secret of the same name and another value is left as it is, and told.
        """
        taken, kept = [], []
        with self._opened() as store:
            for file in self._files():
                named(file.name)
                try:
                    value = file.read_text(encoding="utf-8").rstrip("\n")
                except (OSError, UnicodeDecodeError) as error:
                    reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                    raise SecretError(f"the secret file {file} cannot be read: {reason}") from error
                self.scrubber.add(value)
                before = store.get(file.name)
                if before is not None and before != value:
                    kept.append(file.name)
                    continue
                if before is None:
                    store.set(file.name, value)
                    taken.append(file.name)
                if delete and store.get(file.name) == value:
                    _wipe(file)
        return {"imported": taken, "kept": kept, "deleted": delete}

    def check(self) -> dict[str, Any]:
        """Whether every secret opens and only the owner can read what must be read by nobody else."""
        problems: list[dict[str, str]] = []
        for path in (self.home.secret_store, self.home.secret_key, self.home.secret_usage, *self._files()):
            if path.exists() and path.stat().st_mode & 0o077:
                mode = f"{path.stat().st_mode & 0o777:04o}"
                problems.append(_problem(str(path), f"it can be read by others (mode {mode})", f"chmod 600 {path}"))
        if not self.home.secret_store.exists():
            return {"ok": not problems, "problems": problems, "secrets": 0}
        count = 0
        with self._opened() as store:
            from tongqu.store.secrets.rotation import unfinished

            for held in store.list():
                try:
                    store.get(held.name)
                    count += 1
                except SecretError as error:
                    problems.append({**error.problem(), "path": held.name})
            try:
                if unfinished(store, store.keys.load()):
                    hint = "tongqu secret rotate finishes it"
                    problems.append({**_problem("", "a change of keys was interrupted", hint), "level": "warning"})
            except SecretError as error:
                problems.append(error.problem())
        problems += [
            {**_problem(file.name, "a secret is in a plain file", "tongqu secret import --delete"), "level": "warning"}
            for file in self._files()
        ]
        good = all(problem.get("level") == "warning" for problem in problems)
        shown = [self.scrubber.problem(problem) for problem in problems]
        return {"ok": good, "problems": shown, "secrets": count, **(self._state() if good else {})}

    def _state(self) -> dict[str, Any]:
        with self._opened() as store:
            ring, data = store.keys.load(), store.data_key()
            own = store.keys.own
        return {"algorithm": data.algorithm, "key": ring.current.id, "data_key": data.id, "origin": ring.origin,
                "source": "file" if own else "environment"}  # fmt: skip

    def _keys(self) -> Keys:
        from tongqu.store.secrets.keys import Keys

        return Keys(self.home, self.scrubber)

    @contextmanager
    def _opened(self) -> Iterator[Secrets]:
        from tongqu.store.secrets.sealed import Secrets

        with _readable(self.home):
            store = Secrets.existing(self.home, self._keys())
            if store is None:
                raise SecretError(f"there is no store of secrets in {self.home.path}", hint="tongqu secret init")
            try:
                yield store
            finally:
                store.close()

    def _files(self) -> Sequence[Path]:
        folder = self.home.secrets
        return sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []


@contextmanager
def _readable(home: Home) -> Iterator[None]:
    from tongqu.core.errors import CheckpointError

    try:
        yield
    except (sqlite3.Error, OSError, CheckpointError) as error:
        raise SecretError(f"the secrets in {home.path} cannot be used: {error}") from error


def _problem(path: str, message: str, hint: str) -> dict[str, str]:
    return {"path": path, "code": SecretError.code, "message": message, "hint": hint}


def _wipe(file: Path) -> None:
    """Overwrite and remove; on a copy-on-write or flash disk the old bytes may still be somewhere."""
    with file.open("r+b") as stream:
        stream.write(bytes(file.stat().st_size))
        stream.flush()
    file.unlink()
