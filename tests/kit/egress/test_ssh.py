"""A real OpenSSH server as a jump host: pinned host keys, one login for many connections, and what goes wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tongqu.core.errors import AuthError, ConnectError, InvalidSettingsError
from tongqu.kit.egress.settings import HopSettings
from tongqu.testing.services import Sshd
from tongqu.testing.services.forward_proxies import ForwardProxy, SocksProxy
from tongqu.testing.services.process import free_port
from tongqu.testing.ways import jump, spoken, through


def logins(sshd: Sshd) -> int:
    """How many logins the server has accepted so far."""
    return sshd.log_file.read_text().count("Accepted publickey")


def test_connections_share_one_login(sshd: Sshd, echo: int) -> None:
    way, before = through(jump(sshd)), logins(sshd)
    first, second = way.connect("127.0.0.1", echo), way.connect("127.0.0.1", echo)
    assert spoken(second) == b"hello there"
    assert spoken(first, b"x" * 1_000_000) == b"hello " + b"x" * 1_000_000
    assert list(through(jump(sshd)).stages("127.0.0.1", echo)) == ["hop 1 ssh:127.0.0.1", "tcp"]
    assert logins(sshd) - before <= 1


def test_the_host_key_may_be_named_by_a_file(sshd: Sshd, echo: int) -> None:
    way = through(jump(sshd, known_hosts=str(sshd.known_hosts)))
    assert spoken(way.connect("localhost", echo)) == b"hello there"


def test_another_host_key_is_refused_before_the_login(sshd: Sshd, echo: int, tmp_path: Path) -> None:
    before = logins(sshd)
    (tmp_path / "known_hosts").write_text(f"other.example {sshd.host_key}\n[127.0.0.1]:1 {sshd.host_key}\n")
    for pinned in ({"fingerprint": f"SHA256:{'A' * 43}"}, {"known_hosts": str(tmp_path / "known_hosts")}):
        with pytest.raises(AuthError) as refused:
            through(jump(sshd, **pinned)).connect("127.0.0.1", echo)
        assert refused.value.message == "hop 1 ssh:127.0.0.1: the host key is not the one that was pinned"
        assert sshd.fingerprint in refused.value.hint or "no key for this host" in refused.value.hint
        assert not refused.value.retryable
    assert logins(sshd) == before


def test_an_unknown_host_key_is_never_trusted() -> None:
    with pytest.raises(InvalidSettingsError, match="an unknown one is never trusted"):
        HopSettings.parse({"ssh": {"host": "jump", "user": "ann", "password": "s3cret"}})


def test_a_refused_login(sshd: Sshd, echo: int, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", tmp_path / "key"], check=True)
    with pytest.raises(AuthError, match=r"hop 1 ssh:127\.0\.0\.1: the login was refused"):
        through(jump(sshd, key_file=str(tmp_path / "key"), passphrase="word")).connect("127.0.0.1", echo)
    with pytest.raises(InvalidSettingsError, match="the private key cannot be used"):
        through(jump(sshd, key=(tmp_path / "key").read_text(), passphrase="s3cret")).connect("127.0.0.1", echo)
    with pytest.raises(InvalidSettingsError, match="the private key cannot be read: no such file"):
        through(jump(sshd, key_file=str(tmp_path / "nothing"))).connect("127.0.0.1", echo)


def test_the_failing_hop_is_named(sshd: Sshd, echo: int) -> None:
    with pytest.raises(ConnectError, match=r"hop 1 ssh:127.0.0.1 gives no connection to 127.0.0.1:\d+: connection ref"):
        through(jump(sshd)).connect("127.0.0.1", free_port())
    with pytest.raises(ConnectError, match=r"hop 2 ssh:127\.0\.0\.1 is not reached: hop 1 ssh:.* gives no conn"):
        list(through(jump(sshd), jump(sshd, port=free_port())).stages("127.0.0.1", echo))
    with pytest.raises(ConnectError, match=r"hop 1 ssh:127\.0\.0\.1: "):
        through(jump(sshd, port=echo)).connect("127.0.0.1", echo, 1)


def test_hops_follow_one_another(sshd: Sshd, echo: int) -> None:
    with ForwardProxy() as first, SocksProxy(names={"db.plant": "127.0.0.1"}) as last:
        way = through({"proxy": first.url}, jump(sshd), {"proxy": last.url})
        assert spoken(way.connect("db.plant", echo)) == b"hello there"
        assert first.asked == [f"127.0.0.1:{sshd.port}"]
        assert last.asked == [f"db.plant:{echo}"]
        assert list(way.stages("db.plant", echo)) == [
            "hop 1 proxy:127.0.0.1", "hop 2 ssh:127.0.0.1", "hop 3 proxy:127.0.0.1", "tcp",
        ]  # fmt: skip


def test_a_login_that_broke_is_made_anew(sshd: Sshd, echo: int) -> None:
    way = through(jump(sshd))
    assert spoken(way.connect("127.0.0.1", echo)) == b"hello there"
    sshd.kill9()
    with pytest.raises(ConnectError):
        way.connect("127.0.0.1", echo, 5)
    sshd.restart()
    assert spoken(way.connect("127.0.0.1", echo)) == b"hello there"
