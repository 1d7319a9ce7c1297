"""What a vendor shows for itself: documents, a sandbox report, cases, a clause on changes, hands for custom work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import field_validator

from tongqu.catalog.assessing.checklist import yaml_mapping
from tongqu.core.settings import Names, Settings, titled

KINDS = ("documents", "sandbox_report", "success_cases", "compatibility_clause", "custom_capacity")


@dataclass(frozen=True)
class Given:
    """One kind of evidence and what was given for it: files, addresses, or words."""

    kind: str
    what: tuple[str, ...] = ()
    note: str = ""

    @property
    def given(self) -> bool:
        """Whether there is anything."""
        return bool(self.what)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": self.kind, "given": self.given, "what": list(self.what), "note": self.note}


class VendorEvidence(Settings):
    """What the vendor gave, each a file, an address or a sentence, or a list of them; left out is missing."""

    documents: Names = titled("接口文档", "Documents", ())
    """Documents of the interface: manuals, a change log."""
    sandbox_report: Names = titled("沙箱测试报告", "Sandbox report", ())
    """A report of tests in the vendor's sandbox."""
    success_cases: Names = titled("成功案例", "Success cases", ())
    """Customers for whom it works."""
    compatibility_clause: Names = titled("兼容性条款", "Compatibility clause", ())
    """The clause of the contract about changes of the interface."""
    custom_capacity: Names = titled("定制开发能力", "Capacity for custom work", ())
    """Who can extend it, how fast, at what price."""
    note: str = titled("备注", "Note", "")
    """Anything else."""

    @field_validator(*KINDS, mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [] if value is None or value == "" else [value] if isinstance(value, str) else value


def read(text: bytes, where: str) -> tuple[Given, ...]:
    """All kinds of evidence by a user's YAML; raises InvalidSettingsError."""
    told = VendorEvidence.parse(yaml_mapping(text, where), where)
    return tuple(Given(kind, tuple(getattr(told, kind)), told.note) for kind in KINDS)


def nothing() -> tuple[Given, ...]:
    """All kinds as missing."""
    return tuple(Given(kind) for kind in KINDS)
