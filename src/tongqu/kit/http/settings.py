"""What every connection over HTTP can be told: address, credentials, TLS, limits, retries, cache, recording."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from tongqu.core.settings import Names, Settings, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.http.auth_settings import Auth
from tongqu.kit.tls import Tls
from tongqu.meaning.masks import KEYED, Mask

MIB = 1 << 20


class Timeouts(Settings):
    """How long a call may take."""

    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting, with TLS, after this many seconds."""
    read_seconds: float = titled("读取超时(秒)", "Read timeout, seconds", 60.0, gt=0)
    """Give up when nothing arrives for this many seconds."""
    call_seconds: float = titled("整次调用(秒)", "Whole call, seconds", 300.0, gt=0)
    """Limit of one call with all its attempts and waits; of a streamed answer the time spent waiting for it."""
    bytes_per_second: int = titled("最低速度", "Least speed", 64, ge=0)
    """Give up when an answer arrives more slowly than this over half a minute; 0 is no limit."""


class Limits(Settings):
    """How much is asked of the system, and how much it may send."""

    concurrency: int = titled("并发数", "Concurrency", 4, ge=1, le=256)
    """Calls under way at the same time."""
    interval_seconds: float = titled("最小间隔(秒)", "Interval, seconds", 0.0, ge=0)
    """Least time between the beginnings of two calls."""
    calls: int = titled("每时段调用数", "Calls", 0, ge=0)
    """At most this many calls begin in `per_seconds`; 0 is no limit. Limits that the system tells (`RateLimit`,
    `X-RateLimit-*`, `Retry-After`) are kept in any case."""
    per_seconds: float = titled("时段(秒)", "Per seconds", 60.0, gt=0)
    """The period of `calls`."""
    patience_seconds: float = titled("限流等待(秒)", "Patience, seconds", 120.0, ge=0)
    """Longest wait because of a limit; a longer one fails as RateLimitedError."""
    answer_bytes: int = titled("应答上限(字节)", "Answer bytes", 256 * MIB, ge=1024)
    """Largest answer that is kept in memory, decompressed."""
    stream_bytes: int = titled("流式应答上限(字节)", "Stream bytes", 8192 * MIB, ge=1024)
    """Largest answer that is read while it arrives, decompressed."""


class Retry(Settings):
    """When and how often a call is made again. Calls that must not have their effect twice are repeated only if they
    were not sent at all or refused as too many."""

    attempts: int = titled("最多尝试", "Attempts", 5, ge=1, le=20)
    """Attempts a call has, the first included."""
    first_seconds: float = titled("首次等待(秒)", "First wait, seconds", 0.5, ge=0)
    """Wait before the second attempt; it doubles each time, and half of it is random."""
    longest_seconds: float = titled("最长等待(秒)", "Longest wait, seconds", 30.0, ge=0)
    """Longest wait between two attempts."""
    statuses: tuple[int, ...] = titled("可重试状态码", "Statuses", (500, 502, 503, 504))
    """Status codes after which a safe call is made again; 408, 425 and 429 always are."""
    share: float = titled("重试占比", "Share", 0.2, ge=0, le=10)
    """Repeated calls may be this share of all calls, beyond ten, so that a system that is down is not flooded."""
    rest_failures: int = titled("熔断次数", "Failures before a rest", 20, ge=0)
    """After this many failures one after the other the system is left alone for a while; 0 is never."""
    rest_seconds: float = titled("熔断时长(秒)", "Rest, seconds", 30.0, gt=0)
    """How long it is left alone; then a single call tries."""


Codes = tuple[int | str | bool, ...]


class Outcome(Settings):
    """Rules for answers that tell success and failure by a code in their JSON body, mostly with status 200."""

    code: str = titled("代码位置", "Code", "errcode")
    """Where the code stands: keys with points between them. An answer that has none is judged by its status alone."""
    ok: Codes = titled("成功代码", "Ok", (0,))
    """Codes that mean success; every other one is an error."""
    message: str = titled("信息位置", "Message", "errmsg")
    """Where the words for people stand."""
    auth: Codes = titled("认证失败代码", "Auth", ())
    """Codes that refuse the credentials or the token. A token is asked for anew once."""
    denied: Codes = titled("无权限代码", "Denied", ())
    """Codes that say a right is missing."""
    limited: Codes = titled("限流代码", "Limited", ())
    """Codes that say too many calls were made; the call is made again later."""
    again: Codes = titled("可重试代码", "Again", ())
    """Codes that say the system is busy or failed by itself; a call that may be repeated is made again."""
    missing: Codes = titled("不存在代码", "Missing", ())
    """Codes that say there is no such thing."""


