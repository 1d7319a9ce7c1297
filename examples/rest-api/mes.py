"""A mock MES: 120 orders, two operations each, and a place for results. Prints its address and runs until Ctrl+C."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event

from tongqu.testing.services.vendor_api import VendorApi

ORDERS = 120


def filled(api: VendorApi) -> VendorApi:
    """The API with its tables."""
    now = datetime.now(UTC)
    orders = [{"id": n, "no": f"MO-{n:05d}", "at": now - timedelta(hours=n)} for n in range(1, ORDERS + 1)]
    api.table("orders", orders)
    for n in range(1, ORDERS + 1):
        api.table(f"operations_{n}", [{"id": step, "name": name} for step, name in enumerate(("冲压", "焊接"), 1)])
    api.table("results", [{"id": 1, "v": "unknown"}])
    return api


if __name__ == "__main__":
    with filled(VendorApi(token="example")) as api:  # noqa: S106  # a mock's token
        print(f"export MES_URL={api.url} MES_TOKEN=example", flush=True)  # noqa: T201
        Event().wait()
