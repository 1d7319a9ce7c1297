"""WSDL 1.1 of an API for one caller: document/literal wrapped, one binding for SOAP 1.1 and one for SOAP 1.2."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from tongqu.gateway.rest.xml import element_name
from tongqu.gateway.soap.schema import problem_schema, schema
from tongqu.gateway.soap.shapes import Shape
from tongqu.gateway.soap.words import HTTP_TRANSPORT, PROBLEM, WSDL, WSDL_SOAP11, WSDL_SOAP12, namespace


def action(space: str, operation: str) -> str:
    """The SOAPAction of an operation."""
    return f"{space}/{operation}"


def wsdl(shape: Shape, address: str) -> bytes:
    """The document. `address` is where the service is called. Ports are `Soap11` and `Soap12`."""
    space, name = namespace(shape.api), element_name(shape.api.name)
    title = " / ".join(shape.api.entry.title.values()) or shape.api.name
    about = f"{title}\n{shape.api.entry.description}".strip()
    ports = [_message(one) for one in shape.operations]
    operations = "".join(_operation(one) for one in shape.operations)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<wsdl:definitions xmlns:wsdl="{WSDL}" xmlns:s11="{WSDL_SOAP11}" xmlns:s12="{WSDL_SOAP12}"'
        f' xmlns:t={quoteattr(space)} xmlns:p="{PROBLEM}" name={quoteattr(name)} targetNamespace={quoteattr(space)}>',
        f"<wsdl:documentation>{escape(about)}</wsdl:documentation>",
        f"<wsdl:types>{problem_schema()}{schema(shape)}</wsdl:types>",
        *ports,
        '<wsdl:message name="problem"><wsdl:part name="problem" element="p:problem"/></wsdl:message>',
        f'<wsdl:portType name="{name}">{operations}</wsdl:portType>',
        _binding(shape, space, "Soap11", "s11"),
        _binding(shape, space, "Soap12", "s12"),
        f'<wsdl:service name="{name}">',
        *(
            f'<wsdl:port name="{port}" binding="t:{port}"><{prefix}:address location={quoteattr(address)}/></wsdl:port>'
            for port, prefix in (("Soap11", "s11"), ("Soap12", "s12"))
        ),
        "</wsdl:service></wsdl:definitions>",
    ]
    return "".join(parts).encode()


def _message(operation: str) -> str:
    return "".join(
        f'<wsdl:message name="{word}"><wsdl:part name="parameters" element="t:{word}"/></wsdl:message>'
        for word in (operation, f"{operation}Response")
    )


def _operation(name: str) -> str:
    return (
        f'<wsdl:operation name="{name}"><wsdl:input message="t:{name}"/><wsdl:output message="t:{name}Response"/>'
        '<wsdl:fault name="problem" message="t:problem"/></wsdl:operation>'
    )


def _binding(shape: Shape, space: str, port: str, prefix: str) -> str:
    body = f'<{prefix}:body use="literal"/>'
    ways = f"<wsdl:input>{body}</wsdl:input><wsdl:output>{body}</wsdl:output>"
    ways += f'<wsdl:fault name="problem"><{prefix}:fault name="problem" use="literal"/></wsdl:fault>'
    operations = "".join(
        f'<wsdl:operation name="{name}"><{prefix}:operation soapAction={quoteattr(action(space, name))}/>'
        f"{ways}</wsdl:operation>"
        for name in shape.operations
    )
    return (
        f'<wsdl:binding name="{port}" type="t:{element_name(shape.api.name)}">'
        f'<{prefix}:binding style="document" transport="{HTTP_TRANSPORT}"/>{operations}</wsdl:binding>'
    )
