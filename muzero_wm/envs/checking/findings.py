"""What a check of an environment found: a list of findings and some numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From an environment that cannot be trained on to what is only good to know."""


@dataclass
class Finding:
    """One thing that is wrong with an environment, or looks as if it were.

    Attributes:
        severity: "error": training stops on it or learns nonsense; "warning": training runs and loses something;
            "note": good to know.
        title: what it is, in a few words.
        seen: what was seen first, with reset seed and step where there are any.
        remedy: what to do, in one sentence.
        count: how often it was seen.
    """

    severity: Severity
    title: str
    seen: str
    remedy: str
    count: int = 1


class Findings:
    """Collects findings, one for each severity and title: what comes again is counted."""

    def __init__(self) -> None:
        """Starts with none."""
        self._known: dict[tuple[str, str], Finding] = {}

    def add(self, severity: Severity, title: str, seen: str, remedy: str) -> None:
        """Adds a finding, or counts one that is there already; see `Finding` for the arguments."""
        if found := self._known.get((severity, title)):
            found.count += 1
        else:
            self._known[severity, title] = Finding(severity, title, " ".join(seen.split())[:300], remedy)

    def __contains__(self, title: str) -> bool:
        """Returns whether there is a finding of this title."""
        return any(title == known for _, known in self._known)

    def has_errors(self) -> bool:
        """Returns whether there is an error."""
        return any(severity == "error" for severity, _ in self._known)

    def sorted(self) -> list[Finding]:
        """Returns all of them, the worst first."""
        return sorted(self._known.values(), key=lambda finding: SEVERITIES.index(finding.severity))


@dataclass
class Report:
    """What `check_env` saw.

    Attributes:
        env: name of the environment.
        facts: what the environment says of itself and what random play measured; plain numbers, strings, lists, dicts.
        findings: the worst first.
    """

    env: str
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def of(self, severity: Severity) -> list[Finding]:
        """Returns the findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as a JSON file holds it."""
        return {"env": self.env, "facts": self.facts, "findings": [vars(finding) for finding in self.findings]}
