"""Values that few expect, asked of a running gateway: nested ones in XML, and ones that their column cannot hold."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import duckdb
import httpx
from lxml import etree

from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: odd
connections:
  lake: {type: duckdb, path: lake.duckdb}
  mes: {type: sqlite, path: mes.db}
apis:
  nested: {source: {connection: lake, dataset: nested}, access: {public: true}}
  wide: {source: {connection: lake, dataset: wide}, access: {public: true}}
  loose: {source: {connection: mes, dataset: loose}, access: {public: true, fields: {hidden: {roles: [hr]}}}}
"""


def test_a_running_gateway_gives_or_names_them(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    with duckdb.connect(str(tmp_path / "lake.duckdb")) as lake:
        lake.execute(
            "CREATE TABLE nested AS SELECT 1 AS id, {'a': 1, 'b': [{'c': 'x'}]} AS s, [1, 2] AS l, [1, 2]::int[2] AS f,"
            """ '{"k": [1, {"z": null}]}'::json AS j, '[1, 2]'::json AS listed, map {'k': 1} AS m"""
        )
        lake.execute(
            "CREATE TABLE wide AS SELECT id, 340282366920938463463374607431768211455::uhugeint AS u, "
            "170141183460469231731687303715884105727::hugeint AS h FROM range(3) t(id)"
        )
    mes = sqlite3.connect(tmp_path / "mes.db")
    mes.execute("CREATE TABLE loose (id INTEGER PRIMARY KEY, qty NUMERIC, hidden TEXT)")
    mes.execute("INSERT INTO loose VALUES (1, 'abc', 'x')")
    mes.commit()
    mes.close()
    with Gateway(tmp_path) as gateway, httpx.Client(base_url=gateway.url, timeout=30) as client:
        schema = etree.XMLSchema(etree.fromstring(client.get("/api/v1/nested?xsd").content))
        rows = etree.fromstring(client.get("/api/v1/nested", headers={"Accept": "application/xml"}).content)
        assert schema.validate(rows), schema.error_log
        for query in ("", "?select=id,qty", "?select=qty.sum()&limit=5"):
            told = client.get(f"/api/v1/loose{query}").json()
            assert told["code"] == "value.unfit", told
            if "sum" not in query:
                assert told["errors"] == [{"parameter": "qty", "code": "value.unfit"}]
        summed = client.get("/api/v1/wide?select=u:u.sum(),h:h.sum()").text
        assert re.findall(r"\d{9,}", summed) == [str(3 * (2**128 - 1)), str(3 * (2**127 - 1))], summed
        hidden = client.get("/api/v1/loose?hidden=eq.x").json()
        assert hidden["code"] == "field.unknown"
    assert inside(tmp_path, "check", "--json").document["ok"]
