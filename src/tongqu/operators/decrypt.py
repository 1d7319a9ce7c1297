"""Decrypt columns that `encrypt` made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PrivateAttr, field_validator, model_validator

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import DecryptError, InvalidPlanError, RunError
from tongqu.core.operator import Lineage, Operator, Place
from tongqu.core.settings import REFERENCE, titled
from tongqu.meaning.ciphers import KEY_ID, decrypted, read_key
from tongqu.meaning.codes import typed_as
from tongqu.meaning.fields import recast


class Decrypt(Operator):
    """Decrypt columns: `decrypt: {columns: {salary: "decimal(12,2)", phone: varchar}, key: "${secret:hr}", key_id:
    "2026", purpose: "payroll of May"}`; with several keys `keys: {"2025": "${secret:hr25}", "2026": "${secret:hr26}"}`.

    What for is stated by `purpose`, which is recorded with the step. A value that does not open (another key, another
    context, a changed value, a value that is not encrypted) stops the run with `data.decrypt`, naming column and key id
    and never a value: rows must not go on, or to quarantine, half decrypted.
    """

    verb = "decrypt"
    title: ClassVar[Mapping[str, str]] = {"zh": "解密", "en": "Decrypt"}

    columns: dict[str, str] = titled("字段与类型", "Column and type", min_length=1)
    """Each column with the type its values have; a list of names is short for text."""
    purpose: str = titled("用途", "Purpose", min_length=3, max_length=500)
    """Why the values are needed in clear."""
    key: str | None = titled("密钥", "Key", None, pattern=REFERENCE)
    """Reference to the one key."""
    key_id: str = titled("密钥标识", "Key id", "1", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """The id of the one key."""
    keys: dict[str, str] = titled("多个密钥", "Keys", default_factory=dict)
    """References to keys by their ids."""
    context: str = titled("上下文", "Context", "", max_length=200)
    """What the values were bound to when they were encrypted."""
    _keys: dict[str, bytes] = PrivateAttr(default_factory=dict)

    @field_validator("columns", mode="before", json_schema_input_type=dict[str, str] | list[str])
    @classmethod
    def _names(cls, value: Any) -> Any:
        return dict.fromkeys(value, "varchar") if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _sound(self) -> Decrypt:
        if (self.key is None) == (not self.keys):
            raise ValueError("give `key` or `keys`")
        for name, reference in self.keys.items():
            if not KEY_ID.fullmatch(name):
                raise ValueError(f"{name!r} is no id of a key")
            if not re.match(REFERENCE, reference):
                raise ValueError("a key is given by reference: ${secret:NAME}")
        return self

    def bound(self, surroundings: Place) -> Decrypt:
        for name, kind in self.columns.items():
            try:
                typed_as(kind)
            except InvalidPlanError as error:
                error.path = f"{surroundings.path}.columns.{name}"
                raise
        return self

    def unlocked(self, resolve: Callable[[str], str]) -> Decrypt:
        made = self.model_copy()
        references = self.keys or {self.key_id: self.key or ""}
        made._keys = {
            name: read_key(resolve(reference), ("aes-gcm", "sm4-gcm", "aes-gcm-siv"), reference)
            for name, reference in references.items()
        }
        return made

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, list(self.columns))
        fields: list[pa.Field[Any]] = []
        for field in dataset.schema:
            if field.name in self.columns:
                if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
                    raise InvalidPlanError(f"{field.name!r} is {field.type}; encrypted values are text")
                field = recast(field, *typed_as(self.columns[field.name]))  # noqa: PLW2901  # the same field, retyped
            fields.append(field)
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
        if not self._keys:
            raise RunError("the keys of the decrypt step were not looked up")
        made: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        for name in self.columns:
            try:
                texts = decrypted(table.column(name).combine_chunks(), self._keys, context=self.context)
            except DecryptError as error:
                error.field = name
                error.args = (f"column {name!r}: {error.message}",)
                error.message = error.args[0]
                raise
            try:
                made[name] = pc.cast(texts, after.field(name).type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise DecryptError(
                    f"column {name!r}: what was encrypted is no {self.columns[name]}", field=name, hint="state its type"
                ) from None
        return pa.table([made[field.name] for field in after], schema=after)


operator = Decrypt
