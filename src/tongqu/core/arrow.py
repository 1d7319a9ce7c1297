"""Arrow, loaded with the first thing that is asked of it: a command that moves no row through Python starts sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
else:

    class _Arrow:
        def __getattr__(self, name: str) -> Any:
            import pyarrow

            found = getattr(pyarrow, name)
            setattr(self, name, found)
            return found

    pa = _Arrow()

__all__ = ["pa"]
