"""Steps that keep state while logs are followed: what they need of the rows before, on disk, at exact versions."""
