"""Files on this machine as a place, for what is done with files whatever place they are in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tongqu.core.errors import NotFoundError
from tongqu.kit import files, lasting
from tongqu.kit.places.place import BLOCK, Entry, Place, temporary_of


class LocalPlace(Place):
    """Paths are those of the system: absolute, or from the current directory."""

    def __init__(self) -> None:
        super().__init__("file:")

    def shown(self, path: str) -> str:
        """See Place.shown."""
        return f"file:{path}"

    def stages(self) -> Iterator[str]:
        """None: it is here."""
        yield from ()

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries."""
        with files.translated(Path(folder)):
            return [self.look(str(path)) for path in sorted(Path(folder).iterdir()) if path.exists()]

    def look(self, path: str) -> Entry:
        """See Place.look."""
        with files.translated(Path(path)):
            found, folder = Path(path).stat(), Path(path).is_dir()
        return Entry(path, -1 if folder else found.st_size, found.st_mtime_ns, folder=folder)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read."""
        with files.translated(Path(path)), Path(path).open("rb") as file:
            file.seek(offset)
            while data := file.read(BLOCK):
                yield data

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put."""
        target = Path(path)
        temporary = target.with_name(Path(temporary_of(path)).name)
        with files.translated(target):
            shutil.copyfile(source, temporary)
            lasting.replace(temporary, target)
        return self.verified(path, source.stat().st_size)

    def rename(self, path: str, new: str) -> None:
        """See Place.rename; across file systems it is a copy that takes the name in one step."""
        with files.translated(Path(path)):
            try:
                Path(path).replace(new)
            except OSError as error:
                if isinstance(error, FileNotFoundError | PermissionError):
                    raise
                self.put(new, Path(path))
                Path(path).unlink()

    def delete(self, path: str) -> None:
        """See Place.delete."""
        with files.translated(Path(path)):
            Path(path).unlink(missing_ok=True)

    def make_folder(self, path: str) -> None:
        """See Place.make_folder."""
        with files.translated(Path(path)):
            lasting.make_folder(Path(path))

    def delete_folder(self, path: str) -> None:
        """See Place.delete_folder."""
        with suppress(NotFoundError), files.translated(Path(path)):
            Path(path).rmdir()

    def close(self) -> None:
        """Nothing to let go of."""
