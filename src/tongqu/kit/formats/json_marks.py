"""The characters of a JSON text that say where its values begin and end, and nothing of all the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
_QUOTE, _OPEN, _CLOSE, _COMMA, _BACKSLASH = 1, 2, 3, 4, 5
_KINDS = bytes({'"': 1, "{": 2, "[": 2, "}": 3, "]": 3, ",": 4, "\\": 5}.get(chr(byte), 0) for byte in range(256))


@dataclass(frozen=True)
class Marks:
    """Quotes, brackets, commas and backslashes of one text: where they stand, what they are, whether they are part of a
    string (its opening quote included), and the depth of brackets after each. Some six times fewer than bytes."""

    text: bytes
    places: Places
    kinds: npt.NDArray[np.uint8]
    inside: npt.NDArray[np.bool_]
    depth: npt.NDArray[np.int32]

    @classmethod
    def of(cls, text: bytes) -> Marks:
        """Of a text that begins outside a string; depth begins with 0."""
        all_kinds = np.frombuffer(text.translate(_KINDS), dtype=np.uint8)
        places = np.flatnonzero(all_kinds != 0)
        kinds = all_kinds[places]
        quotes = kinds == _QUOTE
        if b"\\" in text:
            quotes &= ~_escaped(places, kinds)
        inside = np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(np.bool_)
        steps = (kinds == _OPEN).view(np.int8) - (kinds == _CLOSE).view(np.int8)
        steps &= inside.view(np.int8) - np.int8(1)  # none inside, faster than by a mask
        return cls(text, places, kinds, inside, np.cumsum(steps, dtype=np.int32))

    def commas(self, depth: int) -> Places:
        """The commas between values at a depth."""
        found: Places = self.places[(self.kinds == _COMMA) & (self.depth == depth) & ~self.inside]
        return found

    def closed(self) -> int | None:
        """Where the first bracket closes that was not opened here."""
        if not len(self.depth) or int(self.depth.min()) >= 0:
            return None
        return int(self.places[np.flatnonzero(self.depth < 0)[0]])

    def nested(self, end: int) -> tuple[Places, Places]:
        """Where values begin and end that are arrays or objects in objects at the top, in the text before `end`."""
        before = np.concatenate([np.zeros(1, dtype=np.int32), self.depth[:-1]])
        starts = self.places[(before == 1) & (self.depth == 2)]
        stops = self.places[(before == 2) & (self.depth == 1)]
        return starts[starts < end], stops[stops < end]

    def stringified(self, lines: bytes) -> bytes:
        """The lines with every nested value as a string that holds its JSON; they are this text, or its beginning, of
        the same length byte for byte, in which whole objects stand."""
        starts, stops = self.nested(len(lines))
        if len(starts) == 0 or len(starts) != len(stops):
            return lines
        quoted = (self.kinds == _QUOTE) | (self.kinds == _BACKSLASH)
        special = self.places[quoted]
        special = special[special < len(lines)]
        covering = np.searchsorted(starts, special, side="right") - 1
        special = special[(covering >= 0) & (special < stops[np.maximum(covering, 0)])]
        where = np.concatenate([starts, stops + 1, special])
        what = np.concatenate([np.full(2 * len(starts), 34), np.full(len(special), 92)]).astype(np.uint8)
        # at one place the quote that opens comes before what it encloses, the one that closes after
        order = np.argsort(where, kind="stable")
        return bytes(np.insert(np.frombuffer(lines, dtype=np.uint8), where[order], what[order]).tobytes())


def _escaped(places: Places, kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which marks stand after an odd number of backslashes."""
    found = np.zeros(len(places), dtype=np.bool_)
    slashes = np.flatnonzero(kinds == _BACKSLASH)
    at = places[slashes]
    begins = np.ones(len(at), dtype=np.bool_)
    begins[1:] = np.diff(at) != 1
    if begins.all():
        odd = slashes
    else:
        first = np.flatnonzero(begins)[np.cumsum(begins) - 1]  # of each backslash the run's first
        last = np.ones(len(at), dtype=np.bool_)
        last[:-1] = begins[1:]
        odd = slashes[last & ((np.arange(len(at)) - first) % 2 == 0)]
    following = odd + 1
    following = following[following < len(places)]
    beside = places[following] == places[following - 1] + 1
    found[following[beside]] = True
    return found
