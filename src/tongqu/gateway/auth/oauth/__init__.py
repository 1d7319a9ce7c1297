"""The authorization server: `/oauth/…` and `/.well-known/…` (RFC 6749, 7009, 7523, 7636, 7662, 8414, 8693, 8705)."""
