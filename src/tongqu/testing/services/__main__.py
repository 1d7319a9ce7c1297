"""`python -m tongqu.testing.services ensure [GROUP]` installs the servers that tests need."""

from __future__ import annotations

import argparse
import sys

from tongqu.testing.services.errors import ServiceError
from tongqu.testing.services.install import GROUPS, ensure, missing


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: everything of the group is there; 1: it is not, and stderr says which packages and why."""
    parser = argparse.ArgumentParser(prog="python -m tongqu.testing.services")
    parser.add_argument("command", choices=["ensure", "missing"], help="install, or only list, what is missing")
    parser.add_argument("group", nargs="?", default="core", choices=sorted(GROUPS))
    chosen = parser.parse_args(arguments)
    if chosen.command == "missing":
        left = missing(chosen.group)
        sys.stdout.write("".join(f"{package}\n" for package in left))
        return 1 if left else 0
    try:
        installed = ensure(chosen.group)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return 1
    sys.stdout.write(f"installed: {' '.join(installed)}\n" if installed else "nothing is missing\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
