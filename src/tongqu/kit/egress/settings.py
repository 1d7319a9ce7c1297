"""Settings of the way to a system: the field `via` that every connection over the network has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from tongqu.core.settings import Endpoint, Secret, Settings, titled

if TYPE_CHECKING:
    from tongqu.kit.egress.access import Access
    from tongqu.kit.egress.dial import Egress

_FINGERPRINT = r"^SHA256:[A-Za-z0-9+/]{43}=?$"
PROXIES = ("http", "https", "socks5", "socks5h")


class SshHop(Settings):
    """A jump host: an SSH server that opens connections from where it stands. Its host key must be known beforehand."""

    host: str = titled("主机", "Host", min_length=1)
    """Name or address of the SSH server."""
    port: int = titled("端口", "Port", 22, ge=1, le=65535)
    """TCP port."""
    user: str = titled("用户", "User", min_length=1)
    """Login name."""
    key_file: str | None = titled("私钥文件", "Private key file", None)
    """Path of the private key's file."""
    key: Secret | None = titled("私钥", "Private key", None)
    """The private key itself, instead of a file: ${secret:NAME}."""
    passphrase: Secret | None = titled("私钥口令", "Passphrase", None)
    """Passphrase of the private key."""
    password: Secret | None = titled("密码", "Password", None)
    """Password, if the server takes one; better given as ${env:NAME} or ${secret:NAME}."""
    known_hosts: str | None = titled("已知主机文件", "Known hosts file", None)
    """Path of a known_hosts file that has the server's host key."""
    fingerprint: str | None = titled("主机密钥指纹", "Host key fingerprint", None, pattern=_FINGERPRINT)
    """The host key's fingerprint as `ssh-keygen -l` prints it: SHA256:…"""

    @model_validator(mode="after")
    def _pinned(self) -> SshHop:
        if (self.known_hosts is None) == (self.fingerprint is None):
            raise ValueError("name the host key by either known_hosts or fingerprint: an unknown one is never trusted")
        if self.key is None and self.key_file is None and self.password is None:
            raise ValueError("name a key_file, a key or a password to log in with")
        return self


class HopSettings(Settings):
    """One hop: exactly one of `proxy`, `ssh` and `agent`."""

    proxy: Secret | None = titled("代理", "Proxy", None)
    """`http://user:password@host:port` (CONNECT), `https://…` (the same inside TLS), `socks5://…` (names are resolved
    here) or `socks5h://…` (names are resolved by the proxy)."""
    ssh: SshHop | None = titled("SSH 跳板机", "SSH jump host", None)
    """An SSH server to go through."""
    agent: str | None = titled("代理程序", "Agent", None, pattern=r"^[A-Za-z0-9_.-]+$")
    """The name of an agent at another site, which has dialled out to a hub and opens connections from where it is."""
    hub: str = titled("集线器", "Hub", "", pattern=r"^([A-Za-z0-9_.:\[\]-]+:[0-9]+)?$")
    """host:port of the agent's hub; empty means the one that runs in this project's home."""
    token: Secret | None = titled("令牌", "Token", None)
    """Token for using agents of the hub; not needed for the hub in this project's home."""
    fingerprint: str | None = titled("集线器密钥指纹", "Hub key fingerprint", None, pattern=_FINGERPRINT)
    """Fingerprint of the hub's key as it prints it; not needed for the hub in this project's home."""

    @model_validator(mode="after")
    def _one(self) -> HopSettings:
        if sum(given is not None for given in (self.proxy, self.ssh, self.agent)) != 1:
            raise ValueError("a hop is exactly one of proxy, ssh and agent")
        if self.agent is None and (self.hub or self.token or self.fingerprint):
            raise ValueError("hub, token and fingerprint go with an agent")
        if self.hub and (self.token is None or self.fingerprint is None):
            raise ValueError("a hub is named with its token and fingerprint")
        return self

    @field_validator("proxy")
    @classmethod
    def _a_proxy(cls, value: Secret | None) -> Secret | None:
        try:
            parts = urlsplit(value.get_secret_value()) if value is not None else None
            fits = parts is None or (parts.scheme in PROXIES and bool(parts.hostname) and bool(parts.port))
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"proxy is a URL with host and port; its scheme is one of {', '.join(PROXIES)}")
        return value

    def entering(self, access: Access) -> HopSettings:
        """This hop; an agent that names no hub with this one."""
        if self.agent is None or self.hub:
            return self
        known = {"hub": access.listen, "token": Secret(access.token), "fingerprint": access.fingerprint}
        return self.model_copy(update=known)

    @property
    def network(self) -> str:
        """What tells the private network behind the hop from others: `ssh:HOST` or `agent:NAME`; a proxy has none."""
        if self.ssh is not None:
            return f"ssh:{self.ssh.host}"
        return f"agent:{self.agent}" if self.agent is not None else ""


class Networked(Endpoint):
    """Settings of a connection over the network; derive from it instead of from Endpoint, and open every connection by
    what `egress()` gives."""

    via: tuple[HopSettings, ...] = titled("经由", "Via", ())
    """Proxies, jump hosts and agents to go through, in this order."""

    def egress(self, *granted: tuple[str, int], allow: Iterable[str] = ()) -> Egress:
        """The way out of this connection: `granted` are the (host, port) it names, `allow` networks (`10.2.0.0/16`)
        that addresses from its data may be in besides the public ones. Cheap, connects nowhere."""
        from tongqu.kit.egress.dial import Egress
        from tongqu.kit.egress.hops import build
        from tongqu.kit.egress.networks import networks

        return Egress(granted, build(self.via), allow=networks(allow))

    def entering(self, access: Access | None) -> Self:
        """These settings with the hub in the project's home (None: none runs) where an agent names none."""
        if access is None or all(hop.agent is None for hop in self.via):
            return self
        return self.model_copy(update={"via": tuple(hop.entering(access) for hop in self.via)})

    @property
    def network(self) -> str:
        """The private network that the connection's addresses belong to: the last jump host or agent on the way."""
        return next((hop.network for hop in reversed(self.via) if hop.network), "")


def rooted_hop(values: Any, folder: Path) -> Any:
    """A hop's plain values with relative paths of its files made to start at the project's folder."""
    if not isinstance(values, Mapping) or not isinstance(values.get("ssh"), Mapping):
        return values
    ssh = dict(values["ssh"])
    for name in ("key_file", "known_hosts"):
        text = ssh.get(name)
        if isinstance(text, str) and text and not text.startswith(("~", "/")):
            ssh[name] = str(folder.absolute() / text)
    return {**values, "ssh": ssh}
