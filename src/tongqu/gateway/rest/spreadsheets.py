"""CSV that a spreadsheet may open: texts that it would run as formulas begin with an apostrophe."""

from __future__ import annotations

import csv
import io

_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def escaped(body: bytes, texts: frozenset[str]) -> bytes:
    """The CSV with every value of the columns `texts` that begins like a formula led by `'`; numbers stay as they are.

    It is what OWASP ASVS 1.2.10 asks of exports for people; it changes data, so it is only done when asked for.
    """
    lines = csv.reader(io.StringIO(body.decode(), newline=""))
    out = io.StringIO(newline="")
    write = csv.writer(out, lineterminator="\r\n")
    names = next(lines, [])
    write.writerow(names)
    guarded = [name in texts for name in names]
    for line in lines:
        write.writerow(
            "'" + cell if guard and cell.startswith(_BEGINS) else cell
            for cell, guard in zip(line, guarded, strict=True)
        )
    return out.getvalue().encode()
