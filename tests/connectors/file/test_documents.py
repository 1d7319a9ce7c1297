"""JSON and XML documents are read as rows, with what is nested in them, and written whole."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Meta, Read, WriteMode
from tongqu.core.errors import InvalidPlanError, NotFoundError, ReadError, SchemaError

ORDERS = {
    "meta": {"items": [1, 2]},
    "data": {
        "orders": [
            {"no": "A1", "buyer": {"city": "上海"}, "lines": [{"sku": "x,]", "qty": 1.50, "lots": [{"lot": "L1"}]}]},
            {"no": "A2", "buyer": {"city": "苏州"}, "lines": []},
            {"no": "A3", "buyer": None, "lines": [{"sku": "y", "qty": 2.25}, {"sku": 'z"}', "qty": 3.00}]},
        ]
    },
}


def rows_of(desk: Any, path: Path, options: str, name: str) -> list[dict[str, Any]]:
    opened = desk.source(path, options)
    (dataset,) = opened.datasets([name])
    return [row for batch in desk.batches(opened, dataset) for row in batch.rows.to_pylist()]


# ---- JSON


@pytest.mark.parametrize("pointer", ["data.orders", "$.data.orders[*]", "/data/orders"])
def test_records_are_found_by_their_pointer(desk: Any, tmp_path: Path, pointer: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(ORDERS, ensure_ascii=False, indent=2))
    found = desk.rows(tmp_path / "x.json", f"?records={pointer}")
    assert [row["no"] for row in found] == ["A1", "A2", "A3"]
    assert found[0]["buyer"] == {"city": "上海"}


def test_a_pointer_that_leads_nowhere_names_the_keys(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(ORDERS))
    with pytest.raises(NotFoundError, match=r"'data\.lines'") as caught:
        desk.rows(tmp_path / "x.json", "?records=data.lines")
    assert "keys seen: orders" in caught.value.hint


def test_an_array_is_read_packed_and_in_any_encoding(desk: Any, tmp_path: Path) -> None:
    text = json.dumps([{"名称": "螺栓", "n": 1}, {"名称": "轴承", "n": 2}], ensure_ascii=False)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "y.json").write_bytes(text.encode("gb18030"))
    wanted = [{"名称": "螺栓", "n": 1}, {"名称": "轴承", "n": 2}]
    assert desk.rows(tmp_path / "x.json.gz") == wanted
    assert desk.rows(tmp_path / "y.json") == wanted


def test_an_array_resumes_after_any_batch(desk: Any, tmp_path: Path) -> None:
    wanted = [{"a": n, "t": f']{n},"['} for n in range(50)]
    (tmp_path / "x.json").write_text(json.dumps({"r": wanted, "after": [{"a": 99}]}, indent=1))
    opened = desk.source(tmp_path / "x.json", "?records=r")
    (dataset,) = opened.datasets()
    (split,) = opened.splits(dataset, 1)
    batches = [b for b in opened.read(Read(dataset, split, batch_rows=7)) if b.rows.num_rows]
    for number, batch in enumerate(batches, 1):
        rest = opened.read(Read(dataset, split, after=batch.position, batch_rows=7))
        assert [row for b in rest for row in b.rows.to_pylist()] == wanted[7 * number :]


def test_an_array_that_is_cut_off_stops_the_read(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": 1}, {"a": 2}')
    with pytest.raises(ReadError, match="cut off"):
        desk.rows(tmp_path / "x.json")


def test_elements_that_are_no_objects_are_set_aside(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": 1}, 5, {"a": 2}, "x"]')
    assert desk.rows(tmp_path / "x.json") == [{"a": 1}, {"a": 2}]
    assert [bad.code for bad in desk.bad(tmp_path / "x.json")] == ["data.schema", "data.schema"]


def test_an_empty_array_has_no_rows(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(" [ ] ")
    assert desk.rows(tmp_path / "x.json") == []


# ---- nested values


def test_nested_values_as_json_text(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id":1,"m":{"a":[1.50,"\\"]"]}}\n{"id":2,"m":[]}\n{"id":3,"m":null}\n')
    opened = desk.source(tmp_path / "x.jsonl", "?nested=json")
    (dataset,) = opened.datasets()
    assert dataset.schema.field("m").metadata == {Meta.LOGICAL.value.encode(): b"json"}
    assert desk.rows(tmp_path / "x.jsonl", "?nested=json") == [
        {"id": 1, "m": '{"a":[1.50,"\\"]"]}'}, {"id": 2, "m": "[]"}, {"id": 3, "m": None},
    ]  # fmt: skip


def test_a_broken_line_among_nested_ones_is_set_aside_alone(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id":1,"m":{"a":1}}\n{"id":2,"m":{"a":"\n{"id":3,"m":{"a":3}}\n')
    assert [row["id"] for row in desk.rows(tmp_path / "x.jsonl", "?nested=json")] == [1, 3]
    assert len(desk.bad(tmp_path / "x.jsonl", "?nested=json")) == 1


def test_arrays_become_datasets_of_their_own(desk: Any, tmp_path: Path) -> None:
    path, options = tmp_path / "orders.json", "?records=data.orders&nested=children"
    path.write_text(json.dumps(ORDERS, ensure_ascii=False))
    found = {dataset.name: dataset.key for dataset in desk.source(path, options).datasets()}
    assert found == {
        "orders": ("_record",),
        "orders.lines": ("_record", "_index"),
        "orders.lines.lots": ("_record", "_index", "_index_2"),
    }
    assert rows_of(desk, path, options, "orders")[0] == {"_record": 1, "no": "A1", "buyer": '{"city": "上海"}'}
    assert rows_of(desk, path, options, "orders.lines") == [
        {"_record": 1, "_index": 1, "sku": "x,]", "qty": 1.5},
        {"_record": 3, "_index": 1, "sku": "y", "qty": 2.25},
        {"_record": 3, "_index": 2, "sku": 'z"}', "qty": 3.0},
    ]
    assert rows_of(desk, path, options, "orders.lines.lots") == [
        {"_record": 1, "_index": 1, "_index_2": 1, "lot": "L1"}
    ]


def test_children_keep_their_parents_key(desk: Any, tmp_path: Path) -> None:
    path, options = tmp_path / "orders.json", "?records=data.orders&nested=children&parent_key=no"
    path.write_text(json.dumps(ORDERS))
    found = {dataset.name: dataset.key for dataset in desk.source(path, options).datasets()}
    assert found["orders.lines"] == ("parent_no", "_index")
    assert [row["parent_no"] for row in rows_of(desk, path, options, "orders.lines")] == ["A1", "A3", "A3"]
    assert rows_of(desk, path, options, "orders.lines.lots")[0]["parent_no"] == "A1"


def test_children_of_several_files_need_a_key(desk: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"no":1,"tags":["x","y"]}\n')
    with pytest.raises(InvalidPlanError, match="2 files") as caught:
        desk.source(tmp_path / "*.jsonl", "?nested=children").datasets()
    assert "parent_key" in caught.value.hint
    found = desk.source(tmp_path / "*.jsonl", "?nested=children&parent_key=no").datasets()
    assert [d.name.removeprefix(tmp_path.name) for d in found] == ["", ".tags"]


# ---- XML

INSPECTIONS = """<?xml version="1.0" encoding="GB2312"?>
<q:batch xmlns:q="urn:q" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <q:row id="1"><编号>00123</编号><重量>1.50</重量><合格>true</合格><备注/>
    <values><v n="a">1</v><v n="b">2</v></values></q:row>
  <q:row id="2"><编号>7</编号><重量 xsi:nil="true"/><合格>false</合格><备注>&lt;&amp;&#x4e00;</备注></q:row>
