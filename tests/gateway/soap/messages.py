"""Messages as other stacks write them, and what signs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tongqu.kit.drivers import driver

_XMLSEC = driver("xmlsec", "gateway")
STRONG = {"signature_method": _XMLSEC.Transform.RSA_SHA256, "digest_method": _XMLSEC.Transform.SHA256}
"""How zeep is told to sign as we accept it."""


def certificate(folder: Path, name: str = "mes") -> None:
    """`NAME.key` and a certificate `NAME.pem` of its own in the folder."""
    key = rsa.generate_private_key(65537, 2048)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(private)


SPACE = "urn:tongqu:soap:v1:items"
NS11 = "http://schemas.xmlsoap.org/soap/envelope/"
NS12 = "http://www.w3.org/2003/05/soap-envelope"
QUERY = f'<Query xmlns="{SPACE}"><fields><field>id</field></fields></Query>'


def message(body: str = QUERY, header: str = "", space: str = NS11, more: str = "") -> str:
    """An envelope with the prefix `s`; `more` are attributes of the Body."""
    head = f"<s:Header>{header}</s:Header>" if header else ""
    return f'<s:Envelope xmlns:s="{space}">{head}<s:Body{more}>{body}</s:Body></s:Envelope>'
