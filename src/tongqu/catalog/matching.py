"""Which source field probably means which standard field: by name, comment, unit, type and the values themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pyarrow as pa

from tongqu.core.errors import InvalidPlanError
from tongqu.core.kernels import pc
from tongqu.kit.drivers import driver
from tongqu.meaning.units import same_dimension

LEAST = 60
"""A pair with less confidence (0 to 100) is not suggested."""
_SHORT: Mapping[str, str] = {
    "no": "number", "num": "number", "nr": "number", "qty": "quantity", "wgt": "weight", "wt": "weight", "dt": "date",
    "tm": "time", "ts": "time", "cd": "code", "amt": "amount", "desc": "description", "nm": "name", "mat": "material",
    "matnr": "material number", "cust": "customer", "supp": "supplier", "vend": "supplier", "vendor": "supplier",
    "emp": "employee", "dept": "department", "eqp": "equipment", "op": "operation", "insp": "inspection",
    "inspector": "inspector", "res": "result", "stat": "status", "sts": "status", "temp": "temperature",
    "len": "length", "wid": "width", "addr": "address", "tel": "phone", "mobile": "phone", "prod": "product",
    "wh": "warehouse", "loc": "location", "rmk": "note", "remark": "note", "memo": "note", "comment": "note",
    "batch": "lot", "charge": "lot", "werks": "plant", "site": "plant", "factory": "plant", "id": "number",
    "created": "create", "updated": "update", "modified": "update", "part": "item", "sku": "item",
}  # fmt: skip
_CHINESE: Mapping[str, str] = {
    "批号": "lot number", "批次": "lot", "数量": "quantity", "重量": "weight", "净重": "net weight", "日期": "date",
    "时间": "time", "编码": "code", "代码": "code", "编号": "number", "单号": "order number", "号": "number",
    "名称": "name", "姓名": "name", "工厂": "plant", "厂区": "plant", "供应商": "supplier", "客户": "customer",
    "物料": "material", "零件": "item", "项目": "item", "工序": "operation", "设备": "equipment", "机台": "machine",
    "检验员": "inspector", "检验": "inspection", "结果": "result", "状态": "status", "单位": "unit", "班次": "shift",
    "产线": "line", "线别": "line", "订单": "order", "价格": "price", "单价": "unit price", "金额": "amount",
    "备注": "note", "说明": "description", "车间": "workshop", "员工": "employee", "工号": "employee number",
    "部门": "department", "温度": "temperature", "压力": "pressure", "长度": "length", "宽度": "width",
    "高度": "height", "厚度": "thickness", "仓库": "warehouse", "库位": "location", "产品": "product", "型号": "model",
    "规格": "specification", "创建": "create", "更新": "update", "修改": "update", "类型": "type", "地址": "address",
    "电话": "phone", "手机": "phone", "版本": "version", "合格": "passed", "不良": "defect", "原因": "reason",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[\u4e00-\u9fff]+")
_UNIT = re.compile(r"[（(\[]\s*([^）)\]]{1,12})\s*[）)\]]\s*$|_([A-Za-z%]{1,6})$")


@dataclass(frozen=True)
class Source:
    """A source field with what is known of it; `values` are some of its values as texts."""

    name: str
    title: str = ""
    unit: str = ""
    type: pa.DataType = field(default_factory=pa.string)
    values: Any = None


@dataclass(frozen=True)
class Standard:
    """A field of the dictionary; `pattern`, `enum` and `unit` are its rules."""

    name: str
    titles: tuple[str, ...] = ()
    type: str = ""
    unit: str = ""
    pattern: str = ""
    enum: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """A suggestion: how sure (0 to 100), why, and the unit the source's values seem to be in."""

    source: str
    standard: str
    confidence: int
    reason: str
    unit: str = ""


def suggest(
    sources: Sequence[Source], standards: Sequence[Standard], short: Mapping[str, str] | None = None
) -> list[Match]:
    """The best pairs, each field at most once, best first. `short` are the project's own abbreviations.

    Names and titles are compared as words (abbreviations and common Chinese words translated), as pinyin and as
    strings; values that break or keep a pattern or an enum, types and dimensions of units raise or lower the result.
    """
    words = _Words({**_SHORT, **{k.lower(): v.lower() for k, v in (short or {}).items()}})
    pairs = [found for one in sources for other in standards if (found := _match(one, other, words))]
    pairs.sort(key=lambda match: (-match.confidence, match.source, match.standard))
    taken: set[tuple[str, str]] = set()
    best = []
    for match in pairs:
        if ("s", match.source) not in taken and ("t", match.standard) not in taken:
            taken |= {("s", match.source), ("t", match.standard)}
            best.append(match)
    return best


def _match(source: Source, standard: Standard, words: _Words) -> Match | None:
    score, reason = max(
        (
            words.similarity(one, other)
            for one in (source.name, source.title)
            for other in (standard.name, *standard.titles)
        ),
        default=(0.0, ""),
    )
    reasons = [reason] if reason and score >= LEAST / 2 else []
    share = _share(source.values, standard)
    if share is not None and share >= 0.95:
        score, reasons = max(score + 15, 62 if standard.pattern or len(standard.enum) > 2 else 0), [*reasons, "values"]
    elif share is not None and share < 0.5:
        score -= 35
    if not _fits(source, standard):
        score -= 20
    unit = unit_in(source, standard.unit) if standard.unit else ""
    if unit:
        score, reasons = score + 5, [*reasons, "unit"]
    if score < LEAST:
        return None
    return Match(source.name, standard.name, min(round(score), 100), ", ".join(reasons), unit)


