"""What an answer tells about limits: draft-ietf-httpapi-ratelimit-headers-10, Retry-After, and the older headers.

The draft is no standard yet; this file is the only place that knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from tongqu.gateway.exchange import Headers
from tongqu.gateway.limit.rates import Rate, Taken
from tongqu.gateway.problems import Problem

QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


def told(taken: Sequence[Taken], *, old: bool = False) -> Headers:
    """`RateLimit-Policy` with every rate, `RateLimit` with what is left of each; with `old` also `RateLimit-Limit`,
    `-Remaining` and `-Reset` of the tightest."""
    if not taken:
        return []
    headers = [
        ("ratelimit-policy", ", ".join(policy(one.rate) for one in taken)),
        ("ratelimit", ", ".join(f'"{one.rate.name}";r={one.left};t={ceil(one.reset)}' for one in taken)),
    ]
    if old:
        tightest = min(taken, key=lambda one: one.left)
        headers += [
            ("ratelimit-limit", str(tightest.rate.burst)),
            ("ratelimit-remaining", str(tightest.left)),
            ("ratelimit-reset", str(ceil(tightest.reset))),
        ]
    return headers


def policy(rate: Rate) -> str:
    """A rate as the draft writes it: `"api";q=600;w=60`."""
    return f'"{rate.name}";q={rate.requests};w={rate.seconds}'


def exceeded(taken: Sequence[Taken], *, old: bool = False) -> Problem:
    """The refusal of a request that was not let through: 429, when to come again, and which rates were violated."""
    wait = max(1, ceil(max(one.wait for one in taken)))
    violated = [one.rate.name for one in taken if not one.allowed]
    return Problem(
        "limit.exceeded",
        headers=[("retry-after", str(wait)), *told(taken, old=old)],
        more={"type": QUOTA, "violated-policies": violated},
    )


def too_many_at_once(limit: int) -> Problem:
    """The refusal of a client that has as many requests running as it may."""
    return Problem(
        "limit.exceeded",
        headers=[("retry-after", "1"), ("ratelimit-policy", f'"concurrent";q={limit};qu="concurrent-requests"')],
        more={"type": QUOTA, "violated-policies": ["concurrent"]},
    )


def overloaded(seconds: int = 1) -> Problem:
    """The refusal of a request that there is no capacity for at the moment: 503."""
    return Problem("overloaded", headers=[("retry-after", str(seconds))], more={"type": REDUCED})
