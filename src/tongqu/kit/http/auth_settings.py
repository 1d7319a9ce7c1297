"""The ways a connection over HTTP can be authenticated, as they are written under `auth`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from tongqu.core.settings import Secret, Settings, titled

_S = TypeVar("_S", bound=Settings)


class ApiKey(Settings):
    """A fixed key in every call."""

    name: str = titled("名称", "Name", "X-API-Key", min_length=1)
    """Name of the header, query parameter or cookie."""
    value: Secret = titled("值", "Value")
    """The key, better given as ${secret:NAME}."""
    in_: Literal["header", "query", "cookie"] = Field("header", alias="in", title="In")
    """Where it goes."""
    prefix: str = titled("前缀", "Prefix", "")
    """Text before the key, such as `APPCODE `."""


class Basic(Settings):
    """User and password (RFC 7617)."""

    user: str = titled("用户", "User")
    """Login name."""
    password: Secret = titled("密码", "Password", Secret(""))
    """Password."""


class Bearer(Settings):
    """A token that does not change (RFC 6750)."""

    token: Secret = titled("令牌", "Token")
    """The token."""


class OAuth2(Settings):
    """A token asked for at a token address (RFC 6749), kept until shortly before it expires."""

    token_url: str = titled("令牌地址", "Token URL")
    """Address that gives tokens."""
    grant: Literal["client_credentials", "refresh_token", "password", "jwt_bearer"] = titled(
        "授权方式", "Grant", "client_credentials"
    )
    """How the token is earned."""
    client_id: str = titled("客户端标识", "Client id", "")
    """Identifier of this client."""
    client_secret: Secret | None = titled("客户端密钥", "Client secret", None)
    """Secret of this client."""
    client_auth: Literal["basic", "body", "jwt", "none"] = titled("客户端认证", "Client authentication", "basic")
    """How the client proves itself: HTTP Basic, in the body, or by a signed assertion (RFC 7523 §2.2)."""
    scope: str = titled("范围", "Scope", "")
    """Scopes, separated by spaces."""
    params: dict[str, str] = titled("其他参数", "More parameters", {})
    """Further parameters of the token call, such as `audience` or `resource`."""
    refresh_token: Secret | None = titled("刷新令牌", "Refresh token", None)
    """First refresh token; a newer one that the system gives is kept in the project's home."""
    user: str = titled("用户", "User", "")
    """Login name of grant `password`."""
    password: Secret | None = titled("密码", "Password", None)
    """Password of grant `password`."""
    key: Secret | None = titled("私钥", "Key", None)
    """Private key (PEM) that signs assertions; ${file:PATH} reads one from a file. The shared secret with HS256."""
    key_id: str = titled("密钥标识", "Key id", "")
    """`kid` of the assertion."""
    algorithm: Literal["RS256", "PS256", "ES256", "EdDSA", "HS256"] = titled("签名算法", "Algorithm", "RS256")
    """How assertions are signed."""
    issuer: str = titled("签发者", "Issuer", "")
    """`iss` of the assertion; empty is the client id."""
    subject: str = titled("主体", "Subject", "")
    """`sub` of the assertion; empty is the issuer."""
    audience: str = titled("受众", "Audience", "")
    """`aud` of the assertion; empty is the token address."""
    claims: dict[str, str] = titled("声明", "Claims", {})
    """Further claims of the assertion."""
    token_seconds: float = titled("令牌时长(秒)", "Token seconds", 3600.0, gt=0)
    """How long a token is good where the system does not say it."""

    @model_validator(mode="after")
    def _complete(self) -> OAuth2:
        needed = {
            "client_credentials": ["client_id"],
            "refresh_token": ["refresh_token"],
            "password": ["user", "password"],
            "jwt_bearer": ["key"],
        }[self.grant]
        for name in [*needed, *(["key", "client_id"] if self.client_auth == "jwt" else [])]:
            if not getattr(self, name):
                raise ValueError(f"grant {self.grant} with client_auth {self.client_auth} needs `{name}`")
        return _with_address(self, self.token_url)


class Placed(Settings):
    """Where a value goes in a call: templates by name."""

    headers: dict[str, str] = titled("请求头", "Headers", {})
    """Headers."""
    query: dict[str, str] = titled("查询参数", "Query", {})
    """Query parameters."""
    body: dict[str, str] = titled("正文", "Body", {})
    """Fields added to a body that is a JSON object or a form."""


