"""TLS, with a broker of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tongqu.connectors.mqtt.settings import MqttSettings, from_url
from tongqu.connectors.mqtt.source import MqttSource
from tongqu.core.errors import CertificateError
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.mosquitto import Mosquitto, start_mosquitto


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with start_mosquitto(Authority(tmp_path_factory.mktemp("authority"))) as server:
        yield server


def _check(server: Mosquitto, ca_file: Path | None) -> list[str]:
    values = from_url(server.url).model_dump() | {"host": "localhost", "tls": {"ca_file": ca_file and str(ca_file)}}
    return list(MqttSource(MqttSettings.parse(values)).check())


def test_a_known_authority_is_trusted(server: Mosquitto) -> None:
    assert server.authority is not None
    assert "tls: TLSv1.3" in _check(server, Path(server.authority.ca_file))


def test_an_unknown_authority_is_not(server: Mosquitto) -> None:
    with pytest.raises(CertificateError, match="tls"):
        _check(server, None)
