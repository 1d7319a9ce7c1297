"""A URL finds its connector without importing all the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tongqu.core.errors import UnknownConnectorError
from tongqu.core.registry import by_url, connector, names


def imported(url: str) -> set[str]:
    """The connectors that a new process imports for a URL."""
    code = (
        "import sys; from tongqu.core.registry import by_url; by_url(sys.argv[1]); "
        "print(*{m.split('.')[2] for m in sys.modules if m.startswith('tongqu.connectors.')})"
    )
    done = subprocess.run([sys.executable, "-c", code, url], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_only_those_that_may_mean_a_url_are_imported() -> None:
    assert imported("postgresql://db/x") == {"postgres"}
    assert imported("mariadb://db/x") == {"mysql"}
    assert imported("http://api/orders") == {"file", "rest"}


def test_each_scheme_finds_a_connector_that_has_it() -> None:
    for name in names():
        for scheme in connector(name).schemes:
            found = by_url(f"{scheme}://host/thing")
            assert scheme in found.schemes


def test_one_of_several_that_share_a_scheme_claims_what_is_its_own() -> None:
    assert by_url("https://host/orders.csv").name == "file"
    assert by_url("https://host/orders").name == "rest"


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(UnknownConnectorError, match="unknown URL scheme 'gopher'") as caught:
        by_url("gopher://old")
    assert "postgresql" in caught.value.hint
