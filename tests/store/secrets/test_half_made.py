"""A process that dies while it makes the store of secrets leaves nothing that others cannot go on with."""

from __future__ import annotations

from pathlib import Path

from tongqu.store.home import Home
from tongqu.store.identity.seal import Seal
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.envelope import AES, Key
from tongqu.store.secrets.keys import Keys
from tongqu.store.secrets.sealed import Secrets, look_up


def test_a_key_file_and_no_data_key_yet(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.ensure()
    keys = Keys(home, Scrubber(), {})
    keys.write([Key.fresh(AES)])
    Secrets(home, keys).close()  # here the first process died

    assert look_up(home, keys, "any") is None
    digest = Seal.of(home, Scrubber()).digest("secret")
    assert Seal.of(home, Scrubber()).digest("secret") == digest
