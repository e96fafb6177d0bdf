"""Foreign libraries that several rooms use: how they are imported, and what of their errors helps a person."""

from __future__ import annotations

import re
import sys
import threading
from typing import Any

_IMPORTING = threading.Lock()


def openvino() -> Any:
    """OpenVINO, without its telemetry: importing it would write to the home folder and call home.

    OpenVINO takes a stub where the telemetry package cannot be imported; it is hidden while OpenVINO loads.
    """
    with _IMPORTING:
        if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
            sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
            try:
                import openvino
            finally:
                del sys.modules["openvino_telemetry"]
        import openvino

        # Two threads that ask for this the first time wait for each other forever (2026.4).
        openvino.Type.f32.to_dtype()
    return openvino


def openvino_sentence(error: Exception) -> str:
    """The sentence that helps in an OpenVINO error, without the places in its source."""
    if lacks := _not_implemented(str(error)):
        return lacks
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO leads with "Exception from src/...:123:"; the sentence that helps comes after it.
    useful = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join((useful or lines or [type(error).__name__])[:3])[:300]


def _not_implemented(text: str) -> str:
    """What OpenVINO lacks: ``it does not implement Pad (Unsupported padding mode: [wrap])``; or nothing."""
    if none := re.search(r"No conversion rule found for operations: (.+)", text):
        return f"it does not implement {_without_opset(none[1])}"
    failed = re.search(r"-- (\S+) with a message:\n(?:.*Exception from [^\n]*\n)?([^\n]*)", text)
    return f"it does not implement {_without_opset(failed[1])} ({failed[2].strip().rstrip('.')})" if failed else ""


def _without_opset(names: str) -> str:
    return re.sub(r"-\d+\b", "", names.strip())
