"""Suspects what a column means from its name, comment and values: a unit, or data about people. Never a certainty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tongqu.catalog.value_kinds import KINDS


@dataclass(frozen=True)
class Suspicion:
    """What is suspected, how sure it is (0 to 1), and what it rests on."""

    value: str
    confidence: float
    because: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"value": self.value, "confidence": round(self.confidence, 2), "because": list(self.because)}


_UNIT_WORDS: Mapping[str, str] = {
    "kg": "kg", "公斤": "kg", "千克": "kg", "g": "g", "克": "g", "mg": "mg", "毫克": "mg", "ton": "t",
    "t": "t", "吨": "t",
    "m": "m", "米": "m", "mm": "mm", "毫米": "mm", "cm": "cm", "厘米": "cm", "km": "km", "公里": "km", "千米": "km",
    "um": "um", "微米": "um", "s": "s", "sec": "s", "secs": "s", "seconds": "s", "秒": "s", "ms": "ms", "毫秒": "ms",
    "min": "min", "minutes": "min", "分钟": "min", "hours": "h", "h": "h", "小时": "h", "days": "d", "天": "d",
    "c": "degC", "degc": "degC", "℃": "degC", "°c": "degC", "摄氏度": "degC", "pct": "percent", "percent": "percent",
    "%": "percent", "pa": "Pa", "kpa": "kPa", "mpa": "MPa", "bar": "bar", "v": "V", "伏": "V", "kv": "kV", "a": "A",
    "安": "A", "ma": "mA", "w": "W", "瓦": "W", "kw": "kW", "千瓦": "kW", "kwh": "kWh", "度": "kWh", "hz": "Hz",
    "rpm": "rpm", "l": "L", "升": "L", "ml": "mL", "毫升": "mL", "m2": "m**2", "平方米": "m**2", "m3": "m**3",
    "立方米": "m**3", "n": "N", "kn": "kN", "nm": "N*m",
}  # fmt: skip
_SHORT = frozenset({"t", "m", "s", "h", "c", "v", "a", "w", "l", "n", "g", "min", "度", "米", "克", "安"})
"""Words that mean other things too when they only end a name."""
_QUANTITIES = "weight|mass|length|width|height|depth|temp|volt|current|power|volume|speed|重|长|宽|高|温|压|流|量|时"
_RANGES: tuple[tuple[str, str, float, float, float], ...] = (
    (r"temp|温度|wendu", "degC", -80, 2000, 0.4),
    (r"percent|ratio|rate|率|比例|占比", "percent", 0, 100, 0.3),
    (r"humidity|湿度|shidu", "percent", 0, 100, 0.5),
)
_MAGNITUDES: tuple[tuple[str, tuple[tuple[float, str], ...]], ...] = (
    (r"weight|mass|重量|净重|毛重|zhongliang", ((1000, "g"), (0, "kg"))),
    (r"length|width|height|thickness|长度|宽度|高度|厚度", ((20, "mm"), (0, "m"))),
)
"""What the median of such a column speaks for: at least so much is this unit."""
_EPOCHS = ((1e9, 2.2e9, "s"), (1e12, 2.2e12, "ms"), (1e15, 2.2e15, "us"))


def unit(
    name: str, comment: str, least: float | None, median: float | None, greatest: float | None
) -> Suspicion | None:
    """The unit that a numeric column seems to have."""
    written = re.search(r"[(（\[【]\s*([^()（）\[\]【】]{1,8}?)\s*[)）\]】]", f"{name} {comment}")
    if written and written[1].lower() in _UNIT_WORDS:
        return Suspicion(_UNIT_WORDS[written[1].lower()], 0.95, (f"'{written[0]}' is written",))
    words = _words(name)
    if len(words) > 1 and words[-1] in _UNIT_WORDS:
        doubtful = words[-1] in _SHORT and not re.search(_QUANTITIES, f"{name} {comment}".lower())
        return Suspicion(_UNIT_WORDS[words[-1]], 0.6 if doubtful else 0.85, (f"the name ends in {words[-1]}",))
    both = f"{name} {comment}".lower()
    if least is None or greatest is None:
        return None
    if re.search(r"time|stamp|_at|时间|日期", both):
        for low, high, scale in _EPOCHS:
            if low <= least and greatest <= high:
                return Suspicion(scale, 0.6, ("the numbers are those of moments since 1970",))
    for pattern, found, low, high, sure in _RANGES:
        if re.search(pattern, both) and low <= least and greatest <= high:
            return Suspicion(found, sure, ("name and range fit",))
    for pattern, scales in _MAGNITUDES:
        if re.search(pattern, both) and median is not None:
            found = next(name for low, name in scales if abs(median) >= low)
            return Suspicion(found, 0.3, (f"name, and a median of {median:g}",))
    return None


_NAMES: tuple[tuple[str, str, str], ...] = (
    ("password", "secret", r"password|passwd|pwd|secret|token|api_?key|private_?key|密码|口令|密钥|mima|kouling"),
    ("id_card", "sensitive", r"id_?card|identity_?(no|card)|citizen_?id|ssn|身份证|证件号|shenfenzheng|sfz(h|hm)?\b"),
    ("bank_card", "sensitive", r"bank_?(card|account|no)|card_?no|iban|银行卡|银行账|卡号|yinhangka"),
    ("salary", "sensitive", r"salary|wage|payroll|bonus|工资|薪|奖金|gongzi|xinzi"),
    ("health", "sensitive", r"diagnos|blood|disease|health|病|诊断|血型|体检"),
    ("passport", "sensitive", r"passport|护照|huzhao"),
    ("phone", "personal", r"phone|mobile|tel(ephone)?\b|cell|电话|手机|shouji|dianhua"),
    ("email", "personal", r"e_?mail|邮箱|youxiang"),
    ("address", "personal", r"address|addr\b|street|住址|地址|dizhi"),
    ("birthday", "personal", r"birth|dob\b|生日|出生|shengri|chusheng"),
    ("gender", "personal", r"gender|\bsex\b|性别|xingbie"),
    ("person", "personal", r"(first|last|full|real|user|employee|staff|emp|inspector|operator)_?name|inspector\b"
     r"|姓名|员工|检验员|操作员|联系人|xingming|customer\b|客户名"),
    ("plate", "personal", r"plate_?no|license_?plate|车牌|chepai"),
    ("wechat", "personal", r"wechat|weixin|微信|qq\b"),
    ("location", "personal", r"latitude|longitude|\bgps\b|经度|纬度"),
)  # fmt: skip
_CLASSES = ("personal", "sensitive", "secret")


def personal(name: str, comment: str, kinds: Mapping[str, float]) -> tuple[Suspicion, str] | None:
    """What kind of data about people the column seems to hold, and the class it should have."""
    spelled = " ".join(_words(name)) + f" {comment.lower()}"
    named = next(
        ((kind, cls) for kind, cls, pattern in _NAMES if re.search(pattern.replace("_?", " ?"), spelled)), None
    )
    shown = next(((k, kinds[k.name]) for k in KINDS if k.personal and kinds.get(k.name, 0) >= 0.5), None)
    reasons: list[str] = []
    doubt, cls, value = 1.0, "", ""
    if named:
        value, cls = named
        doubt *= 0.4
        reasons.append("name or comment")
    if shown:
        kind, share = shown
        doubt *= 1 - kind.confidence * share
        reasons.append(f"{share:.0%} of the values look like it")
        value = value or kind.name
        cls = max(cls or "personal", kind.personal or "personal", key=_CLASSES.index)
    if not value:
        return None
    return Suspicion(value, 1 - doubt, tuple(reasons)), cls


def _words(name: str) -> list[str]:
    """`lotNo_Weight-g` as `lot no weight g`."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return [word for word in re.split(r"[^0-9a-z\u4e00-\u9fff%℃°]+", parted.lower()) if word]
