"""The page of guarantees: what is promised for which source and target, which faults were done, and which tests ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PROMISES: Mapping[str, tuple[str, str]] = {
    "G-transactional": (
        "resumable source → PostgreSQL, MySQL and MariaDB (InnoDB), SQLite, DuckDB",
        "exactly-once effect: data, quarantine, counts and position in one transaction",
    ),
    "G-files": ("… → files, object stores", "exactly-once effect: names that are known before, the manifest last"),
    "G-kafka": ("… → Kafka", "exactly-once with transactions; else at-least-once"),
    "G-calls": (
        "… → REST, SOAP, GraphQL",
        "at-least-once delivery; once-only effect where the peer honours a key or can be asked; a ledger of every call",
    ),
    "G-push": ("webhook, `/ingest`, the embedded queue", "durable from the moment it is acknowledged"),
    "G-replace": ("`replace` anywhere with generations", "a reader sees the old rows or the new ones; undo puts back"),
    "G-lost": ("a position that is gone", "the stream stops with the repair; it never goes on elsewhere"),
    "G-late": ("incremental reads of PostgreSQL", "what commits late is found"),
}
"""Where, and what is promised."""

FAULTS: Mapping[str, str] = {
    "F1": "kill -9 at every step",
    "F2": "crash between the sink's commit and what follows it",
    "F3": "the source was told before the position is durable",
    "F4": "many rows at one position, crash in the middle",
    "F5": "source or target server killed and started again",
    "F6": "the reply to a COMMIT is lost",
    "F7": "the line is cut, reset, or hangs",
    "F8": "a slow line or a slow target",
    "F9": "poison rows and messages",
    "F10": "the disk is full",
    "F11": "fsync fails; writes that were never synced are lost",
    "F12": "state files torn or with flipped bits",
    "F13": "the clock jumps; hours that come twice or never",
    "F14": "delivered again",
    "F15": "delivered in another order",
    "F16": "the schema changes in the middle of a run",
    "F17": "a transaction commits late, below the cursor",
    "F18": "equal cursors at a page's border",
    "F19": "a cursor finer than the target's type",
    "F20": "acknowledged in another order",
    "F21": "two schedulers; a process that slept past its lease",
    "F22": "deadlock, serialization failure, locks, too many connections",
    "F23": "a webhook receiver that fails, hangs, redirects, is gone, or shows a wrong certificate",
    "F24": "configuration and rights change during traffic",
    "F25": "another version of the program on the same state",
    "F26": "hours of random faults",
}
"""The catalogue of faults."""

NOT_HERE: Mapping[str, str] = {
    "F11": "DuckDB 2.0 overwrites blocks of 256 KiB before it syncs: one of which only some pages were written makes "
    "its file unreadable, which is told; whole blocks in any order are survived",
    "F25": "in part: there is no earlier release whose binary could run beside; older state is read, newer refused",
    "F26": "in CI for seconds only; `make soak SECONDS=3600` for an hour",
}  # fmt: skip
"""Why a fault, or a part of it, is not tried here."""

INVARIANTS = (
    "I1 nothing acknowledged is lost",
    "I2 each key is there once",
    "I3 the last version of a key wins, and no reader sees an older one again (it may while an interrupted first load "
    "of `cdc` catches up)",
    "I4 no reader sees a part of a batch (a transaction's rows of one table)",
    "I5 the stored position never goes back nor ahead of the rows",
    "I6 after healing, source and target are equal",
    "I7 bad rows keep no others out",
    "I8 memory is bounded",
    "I9 every failed run names its cause",
)
"""What seeded drills look at."""


def page(proven: Mapping[str, Sequence[str]]) -> str:
    """The page of what tests have proven: names of promises and faults with the tests that ran and passed."""
    parts = [
        "# Guarantees 保证\n\nEach line is backed by tests that ran and passed when this page was made. `tongqu "
        "drill --faults all` does faults of one's own choice to a clone and prints a certificate; `make chaos` goes on "
        "with new seeds, `make soak` for hours.\n\n## What is promised\n\n| where | effect | tests |\n|---|---|---|\n"
    ]  # fmt: skip
    for name, (where, effect) in PROMISES.items():
        parts.append(f"| {where} | {effect} | {_tests(proven.get(name, ()))} |\n")
    parts.append(
        f"\n## Faults\n\nInvariants of the seeded drills: {' · '.join(INVARIANTS)}.\n\n"
        "| | fault | tests |\n|---|---|---|\n"
    )
    for name, what in FAULTS.items():
        reason = f"*{NOT_HERE[name]}*" if name in NOT_HERE else ""
        tests = _tests(proven.get(name, ())) if proven.get(name) or not reason else ""
        parts.append(f"| {name} | {what} | {'<br>'.join(filter(None, (tests, reason)))} |\n")
    return "".join(parts)


def _tests(found: Sequence[str]) -> str:
    """Tests as a reader finds them; a promise without any says so."""
    if not found:
        return "**none ran**"
    return "<br>".join(f"`{test.removeprefix('tests/').replace('.py::', ' ')}`" for test in found)
