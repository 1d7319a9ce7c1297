"""A disk that forgets what was not synced: what was asked of it is recorded, and any moment can be gone back to.

`disk` is the model (which writes and names are safe, what a loss of power leaves), `kernel` speaks the kernel's FUSE
protocol, `holder` is the process that mounts it; `deeds` and `moves` are what is done on it. Tests use
`tongqu.testing.services.ForgettingDisk` and `tongqu.testing.chaos.workbench`.
"""
