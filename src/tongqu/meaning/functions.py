"""The functions that expressions may use, as a table: what each takes, gives and an example that shows it.

Everything listed is deterministic and touches nothing but its arguments. Left out on purpose: clocks and randomness
(`now`, `random`, `uuid`: a resumed run must give the same rows), whatever reads files, settings or the network, and
order-dependent aggregates (`first`, `string_agg` without order).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True)
class Signature:
    """A documented function: `takes` and `gives` in words of DuckDB types, and an example over constants."""

    name: str
    takes: str
    gives: str
    example: str


def _table(text: str) -> tuple[Signature, ...]:
    rows = (line.split(" | ") for line in text.strip().splitlines())
    return tuple(Signature(*(cell.strip() for cell in row)) for row in rows)


SCALARS = _table("""
abs | number | the same type | abs(-2)
sign | number | tinyint | sign(-2.5)
ceil | number | number without fraction | ceil(1.2)
floor | number | number without fraction | floor(1.8)
round | number[, digits] | half away from zero | round(2.55, 1)
trunc | number | towards zero | trunc(-1.7)
mod | integer or decimal, the same | remainder with the dividend's sign | mod(7, 3)
power | number, number | double | power(2, 10)
sqrt | number | double | sqrt(2)
exp | number | double | exp(1)
ln | number | double | ln(2)
log10 | number | double | log10(100)
greatest | values of one type | the largest that is not null | greatest(1, 2, 3)
least | values of one type | the smallest that is not null | least(1, 2, 3)
isnan | double | boolean | isnan('nan'::double)
isfinite | double | boolean | isfinite(1.0::double)
coalesce | values of one type | the first that is not null | coalesce(null, 'a')
nullif | value, value | null when equal | nullif('a', 'b')
ifnull | value, value | the second when the first is null | ifnull(null, 1)
if | boolean, value, value | one of the two | if(1 < 2, 'a', 'b')
length | text | number of characters | length('中文')
strlen | text | number of UTF-8 bytes | strlen('中文')
lower | text | text | lower('ABC')
upper | text | text | upper('abc')
trim | text[, characters] | text without them at both ends | trim('  a ')
ltrim | text[, characters] | text | ltrim('  a ')
rtrim | text[, characters] | text | rtrim(' a  ')
substring | text, start from 1, length | text | substring('abcd', 2, 2)
left | text, n | first characters | left('abcd', 2)
right | text, n | last characters | right('abcd', 2)
replace | text, from, to | text | replace('a-b', '-', '_')
concat | values | text, nulls skipped | concat('a', null, 'b')
concat_ws | separator, values | text, nulls skipped | concat_ws('-', 'a', 'b')
lpad | text, length, text | text | lpad('7', 3, '0')
rpad | text, length, text | text | rpad('7', 3, '0')
repeat | text, n | text | repeat('ab', 2)
reverse | text | text | reverse('abc')
split_part | text, separator, n from 1 | text | split_part('a-b-c', '-', 2)
strpos | text, text | place from 1, 0 = absent | strpos('abc', 'c')
contains | text, text | boolean | contains('abc', 'b')
starts_with | text, text | boolean | starts_with('abc', 'a')
ends_with | text, text | boolean | ends_with('abc', 'c')
regexp_matches | text, RE2 pattern | whether some part matches | regexp_matches('abc', 'b')
regexp_full_match | text, RE2 pattern | whether all of it matches | regexp_full_match('abc', 'a.c')
regexp_replace | text, RE2 pattern, text[, options] | text | regexp_replace('a1b2', '[0-9]', '', 'g')
regexp_extract | text, RE2 pattern[, group] | text | regexp_extract('L123', 'L([0-9]+)', 1)
md5 | text | text | md5('a')
sha256 | text | text | sha256('a')
strftime | date or timestamp, format | text | strftime(date '2026-01-02', '%Y/%m/%d')
strptime | text, format | timestamp | strptime('2026/01/02', '%Y/%m/%d')
try_strptime | text, format | timestamp or null | try_strptime('x', '%Y')
date_trunc | part, date or timestamp | date or timestamp | date_trunc('month', date '2026-01-20')
date_part | part, date or timestamp | bigint | date_part('year', date '2026-01-20')
date_diff | part, start, end | number of boundaries crossed | date_diff('day', date '2026-01-01', date '2026-02-01')
date_add | date or timestamp, interval | timestamp | date_add(date '2026-01-01', interval 1 month)
last_day | date | date | last_day(date '2026-02-03')
year | date or timestamp | bigint | year(date '2026-02-03')
month | date or timestamp | bigint | month(date '2026-02-03')
day | date or timestamp | bigint | day(date '2026-02-03')
quarter | date or timestamp | bigint | quarter(date '2026-02-03')
week | date or timestamp | bigint, ISO week | week(date '2026-02-03')
dayofweek | date or timestamp | bigint, Sunday = 0 | dayofweek(date '2026-02-03')
hour | timestamp | bigint | hour(timestamp '2026-02-03 04:05:06')
minute | timestamp | bigint | minute(timestamp '2026-02-03 04:05:06')
second | timestamp | bigint | second(timestamp '2026-02-03 04:05:06')
make_date | year, month, day | date | make_date(2026, 2, 3)
epoch_ms | timestamp | bigint milliseconds | epoch_ms(timestamp '2026-02-03 04:05:06')
""")

AGGREGATES = _table("""
count | any or * | bigint | count(*)
count_if | boolean | number of true | count_if(1 < 2)
sum | number | decimal or double | sum(1)
avg | number | double | avg(1)
min | value | the same type | min(1)
max | value | the same type | max(1)
median | number | double | median(1)
stddev_samp | number | double | stddev_samp(1)
stddev_pop | number | double | stddev_pop(1)
var_samp | number | double | var_samp(1)
var_pop | number | double | var_pop(1)
bool_and | boolean | boolean | bool_and(1 < 2)
bool_or | boolean | boolean | bool_or(1 < 2)
arg_min | value, number | the value at the smallest | arg_min('a', 1)
arg_max | value, number | the value at the largest | arg_max('a', 1)
quantile_cont | number, share | interpolated | quantile_cont(1, 0.5)
""")

SYNTAX = (
    "'a' = 'b'", "1 <> 2", "1 < 2", "1 <= 2", "1 > 2", "1 >= 2", "1 = 1 and 2 = 2", "1 = 1 or 2 = 2", "not 1 = 2",
    "1 in (1, 2)", "1 not in (1, 2)", "1 between 0 and 2", "1 is null", "1 is not null", "(1 = 2) is true",
    "1 is distinct from 2", "1 is not distinct from 2", "'abc' like 'a%'", "'abc' not like 'a%'", "'abc' ilike 'A%'",
    "'a!%' like 'a!%' escape '!'", "1 + 2", "1 - 2", "2 * 3", "7 / 2", "7 // 2", "7 % 2", "-(1)", "'a' || 'b'",
    "cast(1 as varchar)", "1::bigint", "try_cast('x' as int)", "case when 1 < 2 then 'a' else 'b' end",
    "case 1 when 1 then 'a' end", "date '2026-01-01'", "timestamp '2026-01-01 00:00:00'", "true", "null", "(1)",
    "timestamptz '2026-01-01 00:00:00+00'", "date '2026-01-01' + interval 1 day", "interval '2' hour",
    "extract(year from date '2026-01-01')", "position('b' in 'abc')", "1.5", "1e3", "'中文'", "'it''s'",
    "time '10:00:00'",
    "date_trunc('hour', timestamp '2026-01-01 10:11:12')",
    "timestamptz '2026-01-01 00:00:00+00' at time zone 'Asia/Shanghai'",
)  # fmt: skip
"""One example of every piece of syntax that is allowed beside the functions."""

CAST_TYPES = frozenset((
    "BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "INT128", "UTINYINT", "USMALLINT", "UINT", "UBIGINT", "FLOAT",
    "DOUBLE", "DECIMAL", "VARCHAR", "TEXT", "CHAR", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ",
    "DATETIME", "TIMESTAMP_MS", "TIMESTAMP_S", "TIMESTAMP_NS", "BLOB", "VARBINARY", "UUID", "JSON",
))  # fmt: skip
"""sqlglot's names of the types an expression may cast to."""


@cache
def allowed(aggregate: bool) -> tuple[frozenset[type[exp.Expr]], frozenset[str]]:
    """The syntax-tree node classes, and the names of functions sqlglot has no class for, that may appear.

    Derived from the examples, so the table above is the allow-list and its documentation at once.
    """
    import sqlglot
    from sqlglot import exp

    nodes: set[type[exp.Expr]] = set()
    names: set[str] = set()
    signatures = SCALARS + AGGREGATES if aggregate else SCALARS
    for example in (*SYNTAX, *(s.example for s in signatures)):
        tree = sqlglot.parse_one(f"SELECT {example}", read="duckdb").expressions[0]
        for node in tree.walk():
            if isinstance(node, exp.Anonymous):
                names.add(node.name.lower())
            nodes.add(type(node))
    nodes |= {exp.Column, exp.Identifier}
    if aggregate:
        nodes |= {exp.Distinct, exp.Filter, exp.Where}
    else:
        nodes -= {exp.Star}
    return frozenset(nodes), frozenset(names)
