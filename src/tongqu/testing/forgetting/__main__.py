"""Run inside of the disk's namespace: does and checks the deeds that its parent asks for, a line of JSON each."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from tongqu.testing.forgetting.deeds import DEEDS
from tongqu.testing.forgetting.kernel import MARK
from tongqu.testing.forgetting.moves import MOVES


def main() -> int:
    """0: the parent has closed stdin."""
    deeds = {**DEEDS, **MOVES}
    folder, outside = Path(sys.argv[1]), Path(sys.argv[2])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a deed prints goes elsewhere
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        deed, wrong = deeds[asked["deed"]], []
        try:
            if asked["told"] is None:
                deed.do(folder, outside, lambda label: os.setxattr(folder, MARK, label.encode()))
            else:
                wrong = deed.check(folder, outside, asked["told"])
        except Exception as error:  # noqa: BLE001  whatever stops it is what a person would meet
            wrong = [f"{type(error).__name__}: {error} {' '.join(traceback.format_exc().splitlines()[-7:])}"]
        out.write(json.dumps(wrong) + "\n")
        out.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
