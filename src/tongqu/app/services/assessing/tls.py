"""Looks at the TLS of a host: version, cipher, certificate, and whether it still accepts what is broken."""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from contextlib import suppress
from urllib.parse import urlsplit

from tongqu.catalog.assessing.measured import Tls
from tongqu.core.errors import TongquError
from tongqu.kit.http.settings import HttpSettings

_OLD = ((ssl.TLSVersion.TLSv1_1, "TLSv1.1"), (ssl.TLSVersion.TLSv1, "TLSv1"))
_DAY = 86_400


def looked_at(settings: HttpSettings) -> Tls:
    """The TLS of a connection's own host, by up to four handshakes through its egress; nothing is sent in them. A
    certificate that is not accepted is told, whatever `tls.verify` says."""
    parts = urlsplit(settings.base_url)
    host, port = parts.hostname or "", parts.port or 443
    place = f"{host}:{port}"
    try:
        with _shaken(settings, host, port, _context(settings, verify=True)) as sock:
            version, cipher, days = sock.version() or "", (sock.cipher() or ("",))[0], _days(sock)
        refused = ""
    except ssl.SSLCertVerificationError as error:
        refused, days = error.verify_message, None
        version, cipher = _anyhow(settings, host, port)
    except (OSError, TongquError) as error:
        return Tls(place, refused=getattr(error, "message", "") or getattr(error, "reason", "") or type(error).__name__)
    old = tuple(name for level, name in _OLD if _accepts(settings, host, port, level))
    return Tls(place, version, cipher, old, days, refused)


def _shaken(settings: HttpSettings, host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    seconds = settings.timeouts.connect_seconds
    sock: socket.socket = settings.egress(*settings.granted(), allow=settings.allow).connect(host, port, seconds)
    sock.settimeout(seconds)
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _context(settings: HttpSettings, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls.ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.tls.cert_file:
        password = settings.tls.key_password.get_secret_value() if settings.tls.key_password else ""
        context.load_cert_chain(settings.tls.cert_file, settings.tls.key_file, password=lambda: password)
    return context


def _anyhow(settings: HttpSettings, host: str, port: int) -> tuple[str, str]:
    with suppress(OSError, TongquError), _shaken(settings, host, port, _context(settings, verify=False)) as sock:
        return sock.version() or "", (sock.cipher() or ("",))[0]
    return "", ""


def _accepts(settings: HttpSettings, host: str, port: int, level: ssl.TLSVersion) -> bool:
    """Whether a handshake of an old version goes through; False too where our own library no longer can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, ValueError, TongquError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = level
        context.maximum_version = level
        with _shaken(settings, host, port, context):
            return True
    return False


def _days(sock: ssl.SSLSocket) -> int | None:
    until = (sock.getpeercert() or {}).get("notAfter")
    return int((ssl.cert_time_to_seconds(until) - time.time()) // _DAY) if isinstance(until, str) else None
