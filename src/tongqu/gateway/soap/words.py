"""The namespaces and media types of SOAP, WSDL and WS-Security, and what differs between SOAP 1.1 and 1.2."""

from __future__ import annotations

from dataclasses import dataclass

from tongqu.gateway.publication import Api

XS = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
WSDL = "http://schemas.xmlsoap.org/wsdl/"
WSDL_SOAP11 = "http://schemas.xmlsoap.org/wsdl/soap/"
WSDL_SOAP12 = "http://schemas.xmlsoap.org/wsdl/soap12/"
HTTP_TRANSPORT = "http://schemas.xmlsoap.org/soap/http"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
ANONYMOUS = f"{ADDRESSING}/anonymous"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE = f"{_OASIS}wssecurity-secext-1.0.xsd"
WSU = f"{_OASIS}wssecurity-utility-1.0.xsd"
PASSWORD_TEXT = f"{_OASIS}username-token-profile-1.0#PasswordText"
X509 = f"{_OASIS}x509-token-profile-1.0#X509v3"
BASE64 = f"{_OASIS}soap-message-security-1.0#Base64Binary"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
PROBLEM = "urn:tongqu:problem"
"""The namespace of what a fault tells."""


@dataclass(frozen=True)
class Version:
    """A version of SOAP. `sender` and `receiver` say whose fault a fault is, `role` is the attribute that addresses a
    header block, `roles` the roles that we play."""

    number: str
    namespace: str
    media: str
    sender: str
    receiver: str
    role: str
    roles: frozenset[str]


SOAP11 = Version(
    "1.1", "http://schemas.xmlsoap.org/soap/envelope/", "text/xml", "Client", "Server", "actor",
    frozenset(("", "http://schemas.xmlsoap.org/soap/actor/next")),
)  # fmt: skip
_ROLE12 = "http://www.w3.org/2003/05/soap-envelope/role/"
SOAP12 = Version(
    "1.2", "http://www.w3.org/2003/05/soap-envelope", "application/soap+xml", "Sender", "Receiver", "role",
    frozenset(("", f"{_ROLE12}next", f"{_ROLE12}ultimateReceiver")),
)  # fmt: skip
VERSIONS = {version.namespace: version for version in (SOAP11, SOAP12)}
MEDIA = {version.media: version for version in (SOAP11, SOAP12)}


def namespace(api: Api) -> str:
    """The namespace of an API's messages in one version."""
    return f"urn:tongqu:soap:{api.version}:{api.name}"
