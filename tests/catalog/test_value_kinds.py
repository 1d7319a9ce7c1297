"""Kinds of value are told by form and checksum, and a checksum that is wrong makes it none."""

from __future__ import annotations

import pytest

from tongqu.catalog.suspicions import personal, unit
from tongqu.catalog.value_kinds import KINDS, kinds_of

GOOD = {
    "id_card": ["11010519491231002X", "440524188001010014"],
    "credit_code": ["91350100M000100Y43"],
    "bank_card": ["6228480402564890018", "4111 1111 1111 1111"],
    "mobile": ["13812345678", "+86 138-1234-5678"],
    "phone": ["0571-88156789", "(010) 62781234-801"],
    "email": ["zhang.san+x@example.com.cn"],
    "plate": ["沪A12345", "粤B·D12345", "京A1234警"],
    "chinese_name": ["王伟", "欧阳娜娜"[2:] + "李", "李小龙"],
    "uuid": ["6F9619FF-8B86-D011-B42D-00C04FC964FF"],
    "date_ymd": ["2026-1-31", "2026-01-31T10:00:00+08:00"],
    "date_slash": ["2026/01/31 10:00"],
    "date_compact": ["20260131"],
    "date_chinese": ["2026年1月31日"],
    "date_dmy": ["31.01.2026"],
    "ipv4": ["192.168.0.1"],
    "integer": ["-42"],
    "number": ["1,234.50", "1e-5"],
    "boolean": ["是"],
    "json": ['{"a": 1}'],
}
BAD = ["110105194912310021", "11010519491331002X", "91350100M000100Y44", "6228480402564890019", "12812345678",
       "256.1.1.1",
       "2026-13-01", "hello"]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in GOOD if name != "chinese_name"])
def test_good_values_are_recognised(name: str) -> None:
    assert kinds_of([(text, 1) for text in GOOD[name]]) == {name: 1.0}


def test_wrong_checksums_and_dates_are_not() -> None:
    told = kinds_of([(text, 1) for text in BAD])
    assert {kind.name for kind in KINDS if kind.personal or kind.name.startswith("date")} & told.keys() == set()


def test_shares_are_weighted() -> None:
    assert kinds_of([("a@b.cn", 3), ("-", 1)]) == {"email": 0.75}


@pytest.mark.parametrize(
    ("name", "comment", "wanted"),
    [
        ("重量(kg)", "", "kg"), ("len", "长度（毫米）", "mm"), ("netWeightKg", "", "kg"), ("cycle_time_ms", "", "ms"),
        ("temperature", "", "degC"), ("created_time", "", "s"), ("gross_weight", "", "g"), ("count", "", None),
        ("lot_t", "", "t"),
    ],
)  # fmt: skip
def test_units(name: str, comment: str, wanted: str | None) -> None:
    numbers = (1.6e9, 1.7e9, 1.8e9) if name == "created_time" else (20.0, 1500.0, 1800.0)
    found = unit(name, comment, *numbers)
    assert (found.value if found else None) == wanted
    if name == "lot_t":
        assert found is not None
        assert found.confidence < 0.8  # a letter at the end of a name proves little


@pytest.mark.parametrize(
    ("name", "comment", "kinds", "cls"),
    [
        ("shenfenzheng", "", {}, "sensitive"), ("x1", "", {"id_card": 0.98}, "sensitive"),
        ("手机号", "", {}, "personal"),
        ("f3", "员工姓名", {}, "personal"), ("API_KEY", "", {}, "secret"), ("gongzi", "", {}, "sensitive"),
        ("lot_no", "", {}, None), ("x2", "", {"email": 0.2}, None), ("telemetry", "", {}, None),
    ],
)  # fmt: skip
def test_personal_data(name: str, comment: str, kinds: dict[str, float], cls: str | None) -> None:
    found = personal(name, comment, kinds)
    assert (found[1] if found else None) == cls
