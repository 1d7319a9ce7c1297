"""A mock ERP with a SOAP service, by spyne (Python 3.11): prints its address and serves until it is ended."""

from __future__ import annotations

from threading import Event

from tongqu.testing.services.soap_orders import SoapOrders

if __name__ == "__main__":
    with SoapOrders() as service:
        for number in range(1, 25):
            service.put(number)
        print(service.url, flush=True)  # noqa: T201
        Event().wait()
