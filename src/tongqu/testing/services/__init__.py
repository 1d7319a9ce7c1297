"""Real servers for tests on random loopback ports, with a proxy that breaks their network on demand."""

from __future__ import annotations

from tongqu.testing.services.errors import ServiceError, ServiceInstallError, ServiceMissingError, ServiceStartError
from tongqu.testing.services.install import ensure, missing
from tongqu.testing.services.mariadb import MariaDB, start_mariadb
from tongqu.testing.services.postgres import Postgres, start_postgres
from tongqu.testing.services.proxy import FaultProxy
from tongqu.testing.services.service import Service
from tongqu.testing.services.small_disk import SmallDisk

__all__ = [
    "FaultProxy",
    "MariaDB",
    "Postgres",
    "Service",
    "ServiceError",
    "ServiceInstallError",
    "ServiceMissingError",
    "ServiceStartError",
    "SmallDisk",
    "ensure",
    "missing",
    "start_mariadb",
    "start_postgres",
]
