"""Errors of test services: not installed, not installable, not up; the person who runs the tests must act."""

from __future__ import annotations

from tongqu.core.errors import TongquError


class ServiceError(TongquError):
    """A test service can not do what was asked; the server's own last words are in the message."""

    code = "service"


class ServiceMissingError(ServiceError):
    """The server's programs are not installed on this machine."""

    code = "service.missing"

    def __init__(self, package: str, hint: str = "install it with: python -m tongqu.testing.services ensure") -> None:
        super().__init__(f"{package} is not installed", hint=hint)
        self.package = package


class ServiceInstallError(ServiceError):
    """Packages are missing and this machine can not install them; the message names them."""

    code = "service.install"


class ServiceStartError(ServiceError):
    """The server ended while starting, or did not answer in time."""

    code = "service.start"
