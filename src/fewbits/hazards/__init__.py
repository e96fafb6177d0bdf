"""What goes wrong in FP16 and BF16, found before anything runs: each check a file, all of them in one table."""

from fewbits.hazards.checks import CHECKS, check, unsafe_constants, unsafe_nodes
from fewbits.hazards.records import Extremes, Finding, HalfRun, Level
from fewbits.hazards.survey import Survey, judged, survey

__all__ = [
    "CHECKS",
    "Extremes",
    "Finding",
    "HalfRun",
    "Level",
    "Survey",
    "check",
    "judged",
    "survey",
    "unsafe_constants",
    "unsafe_nodes",
]
