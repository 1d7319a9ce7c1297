"""Shows among the metrics what goes on by itself and fails at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tongqu.gateway.metrics.measures import Metrics
    from tongqu.kit.trouble import Trouble


def show_trouble(metrics: Metrics, trouble: Trouble) -> None:
    """`tongqu_trouble` is 1 while the part fails, `tongqu_trouble_attempts` counts its failures."""
    lasting, ever = "Whether a part of the server fails at the moment", "How often a part of the server failed"
    metrics.gauge("tongqu_trouble", lasting, lambda: float(trouble.lasting), part=trouble.what)
    metrics.gauge("tongqu_trouble_attempts", ever, lambda: float(trouble.total), part=trouble.what)
