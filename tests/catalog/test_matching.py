"""Source fields find their standard fields by name, sound, comment, unit, type and values."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tongqu.catalog.matching import Source, Standard, suggest, unit_in

LOT = Standard("lot_no", ("批号", "Lot number"))


@pytest.mark.parametrize(
    "name", ["lot_no", "LOT_NO", "LotNo", "lotNumber", "lot_nr", "batch_no", "BATCHNO", "批号", "pihao", "PIHAO", "ph"]
)
def test_one_meaning_has_many_names(name: str) -> None:
    found = suggest([Source(name)], [LOT, Standard("weight", ("重量",)), Standard("plant", ("工厂",))])
    assert [match.standard for match in found] == ["lot_no"]


@pytest.mark.parametrize("name", ["x17", "remark", "price", "客户", "flag"])
def test_what_means_something_else_finds_nothing(name: str) -> None:
    assert suggest([Source(name)], [LOT, Standard("weight", ("重量",))]) == []


def test_a_comment_speaks_for_a_field_without_a_name() -> None:
    found = suggest([Source("F12", title="检验日期")], [LOT, Standard("inspected_at", ("检验日期",))])
    assert [(match.standard, match.confidence) for match in found] == [("inspected_at", 100)]


def test_values_speak_for_a_field_without_a_name() -> None:
    values = pa.array(["L20260101", "L20260102", "L20260103", None])
    (found,) = suggest([Source("F1", values=values)], [Standard("lot_no", pattern="^L[0-9]{8}$"), Standard("weight")])
    assert (found.standard, "values" in found.reason) == ("lot_no", True)
    wrong = pa.array(["red", "green", "blue", "red"])
    assert suggest([Source("lot", values=wrong)], [Standard("lot_no", pattern="^L[0-9]{8}$")]) == []


def test_each_field_is_used_once_and_the_better_pair_wins() -> None:
    standards = [Standard("weight", ("重量",), unit="kg"), Standard("net_weight", ("净重",), unit="kg")]
    found = suggest([Source("WGT_G"), Source("净重")], standards)
    assert {match.source: match.standard for match in found} == {"WGT_G": "weight", "净重": "net_weight"}


def test_units_are_seen_in_names() -> None:
    assert unit_in(Source("WGT_G"), "kg") == "g"
    assert unit_in(Source("f", title="温度(℃)"), "degC") == "℃"
    assert unit_in(Source("length_mm"), "kg") == ""
    assert unit_in(Source("lot_no"), "kg") == ""


def test_types_that_cannot_mean_the_same_lose() -> None:
    stamp = Source("check_time", type=pa.timestamp("us"))
    number = Source("check_tm", type=pa.int64())
    found = suggest([number, stamp], [Standard("check_time", type="timestamp")])
    assert [match.source for match in found] == ["check_time"]


def test_the_projects_own_abbreviations() -> None:
    assert suggest([Source("jyjl")], [Standard("verdict")]) == []
    assert suggest([Source("jyjl")], [Standard("verdict")], {"jyjl": "verdict"})[0].confidence == 96
