"""TLS of a connection: what its settings say, and the context made of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, Settings, titled

if TYPE_CHECKING:
    import ssl


class Tls(Settings):
    """TLS of a connection; version 1.2 is the least."""

    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authorities to trust instead of the system's."""
    cert_file: str | None = titled("客户端证书", "Client certificate", None)
    """Client certificate (PEM), where the system asks for one (mTLS); shown to the connection's own host and that of
    its token address only."""
    key_file: str | None = titled("客户端私钥", "Client key", None)
    """Private key of the client certificate; empty if it is in the same file."""
    key_password: Secret | None = titled("私钥密码", "Key password", None)
    """Password of the private key."""
    verify: bool = titled("校验证书", "Verify", True)
    """Whether the system's certificate must be valid; off only for a test system."""


def context(tls: Tls, *, certificate: bool = True) -> ssl.SSLContext:
    """The context, with the client certificate if `certificate`; raises InvalidSettingsError for files that cannot be
    used."""
    import ssl

    try:
        made = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettingsError(f"tls.ca_file cannot be used: {error}", path="tls.ca_file") from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if certificate and tls.cert_file:
        password = tls.key_password.get_secret_value() if tls.key_password else ""
        try:
            made.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: password)
        except (OSError, ssl.SSLError) as error:
            raise InvalidSettingsError(f"the client certificate cannot be used: {error}", path="tls") from None
    return made
