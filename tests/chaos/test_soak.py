"""The soak in small, and what it would say of something that grows."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tongqu.testing.chaos.plot import svg
from tongqu.testing.chaos.soak import Sample, allowed, grown, soak


def test_a_short_soak(tmp_path: Path) -> None:
    said: list[str] = []
    soak(tmp_path, 8, 1, said.append)
    assert "all arrived: True; served to the end: True" in said[0], said
    lines = (tmp_path / "soak.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "seconds,rss_mb,files,threads,tree_mb"
    assert len(lines) >= 2
    assert "polyline" in (tmp_path / "soak.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(("a_minute", "flat"), [(0.0, True), (0.2, True), (5.0, False)])
def test_what_grows_is_seen(a_minute: float, flat: bool) -> None:
    samples = [Sample(float(s), 150 + s / 60 * a_minute, 40 + s // 600, 9, 200) for s in range(3600)]
    assert (grown(samples, "rss_mb") <= allowed(samples, "rss_mb")) is flat
    assert grown(samples, "files") <= allowed(samples, "files")
    assert grown(samples, "threads") == 0


def test_a_plot_is_xml_with_a_line_for_each_series() -> None:
    times = [float(number) for number in range(5000)]
    tree = ElementTree.fromstring(svg(times, {"rss_mb": times, "files": [3.0] * 5000}))  # noqa: S314  # our own
    lines = [one for one in tree if one.tag.endswith("polyline")]
    assert len(lines) == 2
    assert all(len(line.attrib["points"].split()) <= 700 for line in lines)
