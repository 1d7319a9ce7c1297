"""A small plot: one line over time above the other, as SVG without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, GAP = 640, 120, 70, 30
POINTS = 600
"""A line has at most so many points; more are thinned out."""


def svg(times: Sequence[float], lines: Mapping[str, Sequence[float]]) -> str:
    """The document: for each line a plot of its own from zero to its largest value, over the same time."""
    height = len(lines) * (HEIGHT + GAP) + GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']  # fmt: skip
    long = max(times, default=0.0) or 1.0
    for number, (name, values) in enumerate(lines.items()):
        top = GAP + number * (HEIGHT + GAP)
        most = max(values, default=0.0) or 1.0
        step = max(len(values) // POINTS, 1)
        points = " ".join(
            f"{LEFT + WIDTH * time / long:.1f},{top + HEIGHT * (1 - value / most):.1f}"
            for time, value in list(zip(times, values, strict=True))[::step]
        )
        parts += [
            f'<text x="{LEFT}" y="{top - 8}">{name}</text>',
            f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:g}</text>',
            f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
            f'<polyline points="{points}" fill="none" stroke="#1677ff" stroke-width="1.2"/>',
        ]
    parts.append(f'<text x="{LEFT + WIDTH}" y="{height - 8}" text-anchor="end">{long:.0f} s</text></svg>')
    return "\n".join(parts) + "\n"
