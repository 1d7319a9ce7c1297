"""The columns that tables had are kept line by line; a line that a loss of power cut off costs no other."""

from __future__ import annotations

from pathlib import Path

from tongqu.connectors.mysql.log.places import Place
from tongqu.connectors.mysql.log.shapes import Shape, Shapes


def shape(name: str) -> Shape:
    return Shape(name, "plant", name, (), ("id",))


def test_what_follows_a_line_that_was_cut_off_is_read(tmp_path: Path) -> None:
    path, at = tmp_path / "log" / "tables.jsonl", [Place("bin.000001", pos) for pos in (10, 20, 30)]
    Shapes(path).keep(at[0], shape("a"))
    whole = path.read_bytes()
    Shapes(path).keep(at[1], shape("b"))
    for cut in (1, 20, len(path.read_bytes()) - len(whole) - 2):
        path.write_bytes(path.read_bytes()[: len(whole) + cut])
        Shapes(path).keep(at[1], shape("c"))
        found = Shapes(path)
        assert [found.at(name, at[2]) for name in ("a", "b", "c")] == [shape("a"), None, shape("c")]
        path.write_bytes(whole)
        Shapes(path).keep(at[1], shape("b"))
