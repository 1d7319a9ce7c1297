"""Masks: what a person's data looks like to those who may not see it, as SQL and as plain Python."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from tongqu.core.arrow import pa
from tongqu.core.errors import ExpressionError, InvalidPlanError
from tongqu.core.settings import Settings, titled
from tongqu.meaning.cleaning import parsed, text
from tongqu.meaning.expressions import cast, literal, type_of
from tongqu.meaning.sandbox import quoted

if TYPE_CHECKING:
    from sqlglot import exp

Kind = Literal[
    "null", "constant", "name", "phone", "id_card", "bank_card", "email", "keep", "round", "bucket", "year", "month",
    "hash", "tokenise", "encrypt",
]  # fmt: skip
KEYED = frozenset(("hash", "tokenise", "encrypt"))
"""Masks that need a key and are no SQL: see `meaning.keyed_masks`."""

_HAN = ((0x3400, 0x9FFF), (0x20000, 0x2FFFF))
_NAMES = (
    "欧阳|太史|端木|上官|司马|东方|独孤|南宫|万俟|闻人|夏侯|诸葛|尉迟|公羊|赫连|澹台|皇甫|宗政|濮阳|公冶|太叔|申屠|公孙|"
    "慕容|仲孙|钟离|长孙|宇文|司徒|鲜于|司空|令狐|百里|呼延|东郭|西门|南门|轩辕|拓跋|完颜|歐陽|司馬|東方|獨孤|諸葛"
)
_COMPOUND = tuple(_NAMES.split("|"))
"""Family names of two characters, which stay whole."""
_SPACE = r" \t\n\r\f\v"
_PARTS = {"phone": (3, 4), "id_card": (6, 4), "bank_card": (6, 4)}
"""How many characters stay at the beginning and at the end."""
_HIDDEN = 4
"""Fewer hidden characters than this could be guessed: then all are hidden."""


class Mask(Settings):
    """How one column is hidden."""

    with_: Kind = Field(alias="with", title="With")
    """`null`; `constant` (`value`); of text `name` (张*三, 欧阳**, J*** S***), `phone` (138****5678), `id_card` and
    `bank_card` (first 6 and last 4), `email` (z***@example.com), `keep` (the `first` and `last` characters); of numbers
    `round` and `bucket` (to multiples of `to`; a bucket is its lower end); of dates `year` and `month` (their first
    day); `hash` (HMAC with `key`: equal values stay equal and cannot be guessed); `tokenise` (AES-GCM-SIV with `key`:
    likewise, and the step `decrypt` can open the token); `encrypt` (AES-GCM or SM4-GCM with `key`: the same value looks
    different each time)."""
    value: bool | int | str | None = titled("常量", "Value", None)
    """What `constant` shows."""
    first: int = titled("保留前几位", "First", 0, ge=0)
    """Characters that `keep` shows at the beginning."""
    last: int = titled("保留后几位", "Last", 0, ge=0)
    """Characters that `keep` shows at the end."""
    to: Decimal | None = titled("步长", "To", None, gt=0)
    """The step of `round` and `bucket`."""
    key: str | None = titled("密钥", "Key", None)
    """Reference to the key of `hash`, `tokenise` and `encrypt`: `${secret:NAME}`, `${env:NAME}` or `${file:NAME}`. Of
    the last two it is 16 or 32 bytes written as hex or base64 (16 for SM4)."""
    key_id: str = titled("密钥标识", "Key id", "1", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """Stands in each token and cell, so that keys can change."""
    cipher: Literal["aes-gcm", "sm4-gcm"] = titled("加密算法", "Cipher", "aes-gcm")
    """What `encrypt` seals with: AES-GCM, or SM4-GCM (GB/T 32907)."""
    context: str = titled("上下文", "Context", "", max_length=200)
    """Bound to each token and cell: `decrypt` must name the same."""
    purposes: list[str] = titled("用途", "Purposes", default_factory=list)
    """In access rules: whoever else would see the field as it is must state one of these purposes, and sees it masked
    otherwise."""
    algorithm: Literal["sha256", "sm3"] = titled("摘要算法", "Algorithm", "sha256")
    """The digest of `hash`: SHA-256 or SM3 (GB/T 32905)."""
    class_: Literal["public", "internal", "personal", "sensitive", "secret"] | None = Field(
        None, alias="class", title="Class"
    )
    """The class of the masked field. Without it the field keeps the class it has."""

    @field_validator("with_", mode="before", json_schema_input_type=Kind | None)
    @classmethod
    def _null(cls, value: Any) -> Any:
        return "null" if value is None else value

    @model_validator(mode="after")
    def _complete(self) -> Mask:
        needs = {"constant": "value", "round": "to", "bucket": "to", **dict.fromkeys(KEYED, "key")}
        wanted = needs.get(self.with_)
        if wanted and getattr(self, wanted) is None:
            raise ValueError(f"`{self.with_}` needs `{wanted}`")
        if self.with_ == "keep" and not self.first + self.last:
            raise ValueError("`keep` needs `first` or `last`")
        if self.key is not None and not re.fullmatch(r"\$\{[a-z]+:[^}]+\}", self.key):
            raise ValueError("a key is given by reference: ${secret:NAME}")
        return self


def masked(mask: Mask, name: str, schema: pa.Schema) -> exp.Expr:
    """The tree of a masked column; null stays null, except for `constant`. those of `KEYED` are not SQL: see
    `meaning.keyed_masks`.

    Raises InvalidPlanError for a mask that does not fit the column's type.
    """
    kind = schema.field(name).type
    value = quoted(name)
    ((own, _),) = type_of([parsed(value)], schema)
    if mask.with_ == "null":
        return cast(literal(None), own)
    if mask.with_ == "constant":
        tree = cast(literal(mask.value), own)
        try:
            type_of([tree], schema)
        except ExpressionError:
            raise InvalidPlanError(f"{mask.value!r} is no {own}, which {name!r} is") from None
        return tree
    if mask.with_ in ("year", "month"):
        if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            raise _unfit(mask, name, kind, "dates")
        return parsed(f"CAST(date_trunc('{mask.with_}', {value}) AS {own})")
    if mask.with_ in ("round", "bucket"):
        if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)):
            raise _unfit(mask, name, kind, "numbers")
        step = f"CAST({float(mask.to or 1)!r} AS DOUBLE)"
        half = " + 0.5" if mask.with_ == "round" else ""
        return parsed(f"TRY_CAST(floor(CAST({value} AS DOUBLE) / {step}{half}) * {step} AS {own})")
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise _unfit(mask, name, kind, "text")
    source = f"CAST({value} AS VARCHAR)" if pa.types.is_integer(kind) else value
    return parsed(_text_mask(mask, source))


def _unfit(mask: Mask, name: str, kind: pa.DataType, what: str) -> InvalidPlanError:
    return InvalidPlanError(f"{name!r} is {kind}; `{mask.with_}` masks {what}", hint="`null`, `constant` fit any type")


def _text_mask(mask: Mask, value: str) -> str:
    length = f"length({value})"
    if mask.with_ == "email":
        at = f"strpos({value}, '@')"
        return (
            f"CASE WHEN {at} > 2 THEN left({value}, 1) || '***' || substring({value}, {at}) "
            f"WHEN {at} > 0 THEN '***' || substring({value}, {at}) ELSE repeat('*', {length}) END"
        )
    if mask.with_ == "name":
        han = "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in _HAN) + "]+"
        compound = ", ".join(map(text, _COMPOUND))
        words = f"(^|[{_SPACE}\\x{{3000}}])([^{_SPACE}\\x{{3000}}])[^{_SPACE}\\x{{3000}}]*"
        return (
            f"CASE WHEN NOT regexp_full_match({value}, {text(han)}) "
            f"THEN regexp_replace({value}, {text(words)}, '\\1\\2***', 'g') "
            f"WHEN {length} = 1 THEN '*' "
            f"WHEN {length} > 2 AND left({value}, 2) IN ({compound}) "
            f"THEN left({value}, 2) || repeat('*', {length} - 2) "
            f"WHEN {length} = 2 THEN left({value}, 1) || '*' "
            f"ELSE left({value}, 1) || repeat('*', {length} - 2) || right({value}, 1) END"
        )
    first, last = _shown(mask)
    return (
        f"CASE WHEN {length} >= {first + last + _HIDDEN} "
        f"THEN left({value}, {first}) || repeat('*', {length} - {first + last}) || right({value}, {last}) "
        f"ELSE repeat('*', {length}) END"
    )


def _shown(mask: Mask) -> tuple[int, int]:
    return _PARTS.get(mask.with_, (mask.first, mask.last))


def masked_value(mask: Mask, value: Any) -> Any:
    """The same for one Python value: what `masked` gives, for tests and for single values."""
    if mask.with_ == "constant":
        return mask.value
    if value is None or mask.with_ == "null":
        return None
    if mask.with_ in ("year", "month") and isinstance(value, date):
        month = 1 if mask.with_ == "year" else value.month
        midnight = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0} if isinstance(value, datetime) else {}
        return value.replace(month=month, day=1, **midnight)
    if mask.with_ in ("round", "bucket"):
        step, half = float(mask.to or 1), 0.5 if mask.with_ == "round" else 0.0
        made = math.floor(float(value) / step + half) * step
        return type(value)(round(made)) if isinstance(value, int) else type(value)(made)
    plain = str(value)
    if mask.with_ == "email":
        local, at, domain = plain.partition("@")
        return f"{local[0] if len(local) > 1 else ''}***@{domain}" if at else "*" * len(plain)
    if mask.with_ == "name":
        return _masked_name(plain)
    first, last = _shown(mask)
    hidden = len(plain) - first - last
    if hidden < _HIDDEN:
        return "*" * len(plain)
    return plain[:first] + "*" * hidden + (plain[-last:] if last else "")


def _masked_name(plain: str) -> str:
    if not plain or not all(any(low <= ord(c) <= high for low, high in _HAN) for c in plain):
        return re.sub(rf"(^|[{_SPACE}\u3000])([^{_SPACE}\u3000])[^{_SPACE}\u3000]*", r"\1\2***", plain)
    if len(plain) > 2 and plain[:2] in _COMPOUND:
        return plain[:2] + "*" * (len(plain) - 2)
    if len(plain) <= 2:
        return plain[:-1] + "*"
    return plain[0] + "*" * (len(plain) - 2) + plain[-1]
