"""Takes passwords out of the process title, where every user of the machine could read them."""

from __future__ import annotations

from tongqu.store.literal import literal_passwords


def hide_passwords(arguments: list[str]) -> None:
    """Overwrite the password of each URL among the arguments with `*` in the process's own argument memory, and never
    show it again."""
    from tongqu.store.scrub import known

    for argument in arguments:
        known.add_url(argument)
    clear_title(arguments)


def clear_title(arguments: list[str]) -> None:
    """Overwrite those passwords; loads next to nothing, as `tongqu.__main__` calls it before all else.

    Works on Linux, where `ps` reads that memory; elsewhere, and where the system forbids it, nothing happens. Between
    the start of the process and this call (Python's own start, some hundredths of a second) the password can be seen:
    keep it out of the command line by `${secret:X}`.
    """
    secrets = {password.encode("utf-8", "surrogateescape") for one in arguments for password in literal_passwords(one)}
    if not secrets:
        return
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123  # pathlib takes its time to load
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, IndexError, ValueError):
        return
    if end <= start:
        return
    import ctypes

    memory = (ctypes.c_char * (end - start)).from_address(start)
    words = memory.raw
    for secret in secrets:
        hidden = b"*" * len(secret)
        words = words.replace(b":" + secret + b"@", b":" + hidden + b"@").replace(b"=" + secret, b"=" + hidden)
    memory.raw = words
