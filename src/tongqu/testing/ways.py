"""Ways through hops as tests write them, and what to say at their end."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.hops import build
from tongqu.kit.egress.settings import HopSettings
from tongqu.testing.services import Sshd


def through(*hops: Mapping[str, Any]) -> Egress:
    """The way through these hops."""
    return Egress(via=build([HopSettings.parse(hop) for hop in hops]))


def spoken(opened: socket.socket, words: bytes = b"there") -> bytes:
    """All that the echo says to these words, until it hangs up."""
    with opened:
        opened.sendall(words)
        opened.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: opened.recv(65536), b""))


def jump(sshd: Sshd, **more: Any) -> dict[str, Any]:
    """The settings of the jump host."""
    own = {"host": sshd.host, "port": sshd.port, "user": sshd.user, "key_file": str(sshd.key_file)}
    pinned = {} if "known_hosts" in more else {"fingerprint": sshd.fingerprint}
    return {"ssh": own | pinned | more}
