"""Turns the cells of one column into an Arrow array, all rows at once, with the values a full read gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.mysql.log.charsets import PLAIN, text
from tongqu.connectors.mysql.log.events import Wire
from tongqu.connectors.mysql.log.moments import dates, stamps, times
from tongqu.connectors.mysql.log.walking import Cells, Flags, buffer, made, validity
from tongqu.connectors.mysql.types import Native
from tongqu.core.errors import ReadError

_INTS = {1: "i1", 2: "<i2", 3: "<i4", 8: "<i8"}
Decoded = tuple[Any, "Flags | None"]
"""The array, and the rows whose cells Arrow cannot hold (they are null in it)."""


def decoded(
    cells: Cells, wire: Wire, kind: pa.DataType, *, native: Native, charset: str | None, values: Sequence[str]
) -> Decoded:
    """The column as an array of `kind`; `values` are those of an ENUM or a SET."""
    if wire.code in (15, 252, 253, 255) or (wire.code == 254 and native.name not in ("uuid", "inet4", "inet6")):
        return _characters(cells, native, charset, kind), None
    if wire.code in (247, 248):
        return _choices(cells, wire.code == 248, values), None
    if wire.code in _MOMENTS:
        return _MOMENTS[wire.code](cells, wire, kind)
    if wire.code == 245:
        return _documents(cells), None
    return _number(cells, wire, native, kind), None


def _number(cells: Cells, wire: Wire, native: Native, kind: pa.DataType) -> Any:
    code = wire.code
    if code in _INTS:
        return made(cells.fixed(_INTS[code].replace("i", "u") if native.unsigned else _INTS[code]), kind, cells.null)
    if code == 9:
        found = cells.little()
        signed = found if native.unsigned else np.where(found >= 1 << 23, found - (1 << 24), found)
        return made(signed.astype(np.uint32 if native.unsigned else np.int32), kind, cells.null)
    if code == 13:
        year = cells.little()
        return made(np.where(year == 0, 0, year + 1900).astype(np.int16), kind, cells.null)
    if code in (4, 5):
        return made(cells.fixed("<f4" if code == 4 else "<f8"), kind, cells.null)
    if code == 246:
        return decimals(cells, wire.meta >> 8, wire.meta & 255, kind)
    if code == 16:
        bits = np.zeros(len(cells.at), np.uint64)
        for number in range(cells.size):
            bits = bits << np.uint64(8) | cells.data[cells.at + number]
        if pa.types.is_boolean(kind):
            return pa.array(bits != 0, pa.bool_(), mask=cells.null)
        return made(bits, kind, cells.null)
    if code == 254:
        return _addresses(cells, native)
    raise ReadError(f"the log holds a {native.name} column in a form that cannot be read ({code})")


def decimals(cells: Cells, precision: int, scale: int, kind: pa.DataType) -> Any:
    """DECIMAL: groups of nine digits as big-endian numbers, the first bit turned over, all of them if negative."""
    whole = precision - scale
    widths = _groups(whole)[::-1] + _groups(scale)
    raw = cells.take(0, cells.size)
    negative = raw[:, 0] & 0x80 == 0
    raw = raw ^ np.where(negative, 0xFF, 0).astype(np.uint8)[:, None]
    raw[:, 0] ^= 0x80
    words = kind.bit_width // 32
    limbs = np.zeros((len(raw), words), np.uint64)
    at = 0
    for digits, width in widths:
        group = np.zeros(len(raw), np.uint64)
        for number in range(at, at + width):
            group = group << np.uint64(8) | raw[:, number]
        at += width
        carry = group
        for word in range(words):
            total = limbs[:, word] * np.uint64(10**digits) + carry
            limbs[:, word] = total & np.uint64(0xFFFFFFFF)
            carry = total >> np.uint64(32)
    carry = negative.astype(np.uint64)
    for word in range(words):  # the two's complement of the negative ones
        total = np.where(negative, limbs[:, word] ^ np.uint64(0xFFFFFFFF), limbs[:, word]) + carry
        limbs[:, word] = total & np.uint64(0xFFFFFFFF)
        carry = total >> np.uint64(32)
    return made(limbs.astype("<u4"), kind, cells.null)


def _groups(digits: int) -> list[tuple[int, int]]:
    """Digits and bytes of each group, the full ones first."""
    rest = digits % 9
    return [(9, 4)] * (digits // 9) + ([(rest, (0, 1, 1, 2, 2, 3, 3, 4, 4)[rest])] if rest else [])


def gathered(cells: Cells) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The offsets and the bytes of cells of any length, put together."""
    lengths = cells.lengths if cells.lengths is not None else np.full(len(cells.at), cells.size)
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    places = np.repeat(cells.at - ends[:-1], lengths) + np.arange(ends[-1])
    return ends, cells.data[places]


