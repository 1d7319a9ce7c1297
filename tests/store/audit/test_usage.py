"""Who used which field, summed by day."""

from __future__ import annotations

from pathlib import Path

from tongqu.store.audit.usage import Usage, Used, usage
from tongqu.store.home import Home

MES, ERP = "client:mes", "client:erp"


def test_uses_are_summed_over_days_and_processes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert usage(home, "lots", "v1") == {}
    one, two = Usage.open(home), Usage.open(home)
    one.add({("lots", "v1", MES, ""): Used("2026-03-01T10:00:00.000Z", 5),
             ("lots", "v1", MES, "weight"): Used("2026-03-01T10:00:00.000Z", 5)})  # fmt: skip
    two.add({("lots", "v1", MES, "weight"): Used("2026-03-02T09:00:00.000Z", 2),
             ("lots", "v2", ERP, ""): Used("2026-03-02T09:00:00.000Z", 1)})  # fmt: skip
    assert usage(home, "lots", "v1") == {
        (MES, ""): Used("2026-03-01T10:00:00.000Z", 5),
        (MES, "weight"): Used("2026-03-02T09:00:00.000Z", 7),
    }
    assert one.usage("lots", "v1", since="2026-03-02") == {(MES, "weight"): Used("2026-03-02T09:00:00.000Z", 2)}
    assert list(two.last_calls()) == [("lots", "v1", MES), ("lots", "v2", ERP)]
    one.add({("lots", "v2", ERP, ""): Used("2027-06-01T00:00:00.000Z", 1)})
    assert one.usage("lots", "v1") == {}
    one.close()
    two.close()