def unit_in(source: Source, wanted: str) -> str:
    """The unit that the source's name or title ends with (`WGT_G`, `重量(kg)`), if it measures what `wanted` does."""
    for text in (source.unit, *(m[1] or m[2] for t in (source.title, source.name) if (m := _UNIT.search(t)))):
        for candidate in (text, text.lower()) if text else ():
            try:
                if same_dimension(candidate, wanted):
                    return candidate
            except InvalidPlanError:
                continue  # not a unit
    return ""


@cache
def _is_unit(text: str) -> bool:
    try:
        return same_dimension(text, text)
    except InvalidPlanError:
        return False


def _share(values: Any, standard: Standard) -> float | None:
    """Which share of the values keeps the standard field's pattern or enum; None where nothing can be told."""
    if values is None or len(values) - values.null_count < 3 or not (standard.pattern or standard.enum):
        return None
    there = values.drop_null()
    if standard.enum:
        kept = pc.is_in(there, value_set=pa.array(standard.enum, pa.string()))
    else:
        kept = pc.match_substring_regex(there, standard.pattern)
    return float(pc.mean(pc.cast(kept, pa.int8())).as_py())


def _fits(source: Source, standard: Standard) -> bool:
    """Whether the types can mean the same: a text may hold anything, a date is no number."""
    kind = standard.type.lower()
    if not kind or pa.types.is_string(source.type) or kind.startswith(("string", "text", "varchar", "json")):
        return True
    temporal = kind.startswith(("date", "time"))
    boolean = kind.startswith("bool")
    if pa.types.is_temporal(source.type):
        return temporal
    if pa.types.is_boolean(source.type):
        return boolean
    return not temporal


class _Words:
    """Compares names as people would."""

    def __init__(self, short: Mapping[str, str]):
        self._short = short
        spelled = (word for text in (*short.values(), *_CHINESE.values()) for word in text.split())
        self._known = {*short, *spelled}
        self._fuzz = driver("rapidfuzz", "mapping").fuzz
        self._pinyin = driver("pypinyin", "mapping").lazy_pinyin
        self.similarity = cache(self._similarity)
        self._split = cache(self._tokens)
        self._sound = cache(self._sounds)

    def _similarity(self, one: str, other: str) -> tuple[float, str]:
        if not one or not other:
            return 0.0, ""
        if one.lower() == other.lower():
            return 100.0, "name"
        first, second = self._split(one), self._split(other)
        if first and first == second:
            return 96.0, "words"
        for sound in self._sound(one) & self._sound(other):
            return (92.0, "pinyin") if len(sound) > 3 else (75.0, "pinyin initials")
        common = len(first & second)
        words = 90.0 * 2 * common / (len(first) + len(second)) if common else 0.0
        strings = 0.9 * self._fuzz.ratio("".join(sorted(first)), "".join(sorted(second)))
        return max((words, "words"), (strings, "similar name"))

    def _tokens(self, text: str) -> frozenset[str]:
        found: list[str] = []
        for word in _WORD.findall(self._without_unit(text)):
            if "\u4e00" <= word[0] <= "\u9fff":
                found += self._translated(word)
            else:
                for part in self._parts(word.lower()):
                    found += self._short.get(part, part).split()
        return frozenset(found)

    def _without_unit(self, text: str) -> str:
        match = _UNIT.search(text)
        if match is None or match.start() < 1:
            return text
        suffix = match[2]
        if suffix and (suffix.lower() in self._known or not _is_unit(suffix.lower())):
            return text
        return text[: match.start()]

    def _parts(self, word: str) -> list[str]:
        """`batchno` as its two known words; any other word whole."""
        if word not in self._known:
            for at in range(2, len(word) - 1):
                if word[:at] in self._known and word[at:] in self._known:
                    return [word[:at], word[at:]]
        return [word]

    @staticmethod
    def _translated(text: str) -> list[str]:
        """Chinese words by longest match; what is not known stays as it is."""
        found: list[str] = []
        rest = ""
        at = 0
        while at < len(text):
            word = next((text[at : at + n] for n in (3, 2, 1) if text[at : at + n] in _CHINESE), None)
            if word is None:
                rest, at = rest + text[at], at + 1
                continue
            found += _CHINESE[word].split()
            at += len(word)
        return [*found, *([rest] if rest else [])]

    def _sounds(self, text: str) -> frozenset[str]:
        """The pinyin of a Chinese name in full and its initials; a Latin one as it is."""
        if re.search(r"[\u4e00-\u9fff]", text):
            syllables = self._pinyin("".join(re.findall(r"[\u4e00-\u9fffA-Za-z0-9]+", text)))
            initials = "".join(syllable[:1] for syllable in syllables)
            return frozenset({"".join(syllables).lower(), *([initials.lower()] if len(initials) > 1 else [])})
        return frozenset({re.sub(r"[^a-z0-9]", "", text.lower())})
