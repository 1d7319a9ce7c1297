"""A sink on the ledger of calls keeps the promises of every sink, but for what calls cannot do."""

from __future__ import annotations

from tongqu.testing.conformance import conformance
from tongqu.testing.remote_peer import connector

TestPeer = conformance(
    connector,
    lambda request: f"peer:{request.getfixturevalue('tmp_path')}/peer.db",
    waivers={
        "test_an_empty_dataset_has_a_schema": "never: the peer learns of a dataset by its rows",
        "test_odd_names_are_names": "never: a replace needs a key",
        "test_replace_leaves_only_the_new_rows": "never: a replace counts what it updated and deleted as that",
        "test_aborted_rows_are_gone": "never: a call that went through is not taken back by an abort",
        "test_replace_shows_the_old_rows_until_it_finishes": "never: calls are seen one after the other",
        "test_soft_deletes_are_marked_and_cleared": "never: refused, the peer has no column of ours",
    },
)
