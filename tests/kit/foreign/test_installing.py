"""Packages are installed when somebody confirmed every file of them, and as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.core.errors import InstallError, InvalidSettingsError, NotFoundError, UnconfirmedError
from tongqu.kit.foreign.installing import Origin, install, read_lock, remove, resolve
from tongqu.kit.foreign.shelf import Shelf
from tongqu.testing.wheels import wheel


def test_a_package_is_installed_upgraded_and_removed(tmp_path: Path) -> None:
    wheels, shelf = tmp_path / "wheels", Shelf(tmp_path / "foreign")
    wheel(wheels, "tap-x", "1.0", "Requires-Dist: dep-x\n")
    wheel(wheels, "dep-x", "2.0")
    origin = Origin(wheels)
    first = resolve("tap-x==1.0", origin)
    assert [(one.name, one.version) for one in first.packages] == [("tap-x", "1.0"), ("dep-x", "2.0")]
    with pytest.raises(UnconfirmedError) as caught:
        install(shelf, first, "", origin)
    assert first.digest in caught.value.hint
    done = install(shelf, first, f"sha256:{first.digest}", origin)
    assert (done.version, done.packages, done.programs) == ("1.0", 2, ("tap-x",))
    assert shelf.program("tap-x", "tap-x").is_file()
    assert read_lock("tap-x==1.0", (shelf.place("tap-x") / "lock.txt").read_text()) == first

    wheel(wheels, "dep-x", "2.0", "Keywords: another\n")  # one file is another than was confirmed
    with pytest.raises(InstallError, match=r"(?i)hash"):
        install(shelf, first, first.digest, origin)
    assert shelf.need("tap-x") == done, "what was there before is kept"

    assert remove(shelf, "Tap_X") == done
    assert shelf.listed() == []
    with pytest.raises(NotFoundError):
        remove(shelf, "tap-x")


def test_what_is_no_exact_version_or_no_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError, match="no version"):
        resolve("tap-x", Origin(tmp_path))
    with pytest.raises(InvalidSettingsError, match="no version"):
        resolve("tap-x==1 --index-url=http://evil", Origin(tmp_path))
    with pytest.raises(InvalidSettingsError, match="not a line of a lock"):
        read_lock("tap-x==1", "--index-url http://evil\n")
    with pytest.raises(InvalidSettingsError, match="has no tap-x==1"):
        read_lock("tap-x==1", f"dep==1 --hash=sha256:{'0' * 64}\n")
