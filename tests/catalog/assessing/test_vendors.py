"""Documents as vendors really write them, and documents that are broken."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.catalog.assessing.breaking import changes
from tongqu.catalog.assessing.checklist import ready
from tongqu.catalog.assessing.openapi import interface_of
from tongqu.catalog.assessing.scenarios import Verdict, coverage
from tongqu.catalog.assessing.scoring import assess
from tongqu.catalog.assessing.security import security
from tongqu.catalog.assessing.shapes import Interface
from tongqu.catalog.assessing.technical import technical
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.openapi.document import read_document
from tongqu.testing.planted_interface import planted


def read(raw: dict[str, Any]) -> Interface:
    return interface_of(read_document(json.dumps(raw).encode(), "vendor.json"))


def texts(**said: str) -> dict[str, Any]:
    return {name: {"type": "string", "description": text} for name, text in said.items()}


def posted(summary: str, asked: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """An operation of the kind that takes everything by POST and wraps every answer."""
    listed = {"type": "array", "items": {"type": "object", "properties": record}}
    data = {"type": "object", "properties": {"list": listed, "total": {"type": "integer"}}}
    answer = {"type": "object", "properties": {**texts(code="错误码", msg="错误信息"), "data": data}}
    body = {"name": "body", "in": "body", "schema": {"type": "object", "properties": asked}}
    token = {"name": "access_token", "in": "query", "required": True, "type": "string"}
    return {
        "post": {
            "summary": summary, "tags": ["开放接口"], "parameters": [token, body],
            "responses": {"200": {"description": "成功", "schema": answer}},
        }
    }  # fmt: skip


CHINESE = {
    "swagger": "2.0",
    "info": {"title": "考勤开放平台", "version": "2.3"},
    "host": "kq.example",
    "schemes": ["https"],
    "paths": {
        "/openapi/kq/jlcx": posted(
            "查询打卡记录",
            texts(pageNo="页码", pageSize="每页条数", updateTimeStart="更新时间起"),
            texts(ygbh="员工编号", dksj="打卡时间", sbmc="设备名称"),
        ),
        "/openapi/kq/yccx": posted("查询异常考勤", texts(pageNo="页码"), texts(gonghao="工号", yclx="异常类型")),
        "/openapi/ry/ygcx": posted(
            "员工列表", texts(pageNo="页码"), texts(ygbh="工号", xm="姓名", bm="部门", sfzh="身份证号（已脱敏）")
        ),
        "/openapi/kq/dkdr": posted("导入打卡数据", texts(ygbh="员工编号", dksj="打卡时间", qqlsh="请求流水号"), {}),
    },
}


def test_a_chinese_vendor_with_pinyin_names() -> None:
    interface = read(CHINESE)
    verdicts: dict[str, Verdict] = {one.scenario: one for one in coverage(interface, ready("attendance")).verdicts}
    covered = {name for name, one in verdicts.items() if one.state == "covered"}
    assert covered == {"attendance_records", "attendance_changed", "import_punches", "abnormal", "employees"}
    assert {name: one.path for name, one in verdicts["attendance_records"].fields.items()} == {
        "employee_no": "ygbh", "time": "dksj",
    }  # fmt: skip
    checks = {one.id: one for one in (*technical(interface, None, frozenset()), *security(interface, None))}
    assert (checks["paging"].score, checks["incremental"].params["without"]) == (1.0, 2)
    assert checks["idempotency"].score == 1.0
    assert checks["auth"].score == 0.2
    assert {one.id for one in checks["auth"].findings} == {"auth.query"}
    assert checks["masking"].params == {"count": 3, "without": 2}  # the identity card is said to be masked


JUNK = st.sampled_from(
    [None, 7, "x", [], {}, [None], {"$ref": "#/nowhere"}, {"$ref": "#/paths"}, {"type": ["a", 3]}, True]
)


def places(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [way, *(place for key, value in inner for place in places(value, (*way, key)))]


PLACES = [way for way in places(planted()) if way and way != ("openapi",)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_whatever_is_wrong_in_a_document_it_is_assessed(edits: list[tuple[tuple[Any, ...], Any]]) -> None:
    raw: Any = planted()
    for way, junk in edits:
        node = raw
        for key in way[:-1]:
            there = (isinstance(node, dict) and key in node) or (isinstance(node, list) and key in range(len(node)))
            node = node[key] if there else None
        if isinstance(node, dict) or (isinstance(node, list) and way[-1] in range(len(node))):
            node[way[-1]] = deepcopy(junk)
    try:
        interface = read(raw)
    except InvalidSettingsError:
        return
    found = assess(interface, [coverage(interface, ready("qms"))]).to_json()
    assert all(one["score"] is None or 0 <= one["score"] <= 1 for one in found["checks"])
    changes(read(planted()), interface)
    json.dumps(found)
