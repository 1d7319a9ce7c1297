"""What all processes together may ask of a connection: slots for splits, and a rate that one judges for all."""

from __future__ import annotations

from dataclasses import dataclass

from tongqu.store.jobs.database import Database

_BEGIN = """INSERT INTO tongqu_budgets (place, connection, rate, usual, felt, pressure, beats, judged)
    VALUES (?, ?, 0, 0, 0, 0, 0, ?)"""
_STANDING = """SELECT rate, usual, edge, felt, spread, pressure, beats, judged FROM tongqu_budgets
    WHERE place = ? AND connection = ?"""
GONE = 15.0
"""After so many seconds without a sign of life a process's slots are free."""


@dataclass(frozen=True)
class State:
    """A connection's budget as all processes see it. `rate` 0: not judged yet. `pressure` is how far the system was
    over what is tolerated when it was last judged (1: just so)."""

    rate: float = 0.0
    usual: float = 0.0
    """Seconds that a small question takes when we do nothing."""
    edge: float = 0.0
    """The rate at which it was cut last; 0: never."""
    felt: float = 0.0
    """Seconds that one took lately, smoothed."""
    spread: float = 0.0
    """By how many seconds looks differ, smoothed."""
    pressure: float = 0.0
    beats: int = 0
    """How often it was judged."""
    judged: float = 0.0
    passing: float = 0.0
    """Rows a second that all processes passed when they last told."""
    holders: int = 0
    slots: int = 0


class Budgets:
    """The budgets of a project's connections, in the store of its jobs. Raises ConnectError."""

    def __init__(self, database: Database, place: str):
        self._database = database
        self._place = place

    def take(self, connection: str, holder: str, most: int) -> int | None:
        """A slot of a connection, for this process; None if all are taken."""
        now = self._database.moment()
        with self._database.turn():
            self._database.run("DELETE FROM tongqu_slots WHERE seen < ?", (now - GONE,))
            taken = {
                row[0]
                for row in self._rows("SELECT number FROM tongqu_slots WHERE place = ? AND connection = ?", connection)
            }
            free = next((number for number in range(most) if number not in taken), None)
            if free is not None:
                self._database.run(
                    "INSERT INTO tongqu_slots (place, connection, number, holder, seen) VALUES (?, ?, ?, ?, ?)",
                    (self._place, connection, free, holder, now),
                )
            return free

    def give_back(self, connection: str, holder: str, number: int) -> None:
        """Free a slot; one that was taken over is left alone."""
        with self._database.turn():
            self._database.run(
                "DELETE FROM tongqu_slots WHERE place = ? AND connection = ? AND number = ? AND holder = ?",
                (self._place, connection, number, holder),
            )

    def beat(self, connection: str, holder: str, passing: float) -> State:
        """Tell that this process is there and how many rows a second it passes; the state of all."""
        now = self._database.moment()
        with self._database.turn():
            key = (self._place, connection, holder)
            self._database.run(
                "UPDATE tongqu_slots SET seen = ? WHERE place = ? AND connection = ? AND holder = ?", (now, *key)
            )
            self._database.run("DELETE FROM tongqu_holders WHERE place = ? AND connection = ? AND holder = ?", key)
            self._database.run("DELETE FROM tongqu_holders WHERE seen < ?", (now - GONE,))
            self._database.run(
                "INSERT INTO tongqu_holders (place, connection, holder, seen, passing) VALUES (?, ?, ?, ?, ?)",
                (*key, now, passing),
            )
            return self._state(connection)

    def leave(self, connection: str, holder: str) -> None:
        """Tell that this process is gone."""
        with self._database.turn():
            for table in ("tongqu_holders", "tongqu_slots"):
                self._database.run(
                    f"DELETE FROM {table} WHERE place = ? AND connection = ? AND holder = ?",
                    (self._place, connection, holder),
                )

    def turn(self, connection: str, every: float) -> bool:
        """Whether this process is to judge now: of all, one does in so many seconds."""
        now = self._database.moment()
        with self._database.turn():
            if self._state(connection).judged > now - every:
                return False
            key = (self._place, connection)
            if not self._database.run(
                "UPDATE tongqu_budgets SET judged = ? WHERE place = ? AND connection = ?", (now, *key)
            ):
                self._database.run(_BEGIN, (*key, now))
            return True

    def judge(self, connection: str, state: State) -> None:
        """Set what was judged."""
        with self._database.turn():
            self._database.run(
                "UPDATE tongqu_budgets SET rate = ?, usual = ?, edge = ?, felt = ?, spread = ?, pressure = ?, "
                "beats = ? WHERE place = ? AND connection = ?",
                (
                    state.rate,
                    state.usual,
                    state.edge,
                    state.felt,
                    state.spread,
                    state.pressure,
                    state.beats,
                    self._place,
                    connection,
                ),
            )

    def took(self, connection: str, other: str) -> None:
        """Count that a run read another connection instead."""
        key = (self._place, connection, other)
        with self._database.turn():
            if not self._database.run(
                "UPDATE tongqu_taken SET times = times + 1 WHERE place = ? AND connection = ? AND other = ?", key
            ):
                self._database.run("INSERT INTO tongqu_taken VALUES (?, ?, ?, 1)", key)

    def taken(self) -> dict[tuple[str, str], int]:
        """How often which connection was read instead of which: the named one first."""
        found = self._database.rows(
            "SELECT connection, other, times FROM tongqu_taken WHERE place = ? ORDER BY connection, other",
            (self._place,),
        )
        return {(connection, other): int(times) for connection, other, times in found}

    def state(self, connection: str) -> State:
        """How it stands."""
        now = self._database.moment()
        with self._database.turn():
            self._database.run("DELETE FROM tongqu_holders WHERE seen < ?", (now - GONE,))
            return self._state(connection)

    def _state(self, connection: str) -> State:
        found = self._rows(_STANDING, connection)
        rate, usual, edge, felt, spread, pressure, beats, judged = found[0] if found else (0.0,) * 8
        [(holders, passing)] = self._rows(
            "SELECT count(*), coalesce(sum(passing), 0) FROM tongqu_holders WHERE place = ? AND connection = ?",
            connection,
        )
        [(slots,)] = self._rows("SELECT count(*) FROM tongqu_slots WHERE place = ? AND connection = ?", connection)
        return State(
            rate, usual, edge, felt, spread, pressure, int(beats), judged, float(passing), int(holders), int(slots)
        )

    def _rows(self, sql: str, connection: str) -> list[tuple[float, ...]]:
        return self._database.rows(sql, (self._place, connection))
