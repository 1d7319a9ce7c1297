"""The example of files on an SFTP server runs as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

from tongqu.testing.command_line import inside
from tongqu.testing.drops import drop
from tongqu.testing.services import Sshd

EXAMPLE = Path(__file__).parents[2] / "examples" / "files-anywhere"


def test_files_are_received_once_and_answered(sshd: Sshd, tmp_path: Path) -> None:
    there = drop(sshd)
    place, folder = there.place()
    place.make_folder(f"{folder}/out")
    place.close()
    there.put("in/a.csv", b"lot_no,plant,weight\nL0001,SZ,1.500\nL0002,SZ,2.250\nnone,SZ,1\n", tmp_path)
    there.put("in/b.csv", b"lot_no,plant,weight\nL0003,WH,4.000\n", tmp_path)
    there.put("in/a.csv.done", b"", tmp_path)
    shutil.copy(EXAMPLE / "tongqu.yaml", tmp_path)
    environ = {
        "DROP_URL": there.base, "DROP_KEY": there.query["key_file"], "DROP_HOST_KEY": there.query["host_key"],
    }  # fmt: skip
    assert inside(tmp_path, "check", "--json", **environ).code == 0
    received = inside(tmp_path, "run", "received", "--json", **environ)
    assert received.code == 3, received.out + received.err
    (stream,) = received.document["streams"]
    assert (stream["written"], stream["quarantined"]) == (2, 1)
    assert inside(tmp_path, "run", "told", "--json", **environ).code == 0
    assert there.shown is not None
    assert sorted(p.name for p in (there.shown / "in").iterdir()) == ["b.csv"]
    assert [p.name for p in (there.shown / "done").iterdir()] == ["a.csv"]
    assert (there.shown / "out" / "received.csv").read_text() == "plant,lots,weight\nSZ,2,3.75\n"
