"""LogMiner's SQL taken apart: the values are those of a full read, or there are none."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.connectors.oracle.log.ddl import meaning
from tongqu.connectors.oracle.log.decoding import Decoder
from tongqu.connectors.oracle.log.session import Followed
from tongqu.connectors.oracle.log.statements import DELETE, INSERT, UPDATE, UnreadableError, told
from tongqu.core.errors import SchemaError
from tongqu.kit.tables.dialects.oracle import dialect
from tongqu.kit.tables.shape import Column, Table


def test_an_insert_has_the_new_row() -> None:
    """The statement of the first example in Oracle's Utilities, "Examples Using LogMiner"."""
    found = told(
        'insert into "HR"."EMPLOYEES"("EMPLOYEE_ID","EMAIL","HIRE_DATE","COMMISSION_PCT","DEPARTMENT_ID") values '
        "('306','NSHASTRY',TO_DATE('10-JAN-2012 13:34:43', 'dd-mon-yyyy hh24:mi:ss'),'.05',NULL);"
    )
    assert (found.code, found.before) == (INSERT, {})
    assert found.after == {
        "EMPLOYEE_ID": ("", "306"), "EMAIL": ("", "NSHASTRY"), "HIRE_DATE": ("TO_DATE", "10-JAN-2012 13:34:43"),
        "COMMISSION_PCT": ("", ".05"), "DEPARTMENT_ID": None,
    }  # fmt: skip


def test_an_update_has_what_was_and_what_was_set() -> None:
    found = told(
        'update "OE"."P" set "WARRANTY" = TO_YMINTERVAL(\'+05-00\'), "NOTE" = NULL where "ID" = \'1799\' and '
        "\"WARRANTY\" = TO_YMINTERVAL('+01-00') and \"NOTE\" = ' where \"x\" = ''1'' and ' and \"OLD\" IS NULL "
        "and ROWID = 'AAAHTKAABAAAY9mAAB';"
    )
    assert found.code == UPDATE
    assert found.after == {"WARRANTY": ("TO_YMINTERVAL", "+05-00"), "NOTE": None}
    assert found.before == {
        "ID": ("", "1799"), "WARRANTY": ("TO_YMINTERVAL", "+01-00"), "NOTE": ("", " where \"x\" = '1' and "),
        "OLD": None,
    }  # fmt: skip


def test_texts_of_the_national_character_set_are_units_of_utf_16() -> None:
    found = told(r"""delete from "A"."B" where "N" = UNISTR('\4F60\D83D\DE00a\\') || UNISTR('''') and "E" = ''""")
    assert (found.code, found.before) == (DELETE, {"N": ("UNISTR", "你😀a\\'"), "E": None})


@pytest.mark.parametrize(
    "sql",
    [
        "insert into \"HR\".\"E\"(col#1, col#2) values (hextoraw('4a6f'), hextoraw('c306'))",
        'insert into "HR"."E"("A","B") values (\'1\')',
        'insert into "HR"."E"("A","A") values (\'1\',\'2\')',
        'insert into "HR"."E"("A") values (EMPTY_CLOB())',
        'insert into "HR"."E"("A") values (Unsupported Type)',
        'insert into "HR"."E"("A") values (\'1\') x',
        'update "HR"."E" set "A" = \'1\'',
        'update "HR"."E" a set a."A" = \'1\' where "A" = \'2\'',
        'delete from "HR"."E" where "A" = \'1\' or "B" = \'2\'',
        'delete from "HR"."E" where "A" = UNISTR(\'\\12\')',
        'delete from "HR"."E" where "A" = \'geheim',
        "/* no SQL_REDO */",
        "",
    ],
)
def test_what_is_not_understood_whole_is_refused_without_its_values(sql: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        told(sql)
    assert "geheim" not in str(refused.value)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_$# ]{0,8}", fullmatch=True), st.none() | st.text(max_size=20),
                       min_size=1, max_size=5))  # fmt: skip
def test_any_text_comes_back(row: dict[str, str | None]) -> None:
    written = {name: "NULL" if value is None else "'" + value.replace("'", "''") + "'" for name, value in row.items()}
    names = ",".join(f'"{name}"' for name in row)
    where = " and ".join(f'"{n}" IS NULL' if row[n] is None else f'"{n}" = {written[n]}' for n in row)
    expected = {name: ("", value) if value else None for name, value in row.items()}
    assert told(f'insert into "O"."T"({names}) values ({",".join(written.values())})').after == expected
    assert told(f'delete from "O"."T" where {where}').before == expected


# ---- columns


NATIVES = {
    "ID": "NUMBER(9,0)", "BIG": "NUMBER", "PRICE": "NUMBER(12,3)", "RATIO": "BINARY_DOUBLE",
    "NAME": "VARCHAR2(20 CHAR)", "WIDE": "NVARCHAR2(20)", "RAWS": "RAW(16)", "DAY": "DATE", "AT": "TIMESTAMP(9)",
    "ZONED": "TIMESTAMP(6) WITH TIME ZONE", "LOCAL": "TIMESTAMP(6) WITH LOCAL TIME ZONE",
    "TOOK": "INTERVAL DAY(2) TO SECOND(6)",
}  # fmt: skip


