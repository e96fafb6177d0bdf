"""How much of the error at the outputs each group of layers causes.

Measured, not modelled: a simulated quantized network is run with only this group quantized, and with all but this
group, on a few calibration samples. The cost is two short runs a group and a sample, whatever the test set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from fewbits.data import Sample
from fewbits.engines import Engine, Options
from fewbits.numerics import Yardstick
from fewbits.quantization.groups import Group
from fewbits.quantization.simulated import Simulated
from fewbits.quantization.trial import DECIBELS
from fewbits.quantization.workshop import Tuned

# Errors of single groups differ by tens of decibels; four samples tell them apart.
SENSITIVITY_SAMPLES = 4


@dataclass(frozen=True)
class Sensitivity:
    """SQNR of the worst unit of the outputs against FP32, in dB, pooled over samples.

    Args:
        only_db: with this group alone quantized. Low where the group is sensitive.
        but_db: with this group alone in float. High where keeping it in float helps.
    """

    only_db: float
    but_db: float


def sensitivities(
    tuned: Tuned,
    groups: Sequence[Group],
    samples: Sequence[Sample],
    engine: Engine,
    options: Options,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Sensitivity]:
    """Measure each group, by its name.

    Args:
        engine: what the simulated network runs on; all its threads are used, a run each.

    Raises:
        EngineError: the engine cannot run the simulated network.
    """
    samples = samples[:SENSITIVITY_SAMPLES]
    layers = frozenset(tuned.plan.weights)
    network = Simulated(tuned, engine, options)
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(network.slots):
        slots.put(slot)

    def sqnr(values: frozenset[str], quantized: frozenset[str]) -> float:
        slot = slots.get()
        try:
            outputs = [network.run(sample.inputs, values, quantized, slot) for sample in samples]
        finally:
            slots.put(slot)
        return float(np.clip(yardstick.worst_db(outputs), *DECIBELS))

    try:
        yardstick = Yardstick([network.run(sample.inputs, (), ()) for sample in samples])
        with ThreadPoolExecutor(network.slots) as pool:
            asked = []
            for group in groups:
                only = pool.submit(sqnr, group.alone, frozenset([group.name]))
                but = pool.submit(sqnr, group.without, layers - {group.name})
                asked.append((group.name, only, but))
            found = {}
            for done, (name, only, but) in enumerate(asked, 1):
                found[name] = Sensitivity(only.result(), but.result())
                progress(done, len(asked))
            return found
    finally:
        network.close()
