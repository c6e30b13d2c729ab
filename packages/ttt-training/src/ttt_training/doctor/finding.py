"""What a check of `ttt doctor` finds."""

from typing import Literal

from msgspec import Struct

Status = Literal["ok", "warning", "problem"]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    status: Status
    """A warning costs time or features; with a problem something does not work or is not right."""
    found: str
    fix: str | None = None
    """What to do; None if all is well."""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, status="ok", found=found)


def warning(check: str, found: str, fix: str) -> Finding:
    """It works, but costs time or features."""
    return Finding(check=check, status="warning", found=found, fix=fix)


def problem(check: str, found: str, fix: str) -> Finding:
    """It does not work, or is not right."""
    return Finding(check=check, status="problem", found=found, fix=fix)
