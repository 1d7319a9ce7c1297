"""What all SQL connectors share: a thin connection, the landing of rows, and the session that commits them."""
