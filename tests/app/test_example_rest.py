"""The example of a REST API runs as its first lines say."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import duckdb

from tongqu.testing.command_line import tongqu
from tongqu.testing.services.vendor_api import VendorApi

EXAMPLE = Path(__file__).parents[2] / "examples" / "rest-api"


def test_orders_come_and_results_go_back(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("mes", EXAMPLE / "mes.py")
    assert spec is not None and spec.loader is not None
    mes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mes)
    shutil.copy(EXAMPLE / "tongqu.yaml", tmp_path)
    with VendorApi(token="example") as api:
        mes.filled(api)
        environment = {"MES_URL": api.url, "MES_TOKEN": "example"}
        assert tongqu(tmp_path, "check", **environment).code == 0
        ran = tongqu(tmp_path, "run", "orders", "operations", "--json", **environment)
        assert ran.code == 0, ran.err
        with duckdb.connect(tmp_path / "lake.duckdb", read_only=True) as lake:
            assert lake.sql("SELECT count(*), max(no) FROM orders").fetchall() == [(120, "MO-00120")]
            found = lake.sql('SELECT "order", id, name FROM operations WHERE "order" = 120 ORDER BY id').fetchall()
        assert found == [(120, 1, "冲压"), (120, 2, "焊接")]
        back = tongqu(tmp_path, "run", "results_back", "--json", **environment)
        assert back.code == 3, back.err
        assert len(api.rows("results")) == 119
        bad = tongqu(tmp_path, "quarantine", "list", "--json", **environment)
        assert "v must not be bad" in bad.out
        before = len(api.calls)
        again = tongqu(tmp_path, "run", "orders", "--json", **environment)
        assert again.code == 0, again.err
        assert "since=" in api.calls[-1].target
        assert len(api.calls) - before <= 3
