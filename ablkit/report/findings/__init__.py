"""What the data say to a hypothesis: `Holds.`, `Holds in part.`, `Fails.` or `Cannot be said.`, with the numbers.

Each function takes metrics or a frame and returns Markdown. A metric that is None or nan was not measured.
"""

from ablkit.report.findings.architectures import of_architectures
from ablkit.report.findings.arms import ARM_TITLES, of_arms
from ablkit.report.findings.attacks import of_attacks, of_twins
from ablkit.report.findings.cases import of_cases
from ablkit.report.findings.exclusion import of_exclusion
from ablkit.report.findings.gap import of_gap
from ablkit.report.findings.isolators import of_isolators
from ablkit.report.findings.methods import of_methods
from ablkit.report.findings.run import of_run
from ablkit.report.findings.words import ANSWERED, CHEAP, DEAR, FASTER, GONE, MATTERS, MOST, PRECISE, PRESENT, RELIABLE

__all__ = [
    "ANSWERED",
    "ARM_TITLES",
    "CHEAP",
    "DEAR",
    "FASTER",
    "GONE",
    "MATTERS",
    "MOST",
    "PRECISE",
    "PRESENT",
    "RELIABLE",
    "of_architectures",
    "of_arms",
    "of_attacks",
    "of_cases",
    "of_exclusion",
    "of_gap",
    "of_isolators",
    "of_methods",
    "of_run",
    "of_twins",
]
