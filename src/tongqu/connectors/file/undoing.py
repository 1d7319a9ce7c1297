"""Puts the content that the last replace replaced back in place, by exchanging two names."""

from __future__ import annotations

from pathlib import Path

from tongqu.connectors.file.publish import link
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.source import FileSource
from tongqu.connectors.file.target import Target
from tongqu.core.data import Read
from tongqu.core.errors import InvalidPlanError
from tongqu.kit import files, lasting
from tongqu.kit.faults import crash_point


def is_kept(target: Target) -> bool:
    """Whether there is content from before the last replace."""
    return target.previous.exists() or _aside(target).exists()


def put_back(target: Target, settings: FileSettings) -> int:
    """Exchange the content with the kept one and return the number of rows that are visible then.

    Where the file system cannot exchange names, a file's new content takes its place by a rename and the one that was
    visible waits under a third name; an undo that was cut off between the two renames is completed by the next.
    """
    aside = _aside(target)
    if aside.exists():
        if target.previous.exists():
            aside.unlink()  # cut off before anything visible happened: it is what is visible, once more
        else:
            aside.rename(target.previous)
            lasting.sync(target.path.parent)
    if not target.path.exists():
        target.previous.rename(target.path)
    elif not files.exchange(target.previous, target.path):
        if target.path.is_dir():
            raise InvalidPlanError(
                f"this file system cannot exchange two folders in one step: {target.path} and {target.previous}",
                path=f"file:{target.path}",
                hint="stop its readers and exchange the names by hand",
            )
        link(target.path, aside)
        lasting.replace(target.previous, target.path)
        aside.rename(target.previous)
    crash_point("in_undo")
    lasting.sync(target.path.parent)
    return count_rows(str(target.path), settings)


def _aside(target: Target) -> Path:
    return target.path.with_name(f".{target.path.name}.tongqu-undo")


def count_rows(path: str, settings: FileSettings) -> int:
    """The number of rows in a file or folder, bad ones included; one column is decoded."""
    source = FileSource(settings.model_copy(update={"path": path}))
    count = 0
    try:
        for dataset in source.datasets():
            for split in source.splits(dataset, 1):
                for batch in source.read(Read(dataset, split, columns=dataset.columns[:1])):
                    count += batch.rows.num_rows + len(batch.bad)
    finally:
        source.close()
    return count
