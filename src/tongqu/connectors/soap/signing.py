"""WS-Security headers of a call: username token, timestamp and signature, as zeep makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from zeep.wsse.signature import BinarySignature
from zeep.wsse.username import UsernameToken
from zeep.wsse.utils import WSU, get_security_header

from tongqu.core.errors import InvalidSettingsError, MissingDriverError

if TYPE_CHECKING:
    from tongqu.connectors.soap.settings import Security


class _Timestamp:
    """Adds `wsu:Timestamp` to the security header."""

    def __init__(self, seconds: int):
        self._seconds = seconds

    def apply(self, envelope: Any, headers: Any) -> tuple[Any, Any]:
        """See zeep: the envelope with the header, and the HTTP headers."""
        now = datetime.now(UTC).replace(microsecond=0)
        until = now + timedelta(seconds=self._seconds)
        token = WSU.Timestamp(WSU.Created(_zulu(now)), WSU.Expires(_zulu(until)))
        get_security_header(envelope).append(token)
        return envelope, headers


class _Signed:
    """Signs; a key or certificate that cannot be used is an error of the settings."""

    def __init__(self, signature: Any, failure: type[Exception]):
        self._signature, self._failure = signature, failure

    def apply(self, envelope: Any, headers: Any) -> tuple[Any, Any]:
        """See zeep."""
        try:
            found: tuple[Any, Any] = self._signature.apply(envelope, headers)
        except self._failure:
            raise InvalidSettingsError(
                "the call cannot be signed by this key and certificate", path="security",
                hint="both must be PEM, the key RSA, and key_password its password",
            ) from None  # fmt: skip
        return found


def security_of(told: Security | None) -> list[Any] | None:
    """What zeep applies to each envelope, in order; the signature comes last and covers the timestamp."""
    if told is None:
        return None
    found: list[Any] = []
    if told.user:
        password = told.password.get_secret_value() if told.password else ""
        found.append(UsernameToken(told.user, password, use_digest=told.digest, zulu_timestamp=True))
    if told.lifetime_seconds:
        found.append(_Timestamp(told.lifetime_seconds))
    if told.cert_file and told.key_file:
        found.append(_signature(told, told.key_file, told.cert_file))
    return found


def _signature(told: Security, key: str, certificate: str) -> Any:
    try:
        import xmlsec
    except ImportError as error:
        raise MissingDriverError("signing SOAP calls needs xmlsec", hint="pip install 'tongqu[soap]'") from error
    password = told.key_password.get_secret_value() if told.key_password else None
    try:
        made = BinarySignature(
            key, certificate, password, xmlsec.constants.TransformRsaSha256, xmlsec.constants.TransformSha256
        )
        return _Signed(made, xmlsec.Error)
    except OSError as error:
        raise InvalidSettingsError(f"{error.filename} cannot be read: {error.strerror}", path="security") from error


def _zulu(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
