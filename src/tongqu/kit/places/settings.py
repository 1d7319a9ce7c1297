"""What a connection to files elsewhere can be told: address, credentials, trust, limits of time."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from pydantic import field_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, Settings, titled
from tongqu.kit.mail.settings import MailFilter
from tongqu.kit.tls import Tls

PORTS = {
    "sftp": 22, "ftp": 21, "ftps": 21, "s3": 443, "webdav": 80, "davs": 443, "smb": 445, "http": 80, "https": 443,
    "imap": 143, "imaps": 993,
}  # fmt: skip
"""The schemes of places and the ports they have by themselves."""


class PlaceTimeouts(Settings):
    """How long a place is waited for."""

    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting and logging in after this many seconds."""
    read_seconds: float = titled("读取超时(秒)", "Read timeout, seconds", 60.0, gt=0)
    """Give up when nothing arrives for this many seconds."""


class PlaceSettings(Settings):
    """Files on another machine; all of it is left out for files on this one."""

    address: str = titled("地址", "Address", "")
    """Where the files are, if not on this machine: scheme, host and port of the `url` (`sftp://host:2222`; of s3 the
    bucket, of smb the host). Schemes: sftp, ftp, ftps (TLS at once on port 990, else by AUTH TLS), s3, webdav and davs
    (with TLS), smb (the path begins with the share), http and https (one file, read only), imap (STARTTLS) and imaps
    (the path is a mailbox, the files are its attachments, read only)."""
    user: str = titled("用户", "User", "")
    """Login name (`DOMAIN\\\\name` for smb); of s3 the access key's id."""
    password: Secret | None = titled("密码", "Password", None)
    """Password, better given as ${env:NAME} or ${secret:NAME}; of s3 the secret access key."""
    key_file: str | None = titled("私钥文件", "Private key", None)
    """File with the private key for sftp."""
    key: Secret | None = titled("私钥", "Private key", None)
    """The private key itself, for example ${secret:NAME}, instead of its file."""
    key_password: Secret | None = titled("私钥密码", "Key password", None)
    """Password of the private key."""
    host_key: str | None = titled("主机密钥", "Host key", None)
    """The sftp server's key: its fingerprint (`SHA256:…`) or the key itself (`ssh-ed25519 AAAA…`)."""
    known_hosts: str | None = titled("known_hosts 文件", "Known hosts", None)
    """File with the keys of sftp servers where `host_key` is left out. Left out as well: `~/.ssh/known_hosts`. A server
    whose key is not known is refused."""
    tls: Tls = titled("TLS", "TLS", Tls())
    """Certificates of ftps, davs, https and s3."""
    region: str = titled("区域", "Region", "us-east-1")
    """Region of an s3 bucket."""
    endpoint: str = titled("服务端点", "Endpoint", "")
    """Address of an s3-compatible service (`https://minio.example:9000`); left out: Amazon's of the region."""
    path_style: bool | None = titled("路径样式", "Path style", None)
    """Whether an s3 bucket stands in the path and not in the host name. Left out: yes with an `endpoint`."""
    session_token: Secret | None = titled("会话令牌", "Session token", None)
    """Token of temporary s3 credentials."""
    mail: MailFilter = titled("邮件筛选", "Mail filter", MailFilter())
    """Of imap and imaps: which messages' attachments are meant."""
    query: Secret | None = titled("查询串", "Query", None)
    """What stands after `?` in an http or https address; it may hold a key."""
    name_encoding: str = titled("文件名编码", "Encoding of names", "utf-8")
    """How an ftp or sftp server writes file names, for example `gb18030`."""
    timeouts: PlaceTimeouts = titled("超时", "Timeouts", PlaceTimeouts())
    """Limits of time."""
    spool_mb: int = titled("暂存上限(MB)", "Spool, MB", 20_480, ge=1)
    """Most disk space for copies of files that must be sought (Parquet, workbooks) or unpacked; they are kept only
    while a command runs."""

    @field_validator("name_encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError as error:
            raise ValueError(str(error)) from None
        return value


@dataclass(frozen=True)
class Address:
    """A place's scheme and server, and the path in it."""

    scheme: str
    host: str
    port: int
    user: str = ""
    path: str = ""
    """Without leading `/`, decoded."""
    query: str = ""
    """Of http and https, as it stands."""

    @property
    def shown(self) -> str:
        """The server without credentials: `sftp://user@host` (the port only where it is not the scheme's own)."""
        user = f"{quote(self.user)}@" if self.user else ""
        return f"{self.scheme}://{user}{self.authority}"

    @property
    def authority(self) -> str:
        """Host, and port if it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parts_of(settings: PlaceSettings, path: str) -> Address:
    """The parts of a place's address. Raises InvalidSettingsError for an unknown scheme, no host, or a path that leads
    out of itself."""
    try:
        parts = urlsplit(settings.address)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise InvalidSettingsError(f"this is no address: {error}", path="address") from None
    scheme = parts.scheme.lower()
    if scheme not in PORTS or not host or parts.path.strip("/") or "@" in parts.netloc:
        raise InvalidSettingsError(
            "the address of files elsewhere is a scheme and a host",
            path="address",
            hint=f"for example sftp://host:22; schemes: {', '.join(PORTS)}",
        )
    if ".." in path.split("/"):
        raise InvalidSettingsError("a path may not hold '..'", path="path", hint="write the path that is meant")
    query = settings.query.get_secret_value() if settings.query and scheme in ("http", "https") else ""
    if scheme == "s3":
        host = parts.netloc
    return Address(scheme, host, port or PORTS[scheme], settings.user, path.strip("/"), query)


def taken_apart(url: str) -> dict[str, str]:
    """`address`, `path`, `user`, `password` and (of http) `query` of a URL, for settings; empty parts left out. The
    path is decoded, except of http. Raises InvalidSettingsError."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    if not place:
        raise InvalidSettingsError("the address names no host", path="url", hint=f"write {scheme}://host/path/*.csv")
    web = scheme.lower() in ("http", "https")
    found = {
        "address": f"{scheme.lower()}://{place}", "path": f"/{path if web else unquote(path)}", "user": unquote(user),
        "password": unquote(password), "query": query if web else "",
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}
