"""Multiplying a column by a constant in SQL without losing a digit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.errors import InvalidPlanError
from tongqu.meaning.expressions import FITS, cast, literal
from tongqu.meaning.units import Conversion, decimal_places
from tongqu.meaning.widening import decimal_digits

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True)
class Scaling:
    """`value * factor + offset`."""

    factor: Fraction
    offset: Fraction
    exact: bool


def scaling(found: Conversion, times: Fraction = Fraction(1)) -> Scaling:
    """A conversion after multiplying by a number."""
    return Scaling(found.factor * times, found.offset, found.exact)


def scaled(tree: exp.Expr, kind: pa.DataType, by: Scaling, what: str, *, widest: bool = False) -> exp.Expr:
    """The tree, of type `kind`, scaled: a decimal wide enough for every value of `kind`, or double if `kind` is a float
    or a constant is not a finite decimal.

    With `widest` a decimal that cannot be wide enough falls back to double (the caller states the final type); without
    it that raises InvalidPlanError naming `what`.
    """
    from sqlglot import exp

    places = [decimal_places(number) for number in (by.factor, by.offset)] if by.exact else [None]
    digits = decimal_digits(kind)
    if digits is not None and None not in places:
        whole, scale = digits
        after = max(scale + (places[0] or 0), places[1] or 0)
        before = max(whole + _growth(by.factor), len(str(abs(int(by.offset))))) + (1 if by.offset else 0)
        if before + after <= 38:
            made = exp.Mul(this=tree, expression=constant(by.factor)) if by.factor != 1 else tree
            wide = _proven(made, before + after, after)
            moved = exp.Add(this=wide, expression=constant(by.offset))
            return _proven(moved, before + after, after) if by.offset else wide
        if not widest:
            raise InvalidPlanError(
                f"{what}: {kind} would need {before + after} digits, more than 38", hint="state the result's `type`"
            )
    product = exp.Mul(this=cast(tree, "double"), expression=_double(by.factor))
    return exp.Add(this=product, expression=_double(by.offset)) if by.offset else product


def constant(number: Fraction) -> exp.Expr:
    """The number as a decimal constant, or as a double if it is no finite decimal."""
    places = decimal_places(number)
    if places is None:
        return _double(number)
    digits = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    text = digits[:-places] + "." + digits[-places:] if places else digits
    from sqlglot import exp

    made = cast(exp.Literal.number(text), f"decimal({max(len(digits), 1)},{places})")
    made.meta[FITS] = True
    return exp.Neg(this=made) if number < 0 else made


def _proven(tree: exp.Expr, precision: int, scale: int) -> exp.Expr:
    from sqlglot import exp

    made = cast(exp.Paren(this=tree), f"decimal({max(precision, 1)},{scale})")
    made.meta[FITS] = True
    return made


def _double(number: Fraction) -> exp.Expr:
    return cast(literal(repr(float(number))), "double")


def _growth(factor: Fraction) -> int:
    """How many digits before the point a product has at most more than the value."""
    size, power = abs(factor), 0
    while size > 1 and Fraction(10) ** power < size:
        power += 1
    while size < 1 and power > -18 and Fraction(10) ** (power - 1) >= size:
        power -= 1
    return power