class TokenCall(Settings):
    """A token that a call of the system's own kind gives: 企业微信, 钉钉, 飞书 and many house-made systems."""

    url: str = titled("令牌地址", "URL")
    """Address that gives tokens."""
    method: Literal["GET", "POST"] = titled("方法", "Method", "GET")
    """Method of the call."""
    query: dict[str, Secret] = titled("查询参数", "Query", {})
    """Query parameters: `{corpid: …, corpsecret: "${secret:NAME}"}`."""
    form: dict[str, Secret] = titled("表单", "Form", {})
    """Fields of a form body."""
    body: dict[str, Secret] = titled("JSON 正文", "JSON body", {})
    """Fields of a JSON body."""
    headers: dict[str, Secret] = titled("请求头", "Headers", {})
    """Headers of the call."""
    token: str = titled("令牌字段", "Token", "access_token")
    """Path of the token in the answer: `access_token`, `data.token`."""
    expires: str = titled("有效期字段", "Expires", "expires_in")
    """Path of the seconds that it is good for; `token_seconds` where the answer has none."""
    token_seconds: float = titled("令牌时长(秒)", "Token seconds", 3600.0, gt=0)
    """How long a token is good where the system does not say it."""
    signature: Signature | None = titled("签名", "Signature", None)
    """The call is signed."""
    put: Placed = titled("放置", "Put", Placed(headers={"Authorization": "Bearer {token}"}))
    """Where the token goes: `{query: {access_token: "{token}"}}`."""
    refused: dict[str, tuple[int | str, ...]] = titled("失效码", "Refused", {})
    """Answers with status 200 that mean the token is no longer good: `{errcode: [40014, 42001]}`. The call is then
    made once more with a new token."""

    @model_validator(mode="after")
    def _complete(self) -> TokenCall:
        if bool(self.form) and bool(self.body):
            raise ValueError("`form` and `body` exclude each other")
        if (self.form or self.body) and self.method == "GET":
            raise ValueError("a body needs `method: POST`")
        return _with_address(self, self.url)


class Signature(Settings):
    """Each call is signed with a secret: a text made of the call goes through a digest. Templates: docs/http.md."""

    secret: Secret = titled("密钥", "Secret")
    """The secret (SK, app secret), `{secret}` in templates."""
    key_id: str = titled("密钥标识", "Key id", "")
    """Its name (AK, app key), `{key_id}` in templates."""
    let: dict[str, str] = titled("中间值", "Let", {})
    """Named parts, made in this order before the text: `{canonical: "{method}\\n{path}"}`."""
    text: str = titled("待签文本", "Text")
    """What is signed: `{timestamp}\\n{secret}`."""
    key: str = titled("密钥模板", "Key", "{secret}")
    """Key of an HMAC."""
    digest: Literal[
        "hmac-sha256", "hmac-sha1", "hmac-sha512", "hmac-md5", "hmac-sm3", "sha256", "sha1", "sha512", "md5", "sm3"
    ] = titled("摘要算法", "Digest", "hmac-sha256")
    """The digest."""
    encoding: Literal["base64", "hex", "HEX", "base64url"] = titled("编码", "Encoding", "base64")
    """How the digest is written."""
    timestamp: Literal["s", "ms", "iso", "iso-basic", "http", "local"] = titled("时间戳", "Timestamp", "s")
    """`{timestamp}`: seconds or milliseconds since 1970, `2026-01-31T00:00:00Z`, `20260131T000000Z`, as in HTTP
    headers, or `2026-01-31 08:00:00` in China's time."""
    nonce: Literal["uuid", "hex", "digits"] = titled("随机数", "Nonce", "uuid")
    """What `{nonce}` looks like."""
    put: Placed = titled("放置", "Put")
    """Where things go; `{signature}` is the result."""

    @model_validator(mode="after")
    def _used(self) -> Signature:
        placed = [*self.put.headers.values(), *self.put.query.values(), *self.put.body.values()]
        if not any("{signature" in value for value in placed):
            raise ValueError("`put` places no {signature}")
        return self


TokenCall.model_rebuild()


class Auth(Settings):
    """How calls are authenticated; the named ways are applied in this order, most connections have one."""

    shorthand: ClassVar[Mapping[str, Any]] = {"bearer": {"type": "string", "description": "The token."}}

    api_key: ApiKey | None = titled("API 密钥", "API key", None)
    """A fixed key in a header, the query or a cookie."""
    basic: Basic | None = titled("用户名密码", "Basic", None)
    """User and password."""
    bearer: Bearer | None = titled("固定令牌", "Bearer", None)
    """A fixed token."""
    token: TokenCall | None = titled("换取令牌", "Token call", None)
    """A token that a call gives."""
    oauth2: OAuth2 | None = titled("OAuth2", "OAuth2", None)
    """OAuth 2."""
    signature: Signature | None = titled("签名", "Signature", None)
    """Each call is signed."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("bearer"), str):
            return {**values, "bearer": {"token": values["bearer"]}}
        return values

    @model_validator(mode="after")
    def _some(self) -> Auth:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError(f"name one of {', '.join(type(self).model_fields)}")
        if sum(1 for one in (self.basic, self.bearer, self.oauth2) if one) > 1:
            raise ValueError("basic, bearer and oauth2 exclude each other: they use the same header")
        return self

    def addresses(self) -> tuple[str, ...]:
        """The addresses that the operator names here."""
        return tuple(one for one in (self.token and self.token.url, self.oauth2 and self.oauth2.token_url) if one)


def _with_address(settings: _S, url: str) -> _S:
    if url.startswith("${"):  # it is judged once it is resolved
        return settings
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("a token address begins with https:// or http://, has a host and no user")
    return settings
