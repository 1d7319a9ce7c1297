"""What a worker of a cluster does with one split of a run that began elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from tongqu.app.services.elsewhere import FOLDER, carried
from tongqu.app.wire import Wire
from tongqu.core.errors import TongquError
from tongqu.engine.lending import Order
from tongqu.store.scrub import known


def moved(text: str, stop: Event, tell: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
    """Move the split that an order names, telling its counts at every commit. What came of it: `counts`, or a
    `problem`; raises nothing."""
    told = json.loads(text)
    order = Order(**told["order"])
    try:
        wire = Wire(
            Path(os.environ.get(FOLDER) or told["folder"]), "", lambda *_, **params: None, f"worker {told['pipeline']}"
        )
        wire.stop = stop
        return carried(wire, told, order, tell)
    except TongquError as error:
        return {"problem": known.problem(error.problem())}
    except Exception as error:  # noqa: BLE001  # told where the run was begun, which fails with it
        what = f"{type(error).__name__}: {error}"
        return {"problem": known.problem({"path": order.stream, "code": "internal", "message": what, "hint": ""})}
