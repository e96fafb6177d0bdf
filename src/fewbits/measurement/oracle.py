"""Is FP32 on an engine what the model says? Held against the ONNX reference evaluator on a few samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import ORACLE, Arrays, Options, Session
from fewbits.errors import EngineError
from fewbits.numerics import NoiseSum

# FP32 engines reorder sums and use other transforms (Winograd): 60 to 120 dB below the signal in practice.
# A fault is not in the last bits: what OpenVINO 2026.4 computed for the keyword network left less than 10 dB.
LEAST_SQNR_DB = 40.0


@dataclass(frozen=True)
class OracleCheck:
    """The signal-to-noise ratio of each session's outputs against the reference evaluator."""

    sqnr_db: Mapping[str, float]
    samples: int

    def faulty(self) -> dict[str, str]:
        """A sentence for every session that computes something else than the model says."""
        return {
            name: f"computes something else than the model says: {sqnr:.0f} dB against the ONNX reference "
            f"evaluator on {self.samples} samples (at least {LEAST_SQNR_DB:.0f} dB expected)"
            for name, sqnr in self.sqnr_db.items()
            if not sqnr >= LEAST_SQNR_DB
        }


def check_against_oracle(model: ir.Model, sessions: Mapping[str, Session], samples: Sequence[Sample]) -> OracleCheck:
    """Compare all outputs of all sessions on the samples.

    Every slot of a session gets samples while the others are busy: faults of parallel streams show only then.

    Raises:
        EngineError: the reference evaluator cannot run the model.
    """
    oracle = ORACLE.compile(model, Options())
    with np.errstate(all="ignore"):
        truth = [oracle.run(sample.inputs) for sample in samples]
    found = {}
    for name, session in sessions.items():
        noise: dict[str, NoiseSum] = {}
        with ThreadPoolExecutor(session.slots) as pool:
            for slots_outputs in pool.map(lambda slot, s=session: _all(s, slot, samples), range(session.slots)):
                for expected, got in zip(truth, slots_outputs, strict=True):
                    _add(noise, expected, got)
        found[name] = min(part.sqnr_db for part in noise.values())
    return OracleCheck(found, len(samples))


def _all(session: Session, slot: int, samples: Sequence[Sample]) -> list[Arrays]:
    return [{k: v.copy() for k, v in session.run(sample.inputs, slot).items()} for sample in samples]


def _add(noise: dict[str, NoiseSum], expected: Arrays, got: Arrays) -> None:
    for name, array in expected.items():
        if name not in got:
            raise EngineError(f"the output {name} is missing")
        if got[name].shape != array.shape:
            raise EngineError(f"the output {name} has shape {list(got[name].shape)}, not {list(array.shape)}")
        noise.setdefault(name, NoiseSum()).add(array, got[name])
