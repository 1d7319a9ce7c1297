"""Text encodings: which one a file is in, and its content as UTF-8 blocks."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

import numpy as np

from tongqu.core.errors import InvalidSettingsError, ReadError
from tongqu.kit.files import address

MARK = "\ufdd0"
"""Stands before a byte that is not valid in the file's encoding (`\\ufdd080`, two hex digits); a noncharacter that
no text contains."""
MARK_BYTES = MARK.encode()
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_PACKED = (
    (b"\x1f\x8b", "gz", "set compression=gz"),
    (b"\x28\xb5\x2f\xfd", "zst", "set compression=zst"),
    (b"PK\x03\x04", "zip", "unpack it first"),
)
"""How packed files begin, whatever their name is."""
_COMMON = set(
    "的一是不在了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所"
    "民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日"
    "那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想"
    "号名称类型编码单位数量重检验结果合格良品批次工序设备车间班组人员姓客户供应商订单库存仓入出料规格备注状态日期时间操作员厂区"
    "张王李刘陈杨赵黄周吴金属钢铁铝铜塑胶螺丝栓轴承板管件零配装焊接压铸冲切削磨抛涂漆镀箱包标签价税额元公斤克吨米寸只套盒"
)
"""Frequent characters of Chinese text and of factory data: what tells GB18030 from other double-byte encodings."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101
    wrong = error.object[error.start : error.end]
    return "".join(f"{MARK}{byte:02x}" for byte in wrong), error.end


codecs.register_error("tongqu-mark", _mark)


def canonical(name: str) -> str:
    """Python's name of an encoding; `gbk` and `gb2312` become `gb18030`, which contains them, `ascii` becomes UTF-8.

    Raises InvalidSettingsError if Python does not know it.
    """
    try:
        found = codecs.lookup(name).name
    except LookupError as error:
        raise InvalidSettingsError(
            f"unknown encoding {name!r}", path="encoding", hint="for example utf-8, gb18030, big5, utf-16, cp1252"
        ) from error
    return {"gbk": "gb18030", "gb2312": "gb18030", "ascii": "utf-8", "utf-8-sig": "utf-8"}.get(found, found)


def detect(sample: bytes, path: str, whole: bool = False) -> str:
    """The encoding of a sample from a file's beginning; `whole` if it is the entire file.

    In this order: byte order mark; UTF-16 without one (zero bytes on one side); valid UTF-8; GB18030 if it decodes
    and the characters are those Chinese text is made of; UTF-8 or such GB18030 where a few bytes are damaged (their
    rows are refused later, each by itself); what charset-normalizer finds, if it finds one only. Else raises ReadError
    listing the candidates.
    """
    for bom, name in _BOMS:
        if sample.startswith(bom):
            return name
    for magic, form, setting in _PACKED:
        if sample.startswith(magic):
            raise ReadError(f"{path} is no text but {form} data", path=address(path), hint=setting)
    if b"\0" in sample and (wide := _wide(sample)):
        return wide
    if _decodes(sample, "utf-8", whole):
        return "utf-8"
    likeness = _chinese(sample, whole)
    if likeness >= 0.5:
        return "gb18030"
    for name in ("utf-8", "gb18030"):
        if _damaged(sample, name):
            return name
    others = _others(sample)
    candidates = list(dict.fromkeys([*(["gb18030"] if likeness > 0 else []), *others]))
    if len(candidates) == 1:
        return candidates[0]
    shown, first = ", ".join(candidates) or "none", candidates[0] if candidates else "utf-8"
    raise ReadError(
        f"{path}: the encoding is not clear; candidates: {shown}",
        path=address(path),
        hint=f"set encoding, for example encoding={first}; rows that it does not fit go to quarantine",
        params={"candidates": candidates},
    )