def _texts(cells: Cells, kind: pa.DataType) -> Any:
    ends, data = gathered(cells)
    if ends[-1] >= 1 << 31:
        raise ReadError("more than 2 GB of text in one batch", hint="make the batches smaller")
    return pa.Array.from_buffers(
        kind, len(cells.at), [validity(cells.null), buffer(ends.astype(np.int32)), buffer(data)]
    )


def _characters(cells: Cells, native: Native, charset: str | None, kind: pa.DataType) -> Any:
    if pa.types.is_binary(kind):
        found = _texts(cells, pa.binary())
        return _filled(found, native.arguments[0]) if native.name == "binary" and native.arguments else found
    if charset in PLAIN:
        found = _texts(cells, pa.string())
        found.validate(full=True)
        return found
    return _by_value(_texts(cells, pa.binary()), lambda value: text(value, charset))


def _filled(found: Any, width: int) -> Any:
    """BINARY(n) is logged without the zero bytes it ends in."""
    if pc.min(pc.binary_length(found)).as_py() in (None, width):
        return found
    zeros = pa.scalar(b"\0" * width, pa.binary())
    return pc.binary_slice(pc.binary_join_element_wise(found, zeros, pa.scalar(b"", pa.binary())), 0, width)


def _by_value(found: Any, turned: Callable[[Any], str]) -> Any:
    """Each different value turned once."""
    coded = found.dictionary_encode()
    texts = pa.array([turned(value) for value in coded.dictionary.to_pylist()], pa.string())
    return texts.take(coded.indices)


def _choices(cells: Cells, several: bool, values: Sequence[str]) -> Any:
    """ENUM by its number (0: the empty value of an error), SET by its bits."""
    if several:
        wide = np.zeros((len(cells.at), 8), np.uint8)
        wide[:, : cells.size] = cells.take(0, cells.size)
        masks = pa.array(wide.view("<u8").ravel(), mask=cells.null)
        return _by_value(masks, lambda bits: ",".join(v for n, v in enumerate(values) if bits >> n & 1))
    return pa.array(["", *values], pa.string()).take(made(cells.little(), pa.int64(), cells.null))


def _addresses(cells: Cells, native: Native) -> Any:
    """UUID, INET4 and INET6 travel as CHAR whose zero bytes at the end may be missing."""
    width = 4 if native.name == "inet4" else 16
    found = _filled(_texts(cells, pa.binary()), width)
    if native.name == "uuid":
        return _by_value(found, _uuid)
    return _by_value(found, _inet4 if native.name == "inet4" else _inet6)


def _inet4(value: bytes) -> str:
    return ".".join(map(str, value))


def _inet6(value: bytes) -> str:
    """As MariaDB writes it: the first of the longest runs of zero groups is left out, even if it is a single one, and
    IPv4 addresses in it are written as such."""
    words = [int.from_bytes(value[at : at + 2], "big") for at in range(0, 16, 2)]
    start = length = 0
    for first in range(8):
        run = 0
        while first + run < 8 and not words[first + run]:
            run += 1
        if run > length:
            start, length = first, run
    if length and not start and (length == 6 or (length == 5 and words[5] == 0xFFFF)):
        return ("::" if length == 6 else "::ffff:") + _inet4(value[12:])
    groups = [f"{word:x}" for word in words]
    return ":".join(groups[:start]) + "::" + ":".join(groups[start + length :]) if length else ":".join(groups)


def _uuid(value: bytes) -> str:
    """MariaDB keeps UUIDs of versions 1 to 5 from their last part to their first, so that they sort by time; the byte
    of the variant is then where that of the version would be, and the other way round."""
    text = value.hex()
    if value[6] & 0x80 and 0 < value[8] < 0x60:
        text = text[24:] + text[20:24] + text[16:20] + text[12:16] + text[:12]
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _documents(cells: Cells) -> Any:
    """MySQL's binary JSON as text."""
    from tongqu.kit.drivers import driver

    parse = driver("pymysqlreplication.json_binary", "mysql").parse_json
    return _by_value(
        _texts(cells, pa.binary()),
        lambda value: json.dumps(_plain(parse(value[0], value[1:])) if value else None, ensure_ascii=False),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(name): _plain(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_plain(own) for own in value]
    return value.decode() if isinstance(value, bytes) else value


_MOMENTS: dict[int, Callable[[Cells, Wire, pa.DataType], Decoded]] = {
    **dict.fromkeys((10, 14), dates), **dict.fromkeys((7, 12, 17, 18), stamps), **dict.fromkeys((11, 19), times),
}  # fmt: skip
