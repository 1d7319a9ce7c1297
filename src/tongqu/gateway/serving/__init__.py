"""Carries requests to the gateway: HTTP/1.1, TLS and WebSocket over asyncio, with one strict parser and bounds."""
