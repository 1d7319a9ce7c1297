"""Arrow's compute functions, loaded with the first one that is called: a command that needs none starts sooner."""

from __future__ import annotations

from typing import Any


class _Kernels:
    def __getattr__(self, name: str) -> Any:
        import pyarrow.compute

        found = getattr(pyarrow.compute, name)
        setattr(self, name, found)
        return found


pc: Any = _Kernels()  # the stubs know too little of the kernels
"""`pyarrow.compute`."""
