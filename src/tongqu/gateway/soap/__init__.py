"""Published APIs as SOAP 1.1 and 1.2 services that describe themselves in WSDL."""
