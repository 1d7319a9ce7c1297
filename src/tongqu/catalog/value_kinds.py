"""Recognises what text values are: phone numbers, identity cards, bank cards, dates and the like.

Checksums: identity card GB 11643-1999 (ISO 7064 MOD 11-2), unified social credit code GB 32100-2015 (MOD 31), bank
cards Luhn (ISO/IEC 7812-1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"
_CREDIT = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金"
    "石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)


def identity_card(text: str) -> bool:
    """An 18-digit identity card number whose birthday and check character are right."""
    if not re.fullmatch(r"[1-9]\d{16}[\dXx]", text):
        return False
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(text, _ID_WEIGHTS, strict=False))
    return _ID_CHECKS[total % 11] == text[17].upper()


def bank_card(text: str) -> bool:
    """16 to 19 digits, in groups or not, that pass Luhn and begin as a card does."""
    digits = re.sub(r"[ -]", "", text)
    if not re.fullmatch(r"[2-6]\d{15,18}", digits):
        return False
    numbers = [int(digit) for digit in reversed(digits)]
    doubled = sum(sum(divmod(number * 2, 10)) for number in numbers[1::2])
    return (sum(numbers[::2]) + doubled) % 10 == 0


def credit_code(text: str) -> bool:
    """An 18-character unified social credit code with the right check character."""
    if not re.fullmatch(rf"[159Y][1239][0-9]{{6}}[{_CREDIT}]{{10}}", text):
        return False
    total = sum(_CREDIT.index(sign) * weight for sign, weight in zip(text, _CREDIT_WEIGHTS, strict=False))
    return _CREDIT[(31 - total % 31) % 31] == text[17]


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _chinese_name(text: str) -> bool:
    return re.fullmatch(r"[\u4e00-\u9fff·]{2,4}", text) is not None and text[0] in _SURNAMES


@dataclass(frozen=True)
class ValueKind:
    """A kind of value; `personal` is the class that a field full of them should have, if any."""

    name: str
    test: Callable[[str], bool]
    personal: str | None = None
    confidence: float = 0.9
    """How sure the kind is when all values pass."""


_DAY, _MONTH = r"(0?[1-9]|[12]\d|3[01])", r"(0?[1-9]|1[0-2])"
_CLOCK = r"([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
KINDS: tuple[ValueKind, ...] = (
    ValueKind("id_card", identity_card, "sensitive", 0.99),
    ValueKind("credit_code", credit_code, None, 0.99),
    ValueKind("bank_card", bank_card, "sensitive", 0.95),
    ValueKind("mobile", _pattern(r"(\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"), "personal", 0.9),
    ValueKind("phone", _pattern(r"(\(?0\d{2,3}\)?[ -])\d{7,8}([ -]\d{1,6})?"), "personal", 0.8),
    ValueKind("email", _pattern(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"), "personal", 0.95),
    ValueKind("plate", _pattern(rf"[{_PROVINCES}][A-Z][·.]?[A-Z0-9]{{4,5}}[A-Z0-9挂学警港澳]"), "personal", 0.9),
    ValueKind("chinese_name", _chinese_name, "personal", 0.6),
    ValueKind("uuid", _pattern(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")),
    ValueKind("ipv4", _pattern(r"((25[0-5]|2[0-4]\d|1?\d?\d)(\.|$)){4}"), "personal", 0.5),
    ValueKind("url", _pattern(r"https?://\S+")),
    ValueKind("date_ymd", _pattern(rf"(19|20)\d{{2}}-{_MONTH}-{_DAY}{_CLOCK}")),
    ValueKind("date_slash", _pattern(rf"(19|20)\d{{2}}/{_MONTH}/{_DAY}{_CLOCK}")),
    ValueKind("date_dot", _pattern(rf"(19|20)\d{{2}}\.{_MONTH}\.{_DAY}{_CLOCK}")),
    ValueKind("date_compact", _pattern(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")),
    ValueKind("date_dmy", _pattern(rf"{_DAY}[./-]{_MONTH}[./-](19|20)\d{{2}}{_CLOCK}")),
    ValueKind("date_chinese", _pattern(rf"(19|20)\d{{2}}年{_MONTH}月{_DAY}[日号]?")),
    ValueKind("integer", _pattern(r"[+-]?\d{1,18}")),
    ValueKind("number", _pattern(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?([eE][+-]?\d+)?")),
    ValueKind("boolean", _pattern(r"(?i)true|false|yes|no|y|n|是|否|有|无")),
    ValueKind("json", _pattern(r"(?s)\s*[\[{].*[\]}]\s*")),
)
"""From the most to the least telling; a value is counted for the first that it passes."""


def kinds_of(values: Iterable[tuple[str, int]]) -> dict[str, float]:
    """The share of values (each with how often it comes) by kind, those below 1 % left out."""
    counts: dict[str, int] = {}
    total = 0
    for text, times in values:
        total += times
        for kind in KINDS:
            if kind.test(text):
                counts[kind.name] = counts.get(kind.name, 0) + times
                break
    shares = {name: count / total for name, count in counts.items()} if total else {}
    return {name: round(share, 4) for name, share in sorted(shares.items(), key=lambda s: -s[1]) if share >= 0.01}
