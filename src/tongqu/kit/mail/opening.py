"""Opens a connection to a mail server through the egress, and says in our words what goes wrong with it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from tongqu.core.errors import CertificateError, ConnectError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.mail.settings import MailServer
from tongqu.kit.tls import context


def opened(server: MailServer, egress: Egress, port: int) -> socket.socket:
    """A connected socket whose reads end by `read_seconds`; encrypted already where `security` is `tls`. Raises
    ConnectError, CertificateError."""
    plain = egress.connect(server.host, port, server.connect_seconds)
    plain.settimeout(server.read_seconds)
    if server.security != "tls":
        return plain
    with translated(f"{server.host}:{port}"):
        try:
            return context(server.tls).wrap_socket(plain, server_hostname=server.host)
        except BaseException:
            plain.close()
            raise


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of sockets and TLS as ours."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"tls: the certificate of {where} is not accepted: {error.verify_message}",
            path=where,
            hint="name the certificate authority in tls.ca_file, or correct the host name",
        ) from None
    except TimeoutError:
        raise ConnectError(
            f"{where} said nothing in time", path=where, hint="try again, or raise read_seconds"
        ) from None
    except (OSError, EOFError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConnectError(f"the connection to {where} broke: {said}", path=where, hint="try again") from None
