"""The documents of a WSDL: they come through the guarded HTTP client alone, or lie beside a WSDL that is a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zeep.wsdl.bindings import Soap11Binding, Soap12Binding

from tongqu.connectors.soap.rewriting import BUILT_IN, Old, rewritten
from tongqu.core.errors import AnswerError, InvalidSettingsError
from tongqu.kit.http.call import Call, Grant, Repeat
from tongqu.kit.xml_tree import tree

if TYPE_CHECKING:
    from tongqu.kit.http.client import Http

_MOST = 200


class Documents:
    """What zeep asks for documents. The first is the operator's; those that it names are data: only addresses that the
    egress rules allow, or files beside a WSDL that is a file."""

    binding_classes = (Soap11Binding, Soap12Binding)

    def __init__(self, http: Http, first: str):
        self._http, self._first = http, first
        self._folder = None if is_url(first) else Path(first).resolve().parent
        self._held: dict[str, bytes] = {}
        self.old = Old()
        """What was found in words that zeep does not know."""

    def load(self, url: Any) -> bytes:
        """The document of an address."""
        name = str(url)
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name not in self._held:
            if len(self._held) >= _MOST:
                raise AnswerError(f"the WSDL imports more than {_MOST} documents", path=self._first)
            self._held[name] = self._fetched(name)
            where = name.partition("?")[0]
            tree(self._held[name], where)  # refuses document types before anybody else sees them
            self._held[name] = rewritten(self._held[name], where, self.old)
        return self._held[name]

    def _fetched(self, name: str) -> bytes:
        if is_url(name):
            grant = Grant.OPERATOR if name == self._first else Grant.DATA
            headers = {"Accept": "text/xml, application/wsdl+xml, application/xml"}
            return self._http.send(Call("GET", name, (), headers, b"", Repeat.SAFE, grant=grant)).content
        path = Path(name.removeprefix("file://")).resolve()
        if self._folder is None or not path.is_relative_to(self._folder):
            raise AnswerError(
                f"the WSDL imports {name!r}, which is no address of a service", path=self._first,
                hint="only http and https are followed, and files in the folder of a WSDL that is a file",
            )  # fmt: skip
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidSettingsError(f"{name} cannot be read: {error.strerror}", path="wsdl") from error


def is_url(text: str) -> bool:
    """Whether it is an address, and not a file's name."""
    return urlsplit(text).scheme in ("http", "https")
