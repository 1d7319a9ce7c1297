"""What changes, told while it changes: the feed's readers, WebSocket and server-sent events."""
