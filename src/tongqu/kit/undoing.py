"""What every sink says when a kept generation cannot be put back."""

from __future__ import annotations

from tongqu.core.errors import BusyError, NotFoundError


def nothing_kept(dataset: str) -> NotFoundError:
    """The error for a table without a generation before the present one."""
    return NotFoundError(
        f"no generation of {dataset!r} is kept, so there is nothing to put back",
        path=dataset,
        hint="one is kept by each replace of a table that was there; name the table as the replace did",
        params={"table": dataset},
    )


def refuse_while_written(dataset: str, run: str | None) -> None:
    """Raise BusyError if `run`, the unfinished run that writes the table, is not None."""
    if run is not None:
        raise BusyError(
            f"the run {run} writes {dataset!r} and has not ended",
            path=dataset,
            hint="let it end, or run the same command again to complete it; then undo",
            params={"table": dataset, "run": run},
        )
