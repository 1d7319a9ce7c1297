"""One gateway for all rows of the table of the ten greatest risks."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from tests.owasp.house import CLIENTS, PROJECT, TABLES, House

from tongqu.testing.command_line import inside
from tongqu.testing.services import Postgres
from tongqu.testing.services.gateway import Gateway


@pytest.fixture(scope="session")
def house(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The two plants behind a running `tongqu serve`."""
    folder = tmp_path_factory.mktemp("owasp")
    shop = postgres.database("owasp")
    with psycopg.connect(shop) as connection:
        connection.execute(TABLES)
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    tokens = {}
    for name, (role, attribute) in CLIENTS.items():
        made = inside(folder, "client", "add", name, "--role", role, "--attribute", attribute, "--json", SHOP_URL=shop)
        assert made.code == 0, made.err + made.out
        told = inside(folder, "token", "issue", name, "--ttl", "60m", "--json", SHOP_URL=shop)
        tokens[name] = told.document["access_token"]
    with Gateway(folder, environ={"SHOP_URL": shop}) as gateway:
        yield House(gateway, tokens, shop)
    assert "Traceback" not in gateway.errors
    postgres.drop("owasp")
