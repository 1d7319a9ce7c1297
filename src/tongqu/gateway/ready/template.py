"""An answer's bytes with gaps for what is different each time: date, age, limits, and the ids of request and trace."""

from __future__ import annotations

import secrets

from tongqu.gateway.exchange import Headers, Reply
from tongqu.gateway.serving import wire

GAPS = ("age", "ratelimit", "tongqu-request-id", "traceparent")
"""The headers whose values are gaps, in the order in which they stand, behind the date."""


def template(reply: Reply, *, head: bool) -> tuple[bytes, ...] | None:
    """The bytes around date and gaps, the body at the end of the last; None for an answer whose headers are not those
    of a hit. `head`: it answers HEAD. Raises ValueError as `wire.start`."""
    if not isinstance(reply.body, bytes) or tuple(name for name, _ in reply.headers if name in GAPS) != GAPS:
        return None
    mark = secrets.token_hex(16)
    marked: Headers = [(name, mark if name in GAPS else value) for name, value in reply.headers]
    data, _ = wire.start(Reply(reply.status, marked, reply.body), mark.encode(), close=False, head=True, old=False)
    parts = data.split(mark.encode())
    if len(parts) != len(GAPS) + 2:
        return None
    return (*parts, b"" if head or reply.status in wire.BODILESS else reply.body)
