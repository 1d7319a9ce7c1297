"""The page that tells what was measured."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import MARIADB, POSTGRES, World


@dataclass(frozen=True)
class Measured:
    """A scenario with its rows, the machine's load (1 minute) before and after, the day, how many rounds there were and
    how many rows the table had."""

    scenario: Scenario
    rows: Sequence[Row]
    load: tuple[float, float]
    day: str
    rounds: int
    size: int

    @property
    def ours(self) -> Sequence[Row]:
        """The rows that are held against the goal: all of them where there is no limit to compare with, else those of
        Tongqu's commands; peers that stand between them are only shown."""
        if self.scenario.measure == "peak":
            return self.rows
        return [row for row in self.rows[1:] if row.method.startswith("tongqu")] or self.rows[1:]

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


@dataclass(frozen=True)
class Stage:
    """Where it was measured: the machine and the servers."""

    machine: str
    servers: tuple[str, ...]

    @classmethod
    def of(cls, world: World) -> Stage:
        """This machine and the world's servers."""
        used = [f"{world.postgres.label} ({_settings(POSTGRES)})"]
        if "mariadb" in world.__dict__:
            used.append(f"{world.mariadb.label} ({_settings(MARIADB)})")
        machine = (
            f"{os.cpu_count()} cores ({_processor()}), {_memory_gib()} GiB, {platform.system()} {platform.release()}, "
            f"Python {sys.version.split()[0]}"
        )
        return cls(machine, tuple(used))


def page(measured: Sequence[Measured], stage: Stage) -> str:
    """docs/benchmarks.md."""
    return "\n".join([*_head(stage), *_speed(measured), *_calls(measured), *_memory(measured), *_tail()]) + "\n"


def _head(stage: Stage) -> list[str]:
    return [
        "# Benchmarks",
        "",
        "Tongqu against the databases' own bulk tools, which are the limit that no mover can pass by much. This page "
        "is written by the command below; run it again on your machine before you believe any absolute number.",
        "",
        "- Command: `python -m bench`, or `python -m bench --only NAME,…` for the scenarios that are named; the others "
        "stay as they were measured last. Limit and Tongqu work in turn, one round before that does not count, and "
        "medians are given; tables have 12 mixed columns.",
        f"- Machine: {stage.machine}",
        *(f"- {server}" for server in stage.servers),
        "- Whole processes are timed, from the shell: Tongqu's times include starting Python and planning.",
        "- Ratio = limit's time / our time, round by round; CPU ratio = the same for CPU seconds of commands and "
        "servers together, which other work on the machine disturbs less. Peak memory is of our process tree with its "
        "shell. The last column tells the day, the rounds, and the load average before and after.",
        "- The defect line of the first two rows is a requirement; the others are our own alarm, be"
        "low which `make bench` fails.",
        "",
    ]


def _settings(of: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in of.items())


def _when(found: Measured) -> str:
    return f"{found.day}, {found.rounds} × {found.size:,} rows, load {found.load[0]:.1f}–{found.load[1]:.1f}"


def _speed(measured: Sequence[Measured]) -> list[str]:
    lines = [
        "## Speed",
        "",
        "| scenario | limit | limit s | ours s | ratio | goal | defect line | CPU ratio | peak MiB | | measured |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --- | --- |",
    ]
    for found in measured:
        scenario = found.scenario
        limit = found.rows[0]
        if scenario.measure in ("peak", "value") or limit.told:
            continue
        for row in found.rows[1:]:
            if scenario.measure == "extra":
                value, goal, defect = f"{row.extra:+.2f} s", f"≤ +{scenario.goal:g} s", f"+{scenario.defect:g} s"
            else:
                value, goal, defect = f"{row.ratio:.2f}", f"≥ {scenario.goal:g}", f"{scenario.defect:g}"
            verdict = (scenario.verdict(row) if row in found.ours else row.method) + _noise(limit, row)
            lines.append(
                f"| {scenario.title} | {_cell(scenario.limit)} | {_span(limit)} | {_span(row)} | **{value}** | {goal} "
                f"| {defect} | {row.cpu_ratio:.2f} | {row.peak_mb:.0f} | {verdict} | {_when(found)} |"
            )
    return [*lines, ""]


def _calls(measured: Sequence[Measured]) -> list[str]:
    """What was said of single rows: rates and percentiles."""
    lines = ["## Rates and latencies", "", "| scenario | who | seen | ratio | goal | | measured |"]
    lines.append("| --- | --- | --- | --: | --: | --- | --- |")
    for found in measured:
        scenario = found.scenario
        for row in found.rows if scenario.measure == "ratio" else found.ours:
            if row.told:
                judged = scenario.verdict(row) if row in found.ours else "limit"
                ratio = f"{row.ratio:.2f}" if scenario.measure == "ratio" else ""
                goal = f"≥ {scenario.goal:,g}"
                lines.append(
                    f"| {scenario.title} | {row.method} | {row.told} | {ratio} | {goal} | {judged} | {_when(found)} |"
                )
    return [*lines, ""] if len(lines) > 4 else []


def _memory(measured: Sequence[Measured]) -> list[str]:
    lines = ["## Memory", "", "| scenario | rows | s | peak MiB | goal | | measured |"]
    lines.append("| --- | --- | --: | --: | --: | --- | --- |")
    for found in measured:
        if found.scenario.measure == "peak":
            lines += [
                f"| {found.scenario.title} | {row.method} | {row.seconds:.1f} | **{row.peak_mb:.0f}** "
                f"| ≤ {found.scenario.goal:.0f} | {found.scenario.verdict(row)} | {_when(found)} |"
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
