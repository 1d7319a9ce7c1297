"""A message that comes again under its number is kept once, until the number is released."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tongqu.kit.push.spool import Message, Spool


def test_a_number_is_kept_once_until_it_is_released(tmp_path: Path) -> None:
    first = Message(b"a", 1.0, once=7)
    with closing(Spool(tmp_path, 1.0)) as spool:
        spool.declare("t")
        spool.keep("t", [first]).result()
        spool.keep("t", [first, Message(b"b", 1.0, once=8), Message(b"c", 1.0)]).result()
        assert spool.queue.head() == 3
    with closing(Spool(tmp_path, 1.0)) as spool:  # another process
        spool.keep("t", [first]).result()
        assert spool.queue.head() == 3
        spool.release("t", 7).result()
        spool.keep("t", [first, Message(b"b", 1.0, once=8)]).result()
        assert spool.queue.head() == 4
        spool.release("t").result()
        spool.keep("t", [first, Message(b"b", 1.0, once=8)]).result()
        assert spool.queue.head() == 6
