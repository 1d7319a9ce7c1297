"""The error raised when a test service can not be installed, started or reached."""

from __future__ import annotations


class ServiceError(Exception):
    """A test service is not there or did not come up; the person running the tests must act.

    Like every error of the product it has a stable `code`, a `message` of what happened and a `hint`
    with the next step. It never carries a password.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.code = code
        self.message = message
        self.hint = hint


class ServiceMissingError(ServiceError):
    """The server's programs are not installed on this machine."""

    def __init__(self, package: str) -> None:
        super().__init__(
            "service.missing",
            f"{package} is not installed",
            "install it with: python -m tongqu.testing.services ensure",
        )
        self.package = package
