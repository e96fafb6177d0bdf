"""What the ONNX reference evaluator says: an oracle that knows no bounds of time and memory, so it is given some.

It holds every activation of a model and unrolls convolutions, which took 24 GB on a model of 3 MB. It runs in a process
of its own, on a few samples, and not at all where the multiply-accumulates alone would take too long.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.devices.host import free_bytes
from fewbits.engines import Arrays
from fewbits.engines.child import Bounds, reference_outputs
from fewbits.errors import EngineError
from fewbits.graph import queries

# Convolutions of usual sizes reach a billion a second; small and grouped ones a tenth of that.
_MACS_PER_S = 2e8
_LONGEST_S, _WALL_S = 20.0, 40.0
_MOST_BYTES = 4 << 30
# One sample shows nothing: an edge, a saturated output, all but zeros.
LEAST_SAMPLES = 2


def oracle_answers(model: ir.Model, samples: Sequence[Sample]) -> list[Arrays]:
    """Its outputs on the first of these samples, on as many as there is time for.

    Raises:
        EngineError: it cannot run the model, or not within the bounds.
    """
    seconds = sum(map(queries.macs, model.graph)) / _MACS_PER_S
    count = len(samples) if not seconds else min(len(samples), int(_LONGEST_S / seconds))
    if count < min(LEAST_SAMPLES, len(samples)):
        raise EngineError(f"it would take about {seconds:.0f} s a sample")
    memory = min(_MOST_BYTES, free_bytes() // 2)
    bounds = Bounds(wall_s=_WALL_S, cpu_s=int(2 * _WALL_S), memory_bytes=memory)
    return reference_outputs(model, [sample.inputs for sample in samples[:count]], bounds)
