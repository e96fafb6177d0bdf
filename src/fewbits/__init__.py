"""fewbits finds the fewest bits that keep a model's accuracy.

Each verb of the command line is a function here and returns the record that the verb prints::

    import fewbits
    decision = fewbits.choose("model.onnx", fewbits.DataOptions(data="val.csv", calibration_data="calib.csv"))
    print(decision.chosen, decision.reason)

Names are looked up when they are first used: ``import fewbits`` loads no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewbits.data import Preprocess as Preprocess
    from fewbits.errors import FewbitsError as FewbitsError
    from fewbits.frontends import load as load
    from fewbits.frontends.source import Source as Source
    from fewbits.selection.records import Budget as Budget
    from fewbits.selection.records import Decision as Decision
    from fewbits.verbs.calibrate import calibrate as calibrate
    from fewbits.verbs.choose import choose as choose
    from fewbits.verbs.compare import compare as compare
    from fewbits.verbs.convert import convert as convert
    from fewbits.verbs.demo import demo as demo
    from fewbits.verbs.devices import list_devices as list_devices
    from fewbits.verbs.inputs import DataOptions as DataOptions
    from fewbits.verbs.inspect import inspect as inspect
    from fewbits.verbs.measure import measure as measure
    from fewbits.verbs.report import report as report

__version__ = "0.1.0"

_HOMES = {
    "Budget": "fewbits.selection.records",
    "DataOptions": "fewbits.verbs.inputs",
    "Decision": "fewbits.selection.records",
    "FewbitsError": "fewbits.errors",
    "Preprocess": "fewbits.data",
    "Source": "fewbits.frontends.source",
    "calibrate": "fewbits.verbs.calibrate",
    "choose": "fewbits.verbs.choose",
    "compare": "fewbits.verbs.compare",
    "convert": "fewbits.verbs.convert",
    "demo": "fewbits.verbs.demo",
    "list_devices": "fewbits.verbs.devices",
    "inspect": "fewbits.verbs.inspect",
    "load": "fewbits.frontends",
    "measure": "fewbits.verbs.measure",
    "report": "fewbits.verbs.report",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fewbits' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