def decoder(natives: dict[str, str]) -> Decoder:
    table = Table("O", "T", "T", columns=[Column(name, native) for name, native in natives.items()], primary=("ID",))
    return Decoder(Followed(table.dataset(dialect.field), table), '"O"."T"')


def test_values_of_every_type_are_those_of_a_full_read() -> None:
    values = {
        "ID": "'7'", "BIG": "'1.5E+3'", "PRICE": "'-.25'", "RATIO": "'1.5E-001'", "NAME": "'it''s'",
        "WIDE": r"UNISTR('\4F60')", "RAWS": "HEXTORAW('00ff10')", "DAY": "TO_DATE('2026-03-01 08:00:00', 'x')",
        "AT": "TO_TIMESTAMP('2026-03-01 08:00:00.123456789')",
        "ZONED": "TO_TIMESTAMP_TZ('2026-03-01 08:00:00.250000000 +08:00')",
        "LOCAL": "TO_TIMESTAMP('2026-03-01 08:00:00.5')", "TOOK": "TO_DSINTERVAL('+01 02:03:04.000000')",
    }  # fmt: skip
    names = ",".join(f'"{name}"' for name in values)
    sql = f'insert into "O"."T"({names}) values ({",".join(values.values())})'
    empty = 'insert into "O"."T"("ID") values (\'8\')'
    made = decoder(NATIVES).batch([(sql, 1_772_352_000_000_000), (empty, 0)])
    first, second = made.to_pylist()
    assert first == {
        "ID": 7, "BIG": "1500", "PRICE": Decimal("-0.250"), "RATIO": 0.15, "NAME": "it's", "WIDE": "你",
        "RAWS": b"\x00\xff\x10", "DAY": datetime(2026, 3, 1, 8),  # noqa: DTZ001  # a DATE has no zone
        "AT": datetime(2026, 3, 1, 8, 0, 0, 123456),  # noqa: DTZ001
        "ZONED": datetime(2026, 3, 1, 0, 0, 0, 250000, UTC), "LOCAL": datetime(2026, 3, 1, 8, 0, 0, 500000, UTC),
        "TOOK": "+01 02:03:04.000000", "_op": "c", "_at": datetime(2026, 3, 1, 8, tzinfo=UTC),
    }  # fmt: skip
    assert {name for name, value in second.items() if value is not None} == {"ID", "_op", "_at"}


@pytest.mark.parametrize(
    ("native", "value"),
    [
        ("NUMBER(9,0)", "'1.5'"), ("NUMBER(9,0)", "'x'"), ("DATE", "TO_DATE('01-MAR-26', 'DD-MON-RR')"),
        ("VARCHAR2(20 CHAR)", "HEXTORAW('00')"), ("RAW(16)", "HEXTORAW('0')"), ("TIMESTAMP(6)", "'2026-03-01'"),
        ("TIMESTAMP(6) WITH TIME ZONE", "TO_TIMESTAMP_TZ('2026-03-01 08:00:00 EUROPE/BERLIN')"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_its_type_pauses_the_stream(native: str, value: str) -> None:
    sql = f'insert into "O"."T"("ID","X") values (\'1\',{value})'
    with pytest.raises(SchemaError) as refused:
        decoder({"ID": "NUMBER(9,0)", "X": native}).batch([(sql, 0)])
    assert "--reload T" in refused.value.hint
    assert value not in refused.value.message


def test_a_change_without_all_columns_asks_for_supplemental_logging() -> None:
    sql = 'update "O"."T" set "NAME" = \'x\' where "ID" = \'1\''
    with pytest.raises(SchemaError, match="does not tell NAME") as refused:
        decoder({"ID": "NUMBER(9,0)", "NAME": "VARCHAR2(9)"}).batch([(sql, 0)])
    assert refused.value.hint.startswith('ALTER TABLE "O"."T" ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS')


# ---- DDL


@pytest.mark.parametrize(
    ("sql", "does"),
    [
        ("truncate table own.items drop storage", "empties"),
        ('/* drop table */ ALTER TABLE "own"."items" ADD ("w" NUMBER)', "alters"),
        ("alter table items rename column a to b", "alters"),
        ("ALTER TABLE items RENAME TO other", "ends"),
        ("RENAME items TO other", "ends"),
        ("DROP TABLE items PURGE", "ends"),
        ("ALTER TABLE items\n  TRUNCATE PARTITION p1", "ends"),
        ("ALTER TABLE items EXCHANGE PARTITION p WITH TABLE x", "ends"),
        ("alter table items drop supplemental log data (all) columns", "ends"),
        ("ALTER TABLE items ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS", "alters"),
        ("COMMENT ON TABLE items IS 'it''s -- a DROP TABLE'", "nothing"),
        ("create unique index i on items (v) -- TRUNCATE TABLE", "nothing"),
        ("GRANT SELECT ON items TO x", "nothing"),
        ("IMPORT something into items", "ends"),
    ],
)
def test_what_a_definition_does(sql: str, does: Any) -> None:
    assert meaning(sql) == does