class Caching(Settings):
    """Which answers of reading calls are kept in the project's home."""

    seconds: float = titled("有效期(秒)", "Seconds", 0.0, ge=0)
    """An answer younger than this saves the call, whatever the system says about keeping. With 0 the system decides
    (`Cache-Control`, `Expires`), and an answer that is too old is asked for again with `If-None-Match` or
    `If-Modified-Since`."""
    bytes: int = titled("容量(字节)", "Bytes", 256 * MIB, ge=MIB)
    """Most that is kept; what was not used for longest goes first."""


class Recording(Settings):
    """Answers kept as files, for tests and demonstrations without the system."""

    mode: Literal["record", "replay"] = titled("方式", "Mode")
    """`record` makes calls and writes them down without secrets; `replay` makes none and answers from the file."""
    name: str = titled("名称", "Name", "recording", pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the recording in the connection's folder."""
    file: str | None = titled("文件", "File", None)
    """Path of the recording where it is kept elsewhere, for example with the tests."""
    masks: dict[str, Mask] = titled("脱敏", "Masks", {})
    """Fields with personal data and how they are hidden: a name at any depth (`phone`) or a path (`data.list.phone`)
    with a mask as in step `mask`."""
    ignore: Names = titled("忽略参数", "Ignored parameters", ())
    """Query parameters that differ each time (a nonce, a time) and say nothing about which call it is."""

    @field_validator("masks")
    @classmethod
    def _plain(cls, value: dict[str, Mask]) -> dict[str, Mask]:
        if any(mask.with_ in KEYED for mask in value.values()):
            raise ValueError("this mask needs a key, which a recording must not depend on; use `keep` or `constant`")
        return value


class HttpSettings(Networked):
    """What all connections over HTTP share; a connector's settings extend it."""

    base_url: str = titled("地址", "Base URL")
    """Address that paths are appended to: https://mes.example/api."""
    auth: Auth | None = titled("认证", "Authentication", None)
    """How calls are authenticated."""
    headers: dict[str, str] = titled("请求头", "Headers", {})
    """Headers of every call to the connection's own host."""
    query: dict[str, str] = titled("查询参数", "Query", {})
    """Query parameters of every call to the connection's own host."""
    cookies: bool = titled("会话 Cookie", "Cookies", True)
    """Whether cookies that the system sets (a session) are sent back to it, as long as the connection is in use."""
    tls: Tls = titled("TLS", "TLS", Tls())
    """Certificates."""
    timeouts: Timeouts = titled("超时", "Timeouts", Timeouts())
    """Limits of time."""
    limits: Limits = titled("限制", "Limits", Limits())
    """How many calls, how large answers."""
    retry: Retry = titled("重试", "Retry", Retry())
    """Repeated calls."""
    outcome: Outcome | None = titled("结果代码", "Outcome", None)
    """Codes in the body that say how a call went, where the system answers errors with status 200. Answers are then
    read whole before their records are."""
    cache: Caching | None = titled("缓存", "Cache", None)
    """Kept answers of reading calls; nothing is kept without it."""
    record: Recording | None = titled("录制", "Recording", None)
    """Recording or replaying all calls."""
    allow: Names = titled("允许的网段", "Allowed networks", ())
    """Private networks (10.2.0.0/16) that links in the data may lead to, besides the connection's own host."""
    sandbox: bool = titled("沙箱", "Sandbox", False)
    """Whether this is a sandbox of the vendor's: `tongqu test` may then also make calls that change something."""
    idempotency_header: str = titled("幂等键请求头", "Idempotency header", "Idempotency-Key")
    """Header that carries the key by which the system knows a repeated call again."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address begins with https:// or http:// and has a host")
        if "@" in parts.netloc:
            raise ValueError("user and password belong under `auth: {basic: …}`")
        if parts.fragment or any(ord(c) < 0x21 for c in value):
            raise ValueError("an address has no #, space or control character")
        return value

    @model_validator(mode="after")
    def _secure(self) -> HttpSettings:
        if self.tls.key_file and not self.tls.cert_file:
            raise ValueError("tls.key_file needs tls.cert_file")
        return self

    def identity(self) -> str:
        """See Endpoint.identity."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"

    def granted(self) -> frozenset[tuple[str, int]]:
        """Hosts and ports that the operator named: the connection's own and those of its token addresses."""
        urls = [self.base_url, *(self.auth.addresses() if self.auth else ())]
        found = [urlsplit(url) for url in urls]
        return frozenset((p.hostname or "", p.port or (443 if p.scheme == "https" else 80)) for p in found)
