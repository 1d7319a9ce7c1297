"""The proxy configuration that is shipped, in a real nginx before a real gateway."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.install import program
from tongqu.testing.services.process import free_port

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx" / "tongqu.conf"
PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
gateway:
  trusted_proxies: [127.0.0.1/32]
  addresses: {deny: [198.51.100.0/24]}
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """nginx with the shipped configuration before a gateway: its TLS port, and whom to trust."""
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / "tongqu.yaml").write_text(PROJECT)
    authority = Authority(tmp_path)
    pem = authority.issue("proxy")
    port, plain = free_port(), free_port()
    with Gateway(plant) as gateway:
        text = SHIPPED.read_text()
        for old, new in (
            ("127.0.0.1:8700", f"127.0.0.1:{urlsplit(gateway.url).port}"),
            ("listen 443", f"listen 127.0.0.1:{port}"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("/etc/tongqu/tls/chain.pem", str(pem)),
            ("/etc/tongqu/tls/key.pem", str(pem)),
            ("api.example", "localhost"),
        ):
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "tongqu.conf").write_text(text)
        folders = " ".join(
            f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;"
            f"events {{}} http {{ access_log off; {folders} include {tmp_path}/tongqu.conf; }}"
        )
        command = [str(program("nginx", "nginx")), "-c", f"{tmp_path}/nginx.conf", "-e", f"{tmp_path}/error.log"]
        with subprocess.Popen(command) as nginx:
            try:
                _listening(port, nginx)
                yield port, authority.ca_file
            finally:
                nginx.terminate()


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            continue
        return
    pytest.fail("nginx did not start")


def ask(port: int, ca_file: Path, path: str, **headers: str) -> int:
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_proxy_passes_on_and_what_callers_forge_is_thrown_away(proxy: tuple[int, Path]) -> None:
    port, ca_file = proxy
    assert ask(port, ca_file, "/healthz") == 200
    assert ask(port, ca_file, "/healthz", x_forwarded_for="198.51.100.7", x_original_url="/manage") == 200
    assert ask(port, ca_file, "/healthz?" + "a" * 10_000) in (400, 414)


@pytest.mark.parametrize(
    ("version", "good"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # the old version is what is tried
def test_the_proxy_speaks_tls_1_2_and_newer(proxy: tuple[int, Path], version: ssl.TLSVersion, good: bool) -> None:
    port, ca_file = proxy
    context = ssl.create_default_context(cafile=ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), 10) as opened:
        try:
            with context.wrap_socket(opened, server_hostname="localhost") as secured:
                assert good
                assert re.fullmatch(r"TLSv1\.[23]", secured.version() or "")
        except (ssl.SSLError, ConnectionError):
            assert not good
