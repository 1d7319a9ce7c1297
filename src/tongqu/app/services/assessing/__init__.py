"""How a vendor's interface is assessed: the document, calls, the report in its forms."""
