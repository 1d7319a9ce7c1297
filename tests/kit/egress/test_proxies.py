"""HTTP CONNECT and SOCKS5 proxies as hops: logins, who resolves names, and whose fault it is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tongqu.core.errors import AuthError, CertificateError, ConnectError, EgressRefusedError, InvalidSettingsError
from tongqu.core.settings import Secret
from tongqu.kit.egress.policy import Grant
from tongqu.kit.egress.settings import HopSettings
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.forward_proxies import ForwardProxy, SocksProxy
from tongqu.testing.services.process import free_port
from tongqu.testing.ways import spoken, through

KINDS = [ForwardProxy, SocksProxy]


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_is_given_the_name(kind: type[ForwardProxy], echo: int) -> None:
    with kind(login="ann:s3cret/@", names={"db.plant": "127.0.0.1"}) as proxy:
        way = through({"proxy": proxy.url})
        assert spoken(way.connect("db.plant", echo)) == b"hello there"
        assert proxy.asked == [f"db.plant:{echo}"]
        assert list(way.stages("db.plant", echo)) == ["hop 1 proxy:127.0.0.1", "tcp"]


def test_socks5_is_given_the_address(echo: int) -> None:
    with SocksProxy() as proxy:
        url = proxy.url.replace("socks5h:", "socks5:")
        assert spoken(through({"proxy": url}).connect("localhost", echo)) == b"hello there"
        assert proxy.asked == [f"127.0.0.1:{echo}"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_login_is_told_without_the_password(kind: type[ForwardProxy], echo: int) -> None:
    with kind(login="ann:right") as proxy:
        for login in ("ann:wrong-s3cret", ""):
            with pytest.raises(AuthError) as refused:
                through({"proxy": proxy.url_with(login)}).connect("127.0.0.1", echo)
            assert refused.value.message == "hop 1 proxy:127.0.0.1: the proxy refused user and password"
            assert "s3cret" not in f"{refused.value.hint} {refused.value.path}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_the_proxy_cannot_reach(kind: type[ForwardProxy]) -> None:
    with kind() as proxy, pytest.raises(ConnectError) as failed:
        through({"proxy": proxy.url}).connect("127.0.0.1", free_port())
    assert failed.value.message.startswith("hop 1 proxy:127.0.0.1 gives no connection to 127.0.0.1:")


def test_the_failing_hop_is_named() -> None:
    with ForwardProxy() as first, SocksProxy() as second:
        gone = f"http://127.0.0.1:{free_port()}"
        stages = through({"proxy": first.url}, {"proxy": gone}, {"proxy": second.url}).stages("127.0.0.1", 9)
        assert next(stages) == "hop 1 proxy:127.0.0.1"
        with pytest.raises(
            ConnectError, match=r"hop 2 proxy:127\.0\.0\.1 is not reached: hop 1 proxy:.* gives no conn"
        ):
            next(stages)
    with pytest.raises(ConnectError, match=r"hop 1 proxy:127.0.0.1: tcp: .* does not answer: connection refused"):
        list(through({"proxy": gone}).stages("127.0.0.1", 9))


def test_what_is_no_proxy_is_told(echo: int) -> None:
    with pytest.raises(ConnectError, match=r"hop 1 proxy:127\.0\.0\.1: this is no SOCKS5 proxy"):
        through({"proxy": f"socks5h://127.0.0.1:{echo}"}).connect("127.0.0.1", 9, 2)
    with pytest.raises(ConnectError, match=r"hop 1 proxy:127\.0\.0\.1: this is no HTTP proxy"):
        through({"proxy": f"http://127.0.0.1:{echo}"}).connect("127.0.0.1", 9, 0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_data_is_not_resolved_by_a_proxy(kind: type[ForwardProxy], echo: int) -> None:
    with kind() as proxy:
        way = through({"proxy": proxy.url})
        with pytest.raises(EgressRefusedError):
            way.connect("localhost", echo, 5, Grant.DATA)
        with pytest.raises(EgressRefusedError):
            way.connect("169.254.169.254", 80)
        assert proxy.asked == []


def test_a_proxy_inside_tls_must_have_a_good_certificate(echo: int, tmp_path: Path) -> None:
    with ForwardProxy(tls=Authority(tmp_path).server()) as proxy:
        with pytest.raises(CertificateError, match=r"hop 1 proxy:127\.0\.0\.1: its certificate is not accepted"):
            through({"proxy": proxy.url}).connect("127.0.0.1", echo)
        assert proxy.asked == []


def test_a_proxy_inside_tls(echo: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    with ForwardProxy(tls=authority.server(), login="ann:pw") as proxy:
        opened = through({"proxy": proxy.url}).connect("127.0.0.1", echo)
        opened.sendall(b"x" * 300_000)
        with opened:
            assert len(opened.recv(6 + 300_000, socket.MSG_WAITALL)) == 6 + 300_000
        assert proxy.asked == [f"127.0.0.1:{echo}"]


def test_a_connection_through_a_proxy_takes_tcp_options(echo: int) -> None:
    with ForwardProxy() as proxy, through({"proxy": proxy.url}).connect("127.0.0.1", echo) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def test_settings_are_refused_without_showing_the_password() -> None:
    for wrong in (
        {"proxy": "ftp://ann:s3cret@h:1"},
        {"proxy": "http://ann:s3cret@h"},
        {},
        {"agent": "a", "proxy": "x"},
    ):
        with pytest.raises(InvalidSettingsError) as refused:
            HopSettings.parse(wrong)
        assert "s3cret" not in f"{refused.value} {refused.value.hint} {refused.value.path}"
    assert HopSettings(proxy=Secret("socks5h://h:1080")).network == ""