def _wide(sample: bytes) -> str | None:
    data = np.frombuffer(sample[: len(sample) & ~1], dtype=np.uint8)
    even, odd = float((data[0::2] == 0).mean()), float((data[1::2] == 0).mean())
    if max(even, odd) < 0.2 or min(even, odd) > 0.1:
        return None
    name = "utf-16-le" if odd > even else "utf-16-be"
    text = data.tobytes().decode(name, "replace")
    lines_lost = b"\n" in sample and "\n" not in text and max(even, odd) < 0.4
    return None if lines_lost or text.count("\ufffd") > 1 else name


def _decodes(sample: bytes, encoding: str, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(sample, whole)
    except UnicodeDecodeError:
        return False
    return True


def _damaged(sample: bytes, encoding: str) -> bool:
    """Whether it is text in this encoding with a little damage: at least 50 wide characters for each bad byte, which no
    other encoding gives by chance for UTF-8; for GB18030 they must look like Chinese text too."""
    text = sample[: 1 << 20].decode(encoding, "replace")
    bad = text.count("\ufffd")
    wide = sum(1 for character in text if character >= "\x80") - bad
    if wide < 50 * bad:
        return False
    return encoding == "utf-8" or _chinese(text.replace("\ufffd", "").encode("gb18030"), True) >= 0.5


def _chinese(sample: bytes, whole: bool) -> float:
    """0 if it is not GB18030, else how much its non-ASCII characters look like Chinese text (0..1)."""
    try:
        text = codecs.getincrementaldecoder("gb18030")("strict").decode(
            sample[: 1 << 20], whole and len(sample) <= 1 << 20
        )
    except UnicodeDecodeError:
        return 0.0
    wide = [c for c in text if ord(c) >= 0x80]
    hanzi = [c for c in wide if "\u4e00" <= c <= "\u9fff"]
    if not hanzi:
        return 0.01
    plain = sum(1 for c in hanzi if _level_one(c)) / len(wide)
    common = sum(1 for c in hanzi if c in _COMMON) / len(hanzi)
    marks = sum(1 for c in wide if "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" or c in "·—“”‘’…±×℃") / len(
        wide
    )
    return max(0.02, plain + marks if common >= 0.15 else 0.3 * plain)


def _level_one(character: str) -> bool:
    encoded = character.encode("gb18030")
    return len(encoded) == 2 and 0xB0 <= encoded[0] <= 0xD7 and encoded[1] >= 0xA1


def _others(sample: bytes) -> list[str]:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample[: 1 << 18])
    names = [canonical(match.encoding) for match in matches if match.chaos < 0.1][:4]
    best = matches.best()
    if best is not None and best.coherence > 0.5 and best.chaos < 0.05:
        names = [canonical(best.encoding)]
    return list(dict.fromkeys(name for name in names if name != "utf-8"))


def to_utf8(blocks: Iterable[bytes], encoding: str, at_start: bool = True) -> Iterator[bytes]:
    """The blocks as UTF-8, without the byte order mark. A byte that is not valid in the encoding becomes a `MARK`
    and two hex digits; UTF-8 itself passes unchecked."""
    if encoding == "utf-8":
        yield from _without_bom(blocks, codecs.BOM_UTF8) if at_start else blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)("tongqu-mark")
    first = at_start
    for block in blocks:
        text = decoder.decode(block)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text.encode("utf-8", "surrogatepass")
    if tail := decoder.decode(b"", True):
        yield tail.encode("utf-8", "surrogatepass")


def _without_bom(blocks: Iterable[bytes], bom: bytes) -> Iterator[bytes]:
    start: bytes | None = b""
    for block in blocks:
        if start is None:
            yield block
            continue
        start += block
        if len(start) >= len(bom):
            if rest := start.removeprefix(bom):
                yield rest
            start = None
    if start:
        yield start


def repaired(block: bytes) -> bytes:
    """A UTF-8 block with marks in place of invalid bytes, as `to_utf8` sets them."""
    return block.decode("utf-8", "tongqu-mark").encode("utf-8")


def marked(text: str) -> str:
    """The text of a bad row with its marks shown as `\\x80`."""
    return text.replace(MARK, "\\x")
