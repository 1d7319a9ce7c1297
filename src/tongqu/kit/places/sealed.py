"""Files encrypted with OpenPGP (`.pgp`, `.gpg`, `.asc`): opened with a private key or a passphrase."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongqu.core.errors import AuthError, InvalidSettingsError
from tongqu.kit.drivers import driver
from tongqu.kit.files import address


@dataclass(frozen=True)
class Opener:
    """What opens them: `key_file`, a private key (armoured or not) with its `password`, or a `password` alone, for
    files that were sealed with one."""

    key_file: str | None = None
    password: str = ""

    def open(self, source: Path, target: Path) -> None:
        """Write the plain content of `source` to `target`. Raises AuthError if the key does not open it or the file
        is damaged, InvalidSettingsError if there is no usable key."""
        pgp: Any = driver("pysequoia", "pgp")
        if self.key_file is None and not self.password:
            raise InvalidSettingsError(
                f"{source.name} is encrypted and no key is set", path="pgp_key_file",
                hint="name the private key's file, or a pgp_password if it was sealed with one",
            )  # fmt: skip
        how: dict[str, Any] = {"passwords": [self.password]}
        if self.key_file is not None:
            try:
                key = pgp.Tsk.from_file(self.key_file)
                how = {"decryptor": key.decryptor(self.password) if self.password else key.decryptor()}
            except (RuntimeError, OSError, ValueError) as error:
                raise InvalidSettingsError(
                    f"the private key cannot be used: {_words(error)}", path="pgp_key_file",
                    hint="name the file of a private key, and its pgp_password if it has one",
                ) from None  # fmt: skip
        try:
            pgp.decrypt_file(str(source), str(target), **how)
        except (RuntimeError, OSError, ValueError) as error:
            raise AuthError(
                f"{source.name} does not open with this key: {_words(error)}", path=address(source),
                hint="check which key it was sealed for, and fetch the file again if it is damaged",
            ) from None  # fmt: skip


def _words(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