</q:batch>"""


def test_xml_records(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_bytes(INSPECTIONS.encode("gb2312"))
    assert desk.rows(tmp_path / "x.xml") == [
        {"@id": 1, "编号": "00123", "重量": 1.5, "合格": True, "备注": None,
         "values": [{"@n": "a", "#text": "1"}, {"@n": "b", "#text": "2"}]},
        {"@id": 2, "编号": "7", "重量": None, "合格": False, "备注": "<&一", "values": None},
    ]  # fmt: skip


def test_xml_children(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_bytes(INSPECTIONS.encode("gb2312"))
    options = "?records=batch/row&nested=children"
    assert rows_of(desk, tmp_path / "x.xml", options, "x.values") == [
        {"_record": 1, "_index": 1, "@n": "a", "#text": 1},
        {"_record": 1, "_index": 2, "@n": "b", "#text": 2},
    ]


def test_xml_records_anywhere(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text("<a><p><r><k>1</k></r></p><r><k>2</k></r></a>")
    assert desk.rows(tmp_path / "x.xml", "?records=r") == [{"k": 1}, {"k": 2}]


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><r><k>&x;</k></r></a>',
        '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><a><r><k>&b;</k></r></a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a><r><k>1</k></r></a>',
    ],
)
def test_document_types_are_refused(desk: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(ReadError, match="document type"):
        desk.rows(tmp_path / "x.xml")


def test_xml_that_is_not_well_formed_names_the_line(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text("<a>\n<r><k>1</k>\n</a>")
    with pytest.raises(ReadError, match="line 3"):
        desk.rows(tmp_path / "x.xml")
    (tmp_path / "y.xml").write_text("<a>" * 200)
    with pytest.raises(ReadError, match="deeper than 100"):
        desk.rows(tmp_path / "y.xml")


# ---- writing

TABLE = pa.table({
    "id": pa.array([1, 2, 12345678901234567], pa.int64()),
    "名 称": ["=1+1", "<a>&\r\n", None],
    "重量": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(10, 2)),
})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [("x.json", ""), ("x.json.gz", ""), ("x.xml", ""), ("x.xml.zst", "?records=单/行"), ("x.xml", "?encoding=gb18030"),
     ("x.json", "?encoding=utf-16")],
)  # fmt: skip
def test_documents_come_back_and_grow(desk: Any, tmp_path: Path, name: str, options: str) -> None:
    desk.put(tmp_path / name, TABLE, options)
    assert desk.rows(tmp_path / name, options) == TABLE.to_pylist()
    desk.put(tmp_path / name, TABLE, options, mode=WriteMode.APPEND, run="again")
    assert desk.rows(tmp_path / name, options) == TABLE.to_pylist() * 2


def test_a_json_document_is_one_array(desk: Any, tmp_path: Path) -> None:
    desk.put(tmp_path / "x.json", TABLE.select(["id"]))
    assert json.loads((tmp_path / "x.json").read_text()) == [{"id": 1}, {"id": 2}, {"id": 12345678901234567}]
    desk.put(tmp_path / "e.json", TABLE.slice(0, 0))
    assert json.loads((tmp_path / "e.json").read_text()) == []


def test_what_cannot_grow_is_told(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"id":1}\n')
    with pytest.raises(SchemaError, match=r"does not end with \]") as caught:
        desk.put(tmp_path / "x.json", TABLE.select(["id"]), mode=WriteMode.APPEND)
    assert "format=jsonl" in caught.value.hint


def test_rows_that_xml_cannot_hold_are_refused(desk: Any, tmp_path: Path) -> None:
    from tongqu.core.data import Split

    table = pa.table({"a": ["good", "bad\x00"]})
    opened, write = desk.sink(tmp_path / "x.xml"), desk.writing(table)
    opened.start(write.sync, write.run, False)
    opened.open(write)
    opened.begin(write, [Split("0", "orders")])
    session = opened.session(write, Split("0", "orders"))
    written = session.write(table)
    session.close()
    assert (written.inserted, [bad.message for bad in written.refused]) == (
        1,
        ["a: XML cannot hold control characters"],
    )
    opened.close()
