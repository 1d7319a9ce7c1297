"""Units of measure: one registry (pint) with Chinese names, and conversions as exact factors.

Factors are exact fractions, so grams to kilograms on decimals is exact. Counting units (件 个 箱 …) are dimensions of
their own: one converts into another only through a stated content (`1 箱 = 12.5 kg`).
"""

from __future__ import annotations

import re
import threading
import tokenize
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import InvalidPlanError

if TYPE_CHECKING:
    from pint import UnitRegistry

ALIASES = {
    "kilogram": "公斤 千克", "gram": "克", "milligram": "毫克", "microgram": "微克", "metric_ton": "吨 公吨",
    "meter": "米 公尺", "kilometer": "千米 公里", "centimeter": "厘米 公分", "millimeter": "毫米", "micrometer": "微米",
    "liter": "升 公升", "milliliter": "毫升", "second": "秒", "minute": "分钟", "hour": "小时", "day": "天 日",
    "week": "周", "watt": "瓦", "kilowatt": "千瓦", "kilowatt_hour": "千瓦时 度电", "volt": "伏", "ampere": "安",
    "pascal": "帕", "kilopascal": "千帕", "megapascal": "兆帕", "bar": "巴", "newton": "牛", "hectare": "公顷",
    "degree_Celsius": "摄氏度", "degree_Fahrenheit": "华氏度", "square_meter": "平方米", "cubic_meter": "立方米 方",
    "percent": "百分比",
}  # fmt: skip
"""pint's unit → further names."""
DEFINED = ("斤 = 0.5 * kilogram", "两 = 0.05 * kilogram", "钱 = 0.005 * kilogram", "尺 = meter / 3", "寸 = meter / 30",
           "亩 = 2000 / 3 * meter ** 2", "square_meter = meter ** 2", "cubic_meter = meter ** 3",
           "kilowatt_hour = 1000 * watt * hour", "打 = 12 * 件")  # fmt: skip
COUNTED = {"件": "个 只 piece pieces pcs", "箱": "carton cartons", "盒": "", "包": "", "袋": "", "桶": "",
           "托": "pallet", "卷": "", "张": "", "套": "", "台": "", "瓶": ""}  # fmt: skip
"""Each its own dimension, with other names of the same."""

_UNIT = re.compile(r"[^\W\d_][\w ]*|[\w%℃℉°Ωµ/*^(). ²³-]+")
_POWER = re.compile(r"(\*\*|\^)\s*-?\s*\d{2,}")
_QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:/\d+)?)\s*(\S.*?)\s*")
_PARSER_ERRORS = (
    ValueError, TypeError, AttributeError, KeyError, SyntaxError, AssertionError, ArithmeticError, tokenize.TokenError,
)  # fmt: skip
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Conversion:
    """`result = value * factor + offset`, exactly (`exact`) or with factors that are only nearly right."""

    factor: Fraction
    offset: Fraction = Fraction(0)
    exact: bool = True

    @property
    def places(self) -> int | None:
        """Decimal places of factor and offset if both are finite decimals, else None."""
        if not self.exact:
            return None
        found = [decimal_places(number) for number in (self.factor, self.offset)]
        return None if None in found else max(p for p in found if p is not None)


def conversion(source: str, target: str) -> Conversion:
    """How values in one unit become values in the other.

    Raises InvalidPlanError for an unknown unit or different dimensions, naming both.
    """
    return _conversion(source.strip(), target.strip())


def quantity(text: str) -> tuple[Fraction, str]:
    """The number and unit of `12.5 kg`; raises InvalidPlanError."""
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise InvalidPlanError(f"{text!r} is not a number with a unit", hint="write `12.5 kg`")
    _check(match[2])
    return Fraction(match[1]), match[2]


def same_dimension(first: str, second: str) -> bool:
    """Whether one can be converted into the other."""
    with _LOCK:
        return bool(_unit(first).dimensionality == _unit(second).dimensionality)


def decimal_places(number: Fraction) -> int | None:
    """Digits after the point, or None if there is no end of them (or more than 18)."""
    rest, twos, fives = number.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    return places if rest == 1 and places <= 18 else None


@lru_cache(maxsize=1024)
def _conversion(source: str, target: str) -> Conversion:
    import pint

    with _LOCK:
        first, second = _unit(source), _unit(target)
        registry = _registry()
        try:
            zero = registry.Quantity(Fraction(0), first).to(second).magnitude
            one = registry.Quantity(Fraction(1), first).to(second).magnitude
        except pint.DimensionalityError:
            raise InvalidPlanError(
                f"{source} ({first.dimensionality}) cannot become {target} ({second.dimensionality})",
                hint='if one item holds a known amount, say so: each: "12.5 kg"',
                params={"from": source, "to": target},
            ) from None
    exact = all(isinstance(number, Fraction | int) for number in (zero, one))
    return Conversion(Fraction(one) - Fraction(zero), Fraction(zero), exact)


def _check(name: str) -> None:
    with _LOCK:
        _unit(name)


def _unit(name: str) -> Any:
    """pint's unit of a name, through pint's own parser and nothing else."""
    import pint

    registry = _registry()
    name = name.replace("℃", "degC").replace("℉", "degF")
    refused = len(name) > 64 or not _UNIT.fullmatch(name) or _POWER.search(name) or not name
    try:
        if refused:
            raise ValueError(name)
        return registry.parse_units(name)
    except (pint.PintError, *_PARSER_ERRORS):
        raise InvalidPlanError(
            f"unknown unit {name!r}",
            hint="units such as kg, g, t, m, mm, °C, 公斤, 克, 吨, 件, 箱",
            params={"unit": name},
        ) from None


@cache
def _registry() -> UnitRegistry[Any]:
    from pint import UnitRegistry

    registry: UnitRegistry[Any] = UnitRegistry(non_int_type=Fraction, cache_folder=None)
    for name, others in COUNTED.items():
        registry.define(f"{name} = [{name}]")
        if others:
            registry.define(f"@alias {name} = {' = '.join(others.split())}")
    for definition in DEFINED:
        registry.define(definition)
    for name, others in ALIASES.items():
        registry.parse_units(name)  # makes pint know `kilo` + `meter` as one unit that can have aliases
        registry.define(f"@alias {name} = {' = '.join(others.split())}")
    return registry
