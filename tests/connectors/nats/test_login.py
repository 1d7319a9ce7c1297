"""TLS and logins by NKey, on a server of their own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tongqu.connectors.nats.settings import NatsSettings
from tongqu.connectors.nats.source import NatsSource
from tongqu.connectors.nats.wire import _crc, _signed
from tongqu.core.errors import AuthError, CertificateError
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.nats import Nats, start_nats


def _seed(raw: bytes) -> str:
    """An NKey seed of a user: `S` and `U` in five bits each, 32 bytes, CRC."""
    told = bytes([(18 << 3) | (20 << 3 >> 5), 0]) + raw
    return base64.b32encode(told + _crc(told).to_bytes(2, "little")).rstrip(b"=").decode()


SEED, OTHER = _seed(bytes(range(32))), _seed(bytes(32))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nats, Path]]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with start_nats(authority, _signed(SEED, "", "")[0]) as server:
        yield server, authority.ca_file


def _check(place: tuple[Nats, Path], seed: str, ca_file: str | None) -> list[str]:
    server, _ = place
    settings = {"host": "localhost", "port": server.port, "seed": seed, "tls": {"ca_file": ca_file}}
    with closing(NatsSource(NatsSettings.parse(settings))) as source:
        return list(source.check())


def test_every_stage_passes(place: tuple[Nats, Path]) -> None:
    assert _check(place, SEED, str(place[1])) == [
        "dns", "tcp", "tls: TLSv1.3", f"login (NATS {_version(place)})", "jetstream", "streams: 0",
    ]  # fmt: skip


def _version(place: tuple[Nats, Path]) -> str:
    from tongqu.connectors.nats.jetstream import JetStream

    settings = {"host": "localhost", "port": place[0].port, "seed": SEED, "tls": {"ca_file": str(place[1])}}
    with closing(JetStream(NatsSettings.parse(settings))) as jetstream:
        return jetstream.wire.version


def test_another_seed_is_refused(place: tuple[Nats, Path]) -> None:
    with pytest.raises(AuthError, match="refused the login"):
        _check(place, OTHER, str(place[1]))


def test_a_certificate_of_nobody_is_refused(place: tuple[Nats, Path]) -> None:
    with pytest.raises(CertificateError, match="tls"):
        _check(place, SEED, None)
