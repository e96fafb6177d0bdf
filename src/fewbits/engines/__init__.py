"""Engines: each a thin adapter that translates names, runs and returns."""

from __future__ import annotations

from fewbits.engines.base import Arrays, Engine, Mode, OpTime, Options, Profile, Session
from fewbits.engines.capability import Capability
from fewbits.engines.onnxruntime import OnnxRuntime
from fewbits.engines.openvino import OpenVino
from fewbits.engines.reference import Reference

ENGINES: dict[str, Engine] = {"openvino": OpenVino(), "onnxruntime": OnnxRuntime()}
ORACLE: Engine = Reference()

__all__ = [
    "ENGINES",
    "ORACLE",
    "Arrays",
    "Capability",
    "Engine",
    "Mode",
    "OpTime",
    "Options",
    "Profile",
    "Session",
]
