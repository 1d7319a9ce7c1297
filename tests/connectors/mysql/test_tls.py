"""TLS to MariaDB: used when offered, demanded when asked for, and checked against an authority when told to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Read, Split
from tongqu.core.errors import ConnectError
from tongqu.kit.egress.settings import HopSettings
from tongqu.testing.services import start_mariadb
from tongqu.testing.services.forward_proxies import ForwardProxy


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A certificate for 127.0.0.1 and db.plant that is its own authority, readable by the server's account."""
    place = Path(tempfile.mkdtemp(prefix="tongqu-tls-"))
    place.chmod(0o755)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tongqu test")])
    now = datetime.now(UTC)
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("db.plant")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def url(folder: Path, mariadb: object) -> Iterator[str]:
    """A database of a server with that certificate; `mariadb` only says whether servers can be had at all."""
    del mariadb
    with start_mariadb({"ssl_cert": str(folder / "cert.pem"), "ssl_key": str(folder / "key.pem")}) as server:
        yield server.database()


def stages(url: str, host: str = "", via: str = "") -> list[str]:
    """The stages of a check, after a row was read; also as another host and through a proxy."""
    settings = from_url(url)
    if via:
        settings = settings.model_copy(update={"host": host, "via": (HopSettings.parse({"proxy": via}),)})
    source = MysqlSource(settings)
    try:
        found = list(source.check())
        source._db().run("CREATE OR REPLACE TABLE t (id int PRIMARY KEY)")
        dataset = source.datasets(["t"])[0]
        assert [batch.rows.num_rows for batch in source.read(Read(dataset, Split("0", "t")))] == [0]
    finally:
        source.close()
    return found


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-identity"])
def test_tls_is_used_for_reading_and_for_the_catalog(mode: str, url: str, folder: Path) -> None:
    assert "tls" in stages(f"{url}?ssl-mode={mode}&ssl-ca={folder / 'cert.pem'}")


def test_tls_checks_the_hosts_name_through_a_proxy(url: str, folder: Path) -> None:
    demanded = f"{url}?ssl-mode=verify-identity&ssl-ca={folder / 'cert.pem'}"
    with ForwardProxy(names={"db.plant": "127.0.0.1", "other.plant": "127.0.0.1"}) as proxy:
        found = stages(demanded, "db.plant", proxy.url)
        assert found[:4] == ["hop 1 proxy:127.0.0.1", "tcp", "tls", "login"]
        with pytest.raises(ConnectError, match=r"certificate is not valid for 'other\.plant'"):
            stages(demanded, "other.plant", proxy.url)


def test_tls_can_be_turned_off(url: str) -> None:
    assert "tls: not used" in stages(f"{url}?ssl-mode=DISABLED")


def test_an_unknown_authority_is_refused(url: str) -> None:
    with pytest.raises(ConnectError, match="certificate verify failed"):
        stages(f"{url}?ssl-mode=verify-ca")


def test_a_server_without_tls_is_refused_when_tls_is_demanded(mysql_url: str) -> None:
    with pytest.raises(ConnectError, match="SSL"):
        stages(f"{mysql_url}?ssl-mode=required")
