"""Runs the command line in a process of its own with an Oracle that is played the same way in every one of them.

`python playing.py STAGE TIMES ARGUMENTS…`: what was written up to that stage is in the redo, at SCNs of its own, and
SCNs have gone on since.
"""

from __future__ import annotations

import sys

from tongqu.testing.mined_server import MinedDriver, MinedServer


def played(stage: int, times: int) -> MinedServer:
    """The database at a stage."""
    server = MinedServer(threads=2)
    server.create("items", [("id", "NUMBER(18,0)"), ("v", "VARCHAR2(20 CHAR)")],
                  [{"id": key, "v": "old"} for key in (1, 2, 3)])  # fmt: skip
    one = server.begin(2)
    one.insert("items", {"id": 4, "v": "begun before the log"})
    for number in range(1, stage + 1):
        server.scn = 100_000 * number
        server.commit(("items", "update", 1, {"v": f"stage {number}"}))
        if number == 1:
            one.commit()
            one = server.begin(2)
        one.insert("items", {"id": 10 + number, "v": "long"})
        server.commit(("items", "insert", None, {"id": 100 + number, "v": "new"}), thread=2)
        server.switch(1)
    server.scn = 100_000 * stage + 2_000 + 1_000 * times
    return server


if __name__ == "__main__":
    sys.modules["oracledb"] = MinedDriver(played(int(sys.argv[1]), int(sys.argv[2])))  # type: ignore[assignment]  # stands for the module
    sys.argv[1:3] = []
    from tongqu.__main__ import main

    main()
