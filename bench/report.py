"""The page that tells what was measured."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import MARIADB, POSTGRES, World


@dataclass(frozen=True)
class Measured:
    """A scenario with its rows, and the machine's load (1 minute) before and after."""

    scenario: Scenario
    rows: Sequence[Row]
    load: tuple[float, float]

    @property
    def ours(self) -> Sequence[Row]:
        """The rows that are held against the goal: all of them where there is no limit to compare with."""
        return self.rows if self.scenario.measure == "peak" else self.rows[1:]

    @property
    def worst(self) -> str:
        """The worst verdict."""
        order = ("met", "below goal", "defect")
        return max((self.scenario.verdict(row) for row in self.ours), key=order.index)


def line(scenario: Scenario, row: Row) -> str:
    """A row for people at a terminal."""
    if row.told:
        return f"{row.method:45} {row.told}  ratio {row.ratio:.2f}  value {row.value:.3f}"
    numbers = (
        f"{row.seconds:7.2f} s ({row.fastest:.2f}–{row.slowest:.2f})  cpu {row.cpu:6.2f} s  {row.peak_mb:4.0f} MiB"
    )
    return f"{row.method:45} {numbers}  ratio {row.ratio:.2f}  cpu ratio {row.cpu_ratio:.2f}  {row.extra:+.2f} s"


def page(measured: Sequence[Measured], world: World, command: str) -> str:
    """docs/benchmarks.md."""
    return (
        "\n".join(
            [*_head(measured, world, command), *_speed(measured), *_calls(measured), *_memory(measured), *_tail()]
        )
        + "\n"
    )


def _head(measured: Sequence[Measured], world: World, command: str) -> list[str]:
    settings = ", ".join(f"{k} = {v}" for k, v in POSTGRES.items())
    others = ", ".join(f"{k} = {v}" for k, v in MARIADB.items())
    loads = [value for found in measured for value in found.load]
    used = [world.postgres.label + f" ({settings})"]
    if "mariadb" in world.__dict__:
        used.append(world.mariadb.label + f" ({others})")
    return [
        "# Benchmarks",
        "",
        "Tongqu against the databases' own bulk tools, which are the limit that no mover can pass by much. This page "
        "is written by the command below; run it again on your machine before you believe any absolute number.",
        "",
        f"- Command: `{command.strip()}` ({world.rows:,} rows × 12 mixed columns, median of {world.rounds} rounds, "
        "limit and Tongqu in turn, one round before that does not count)",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {os.cpu_count()} cores ({_processor()}), {_memory_gib()} GiB, {platform.system()} "
        f"{platform.release()}, Python {sys.version.split()[0]}; load average while measuring "
        f"{min(loads, default=0):.1f}–{max(loads, default=0):.1f}",
        *(f"- {server}" for server in used),
        "- Whole processes are timed, from the shell: Tongqu's times include starting Python and planning.",
        "- Ratio = limit's time / our time, round by round; CPU ratio = the same for CPU seconds of commands and "
        "servers together, which other work on the machine disturbs less. Peak memory is of our process tree with its "
        "shell.",
        "- The defect line of the first two rows is a requirement; the others are our own alarm, be"
        "low which `make bench` fails.",
        "",
    ]


def _speed(measured: Sequence[Measured]) -> list[str]:
    lines = [
        "## Speed",
        "",
        "| scenario | limit | limit s | ours s | ratio | goal | defect line | CPU ratio | peak MiB | |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --- |",
    ]
    for found in measured:
        scenario = found.scenario
        if scenario.measure in ("peak", "value"):
            continue
        limit = found.rows[0]
        for row in found.ours:
            if scenario.measure == "extra":
                value, goal, defect = f"{row.extra:+.2f} s", f"≤ +{scenario.goal:g} s", f"+{scenario.defect:g} s"
            else:
                value, goal, defect = f"{row.ratio:.2f}", f"≥ {scenario.goal:g}", f"{scenario.defect:g}"
            lines.append(
                f"| {scenario.title} | {_cell(scenario.limit)} | {_span(limit)} | {_span(row)} | **{value}** | {goal} "
                f"| {defect} | {row.cpu_ratio:.2f} | {row.peak_mb:.0f} | {scenario.verdict(row)}{_noise(limit, row)} |"
            )
    return [*lines, ""]


def _calls(measured: Sequence[Measured]) -> list[str]:
    """What was said of single rows: rates and percentiles of published APIs."""
    lines = ["## Published APIs", "", "| scenario | who | measured | goal | |", "| --- | --- | --- | --: | --- |"]
    for found in measured:
        scenario = found.scenario
        for row in found.rows if scenario.measure == "ratio" else found.ours:
            if row.told:
                judged = scenario.verdict(row) if row in found.ours else "limit"
                lines.append(f"| {scenario.title} | {row.method} | {row.told} | ≥ {scenario.goal:g} | {judged} |")
    return [*lines, ""] if len(lines) > 4 else []


def _memory(measured: Sequence[Measured]) -> list[str]:
    lines = ["## Memory", "", "| scenario | rows | s | peak MiB | goal | |", "| --- | --- | --: | --: | --: | --- |"]
    for found in measured:
        if found.scenario.measure == "peak":
            lines += [
                f"| {found.scenario.title} | {row.method} | {row.seconds:.1f} | **{row.peak_mb:.0f}** "
                f"| ≤ {found.scenario.goal:.0f} | {found.scenario.verdict(row)} |"
                for row in found.ours
            ]
    return [*lines, ""]


def _tail() -> list[str]:
    return [
        "## What is compared",
        "",
        "- The limits do less: they infer and check nothing, keep no checkpoint, count nothing, cannot go on after a "
        "kill, and overwrite the table in place. Tongqu builds a new generation beside the visible table and swaps it.",
        "- The native pipe from MariaDB writes NULL as the word `NULL`, so a text of that value is lost in it; the one "
        "to MariaDB is given its casts by hand.",
        "- `pg_dump | psql` commits statement by statement.",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _noise(*rows: Row) -> str:
    """A warning where rounds differ by half or more: such a ratio proves nothing, the CPU ratio says more."""
    return " (noisy)" if any(row.slowest > 1.5 * row.fastest for row in rows) else ""


def _span(row: Row) -> str:
    return f"{row.seconds:.2f} ({row.fastest:.2f}–{row.slowest:.2f})"


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
