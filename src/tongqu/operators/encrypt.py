"""Encrypt columns, value by value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PrivateAttr, model_validator

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, RunError
from tongqu.core.operator import Lineage, Operator
from tongqu.core.settings import REFERENCE, titled
from tongqu.meaning.ciphers import Algorithm, Random, encrypted, read_key
from tongqu.meaning.fields import recast


class Encrypt(Operator):
    """Encrypt columns: `encrypt: {columns: [salary, phone], key: "${secret:hr}", key_id: "2026"}`.

    Each value becomes a text that holds the key's id, a random nonce of its own and the sealed value (AES-GCM or
    SM4-GCM), so equal values look different. With `deterministic` (AES-GCM-SIV) equal values look equal: the column can
    be joined and counted, and everybody sees which values are equal. Null stays null. A number, date or instant is
    sealed as its text. The key is named by a reference and never stored, logged or part of the run's identity. An
    encrypted column is no key, cursor or index any more. Rows that steps before this one quarantine are kept in clear:
    place it early.
    """

    verb = "encrypt"
    title: ClassVar[Mapping[str, str]] = {"zh": "加密", "en": "Encrypt"}

    columns: tuple[str, ...] = titled("字段", "Columns", min_length=1)
    """Columns to encrypt."""
    key: str = titled("密钥", "Key", pattern=REFERENCE)
    """Reference to the key (`${secret:NAME}`, `${env:NAME}`, `${file:NAME}`): hex or base64 of 16, 24 or 32 bytes."""
    key_id: str = titled("密钥标识", "Key id", "1", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """Stored in each value, so that keys can change: give each key an id of its own."""
    algorithm: Literal["aes-gcm", "sm4-gcm"] = titled("算法", "Algorithm", "aes-gcm")
    """`aes-gcm` or `sm4-gcm` (GB/T 32907; a key of 16 bytes)."""
    deterministic: bool = titled("确定性加密", "Deterministic", False)
    """Equal values give equal texts, by AES-GCM-SIV with a key of 16 or 32 bytes. Use a key of its own."""
    context: str = titled("上下文", "Context", "", max_length=200)
    """Bound to each value: `decrypt` must name the same."""
    _key: bytes | None = PrivateAttr(None)
    _random: Random = PrivateAttr(os.urandom)

    @model_validator(mode="after")
    def _sound(self) -> Encrypt:
        if self.deterministic and self.algorithm == "sm4-gcm":
            raise ValueError("`deterministic` needs aes-gcm: there is no standard deterministic mode of SM4-GCM")
        return self

    @property
    def cipher(self) -> Algorithm:
        """The algorithm as stored in the values."""
        return "aes-gcm-siv" if self.deterministic else self.algorithm

    def unlocked(self, resolve: Callable[[str], str]) -> Encrypt:
        made = self.model_copy()
        made._key = read_key(resolve(self.key), (self.cipher,), self.key)
        return made

    def seeded(self, random: Random) -> Encrypt:
        """The operator with another source of random bytes; nonces that come twice break the encryption."""
        made = self.model_copy()
        made._random = random
        return made

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, self.columns)
        for name in self.columns:
            kind = dataset.schema.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                raise InvalidPlanError(
                    f"{name!r} is {kind} and has no text to encrypt", hint="turn it into text before"
                )
        fields: list[pa.Field[Any]] = [
            recast(field, pa.string(), None) if field.name in self.columns else field for field in dataset.schema
        ]
        return reshaped(dataset, fields, {c: c for c in dataset.columns if c not in self.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns if c not in self.columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, name) for name in self.columns}

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        table = tables[0]
        after = self.output(inputs).schema
        if self._key is None:
            raise RunError("the key of the encrypt step was not looked up")
        made: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        for name in self.columns:
            texts = pc.cast(table.column(name).combine_chunks(), pa.string())
            made[name] = encrypted(
                texts,
                self._key,
                key_id=self.key_id,
                algorithm=self.cipher,
                context=self.context,
                random=self._random,
            )
        return pa.table([made[field.name] for field in after], schema=after)


operator = Encrypt
