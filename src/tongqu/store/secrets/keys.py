"""The keys that everything else is sealed under: read from a file of mode 0600 or from the environment."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tongqu.core.errors import SecretError
from tongqu.kit import lasting
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.envelope import Key
from tongqu.store.secrets.names import FILE_VARIABLE, RESERVED, VARIABLE

_HEAD = "# Keys of this home's secrets. The first seals, the others only open what is not under it yet. Keep a copy.\n"


@dataclass(frozen=True)
class Keyring:
    """The keys that are there; the first seals, all of them open."""

    keys: Sequence[Key]
    origin: str
    """Where they come from: a variable's name or a path."""

    @property
    def current(self) -> Key:
        """The key that seals."""
        return self.keys[0]

    def get(self, id: str) -> Key | None:
        """The key of that id."""
        return next((key for key in self.keys if key.id == id), None)


class Keys:
    """Where one home's keys are: `$TONGQU_SECRET_KEY`, the file that `$TONGQU_SECRET_KEY_FILE` names, else `secret.key`
    in the home. Keys are base64 or hex, several are divided by spaces, commas or lines; `#` begins a comment.

    Only the home's own file is ever written. What was read is never shown afterwards.
    """

    def __init__(self, home: Home, scrubber: Scrubber, environ: Mapping[str, str] = os.environ):
        self._home = home
        self._scrubber = scrubber
        self._environ = environ

    @property
    def own(self) -> bool:
        """Whether the keys are in the home's own file, which Tongqu makes and changes."""
        return not any(self._environ.get(name) for name in RESERVED)

    def there(self) -> bool:
        """Whether there is a key at all."""
        return not self.own or self._home.secret_key.is_file()

    def load(self) -> Keyring:
        """The keys as they are now; raises SecretError."""
        if self._environ.get(VARIABLE):
            return self._ring(self._environ[VARIABLE], VARIABLE)
        file = Path(self._environ.get(FILE_VARIABLE) or self._home.secret_key).expanduser()
        try:
            mode = file.stat().st_mode & 0o777
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(
                f"the key of the secrets cannot be read from {file}: {getattr(error, 'strerror', None) or 'no text'}",
                hint=f"tongqu secret init makes one; or give it by ${VARIABLE} or ${FILE_VARIABLE}",
            ) from error
        if mode & 0o077:
            raise SecretError(f"the key file {file} can be read by others (mode {mode:04o})", hint=f"chmod 600 {file}")
        return self._ring(text, str(file))

    def write(self, keys: Sequence[Key]) -> Keyring:
        """Replace the home's own file, which is on disk and whole at every moment."""
        for key in keys:
            self._hide(key, key.text)
        file = self._home.secret_key
        lasting.put(file, (_HEAD + "".join(f"{key.text}\n" for key in keys)).encode(), 0o600)
        return Keyring(tuple(keys), str(file))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only this process makes or changes keys of this home; raises SecretError if another one does."""
        handle = os.open(self._home.path / "secrets.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SecretError(
                    "another process is changing the keys of this home", hint="try again when it is done"
                ) from error
            yield
        finally:
            os.close(handle)

    def _ring(self, text: str, origin: str) -> Keyring:
        words = [word for line in text.splitlines() for word in re.split(r"[\s,]+", line.partition("#")[0]) if word]
        for word in words:
            self._scrubber.add(word)
        if not words:
            raise SecretError(f"there is no key in {origin}", hint="openssl rand -base64 32 makes one")
        keys = [Key.read(word, origin) for word in words]
        for key, word in zip(keys, words, strict=True):
            self._hide(key, word)
        return Keyring(tuple(keys), origin)

    def _hide(self, key: Key, text: str) -> None:
        for form in (text, key.text, key.raw.hex()):
            self._scrubber.add(form)
