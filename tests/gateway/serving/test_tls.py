"""TLS: what it is spoken with, and who showed a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tongqu.core.errors import InvalidSettingsError
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.publication import Publication
from tongqu.gateway.serving.server import tls
from tongqu.gateway.site import Route, Site
from tongqu.testing.running_site import RunningSite
from tongqu.testing.services.certificates import Authority


class Certificate:
    """Answers with the length of the certificate that was shown."""

    async def handle(self, request: Request) -> Reply:
        return Reply(200, body=f"{request.scheme} {len(request.certificate or b'')}".encode())


def site() -> Site:
    return Site([Route("/", Certificate(), "open"), Route("/who", Certificate(), "open")], Publication("1"))


def asked(running: RunningSite, context: ssl.SSLContext) -> bytes:
    with context.wrap_socket(running.connect(), server_hostname="127.0.0.1") as line:
        line.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return running.rest(line)


def test_callers_may_show_a_certificate_and_old_tls_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("mes")
    with RunningSite(site, context=tls(str(server), "", str(authority.ca_file))) as running:
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        plain = asked(running, context)
        assert plain.endswith(b"https 0")
        assert b"strict-transport-security" in plain
        context.load_cert_chain(client)
        assert not asked(running, context).endswith(b"https 0")

        old = ssl.create_default_context(cafile=str(authority.ca_file))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.raises(ssl.SSLError):
            asked(running, old)


def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "theirs")
    server, client = authority.issue("server"), other.issue("mes")
    with RunningSite(site, context=tls(str(server), "", str(authority.ca_file))) as running:
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        context.load_cert_chain(client)
        try:
            answer = asked(running, context)
        except (ssl.SSLError, ConnectionError):
            answer = b""
        assert answer == b""


def test_a_certificate_that_cannot_be_used_is_told_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError) as missing:
        tls(str(tmp_path / "nothing.pem"), "")
    assert missing.value.path == "--tls-cert"
    (tmp_path / "wrong.pem").write_text("no certificate")
    with pytest.raises(InvalidSettingsError):
        tls(str(tmp_path / "wrong.pem"), "")
