"""SOAP and OData services become connections by what they say of themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tongqu.kit.openapi.reading import text_of
from tongqu.testing.command_line import Done, inside
from tongqu.testing.services.odata_api import ODataApi

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def imported(folder: Path, *arguments: str) -> tuple[Done, str]:
    """What `connect import` did, and the file it wrote."""
    done = inside(folder, "connect", "import", *arguments, "--out", "tongqu.yaml", "--json", "--lang", "en")
    assert done.code == 0, done.err
    return done, (folder / "tongqu.yaml").read_text()


def synced(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = inside(folder, "sync", *arguments, "--json")
    assert done.code == 0, done.err
    streams: list[dict[str, Any]] = done.document["streams"]
    return streams


def same(folder: Path, source: str, table: str) -> bool:
    done = inside(folder, "diff", source, "sqlite:x.db", "--table", table, "--json")
    (one,) = done.document["tables"]
    return bool(one["same"]) and not one["missing"] + one["extra"] + one["different"]


def test_a_wsdl_becomes_a_connection(tmp_path: Path) -> None:
    from tongqu.testing.services.soap_orders import Order, SoapOrders

    with SoapOrders() as erp:
        erp.orders = {n: Order(id=n, no=f"N{n}", amount=Decimal(n) / 4, changed=START) for n in range(1, 8)}
        done, text = imported(tmp_path, "--wsdl", f"{erp.url}?wsdl", "--name", "erp", "--dataset", "orders")
        assert {(one["setting"], one["from"]) for one in done.document["guessed"]} == {
            ("write.look", "get_order"), ("write.upsert", "save_order"), ("write.delete", "delete_order"),
        }  # fmt: skip
        assert "# guessed from save_order" in text
        assert synced(tmp_path, "erp", "sqlite:x.db")[0]["written"] == 7
        assert same(tmp_path, "erp", "orders")
        (tmp_path / "n.csv").write_text("id,no,amount\n2,N2,9.25\n70,N70,3.50\n")
        synced(tmp_path, "file:n.csv", "erp", "--table", "n=orders", "--write", "upsert", "--key", "id")
        assert (erp.orders[2].amount, erp.orders[70].no) == (Decimal("9.25"), "N70")


def test_odata_metadata_becomes_a_connection(tmp_path: Path) -> None:
    with ODataApi(4, page=10) as sap:
        sap.columns["Orders"] = {"ID": "Edm.Int32", "Net": "Edm.Decimal;12;2", "ModifiedAt": "Edm.DateTimeOffset"}
        sap.key_of["Orders"] = ("ID",)
        sap.rows["Orders"] = {
            (str(n),): {"ID": n, "Net": "1.50", "ModifiedAt": "2026-01-01T00:00:00Z"} for n in range(1, 26)
        }
        done, _ = imported(tmp_path, "--odata", f"{sap.url}/svc/$metadata", "--name", "sap")
        assert done.document["connection"]["datasets"] == {
            "Orders": {"path": "Orders", "incremental": {"cursor": "ModifiedAt"}}
        }
        assert synced(tmp_path, "sap", "sqlite:x.db")[0]["written"] == 25
        assert same(tmp_path, "sap", "Orders")
        (tmp_path / "m.xml").write_bytes(text_of(f"{sap.url}/svc/$metadata"))
        calls = len(sap.calls)
        done = inside(tmp_path, "connect", "import", "--odata", "m.xml", "--base-url", f"{sap.url}/svc", "--json")
        assert list(done.document["connection"]["datasets"]) == ["Orders"]
        assert len(sap.calls) == calls, "a file of metadata needs no call"


def test_one_document_at_a_time(tmp_path: Path) -> None:
    assert inside(tmp_path, "connect", "import", "--wsdl", "a", "--odata", "b").code == 2
    assert inside(tmp_path, "connect", "import", "--odata", "missing.xml").code == 1
    assert inside(tmp_path, "connect", "import", "--wsdl", "missing.wsdl").code == 1
