"""Why an INT8 model is far from FP32: the worst layer, and the calibration sample that stretched a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewbits.calibration.sizes import unsized
from fewbits.data import Dataset, Sample, first, stream
from fewbits.engines import Engine, Options
from fewbits.graph.taps import MAXIMUM, MINIMUM, OUTPUT, tapped
from fewbits.measurement.layers import compare_values, shared_values, with_outputs
from fewbits.quantization.tune import Tuned, build

# Calibration samples that are looked at again; a sample stretches a range to that many times what all others reach.
_LOOKED_AT, _STRETCHED = 512, 8.0


def worst_layer(tuned: Tuned, samples: Sequence[Sample], engine: Engine, options: Options) -> str:
    """``conv3 (2.1 dB)``: the layer whose result is furthest from FP32's; empty where no layer is shared.

    Raises:
        EngineError: the engine cannot run one of the models with its inner values as outputs.
    """
    base, version = tuned.source, build(tuned)
    shared = shared_values(base, version)
    if not shared:
        return ""
    sessions = (
        engine.compile(with_outputs(base, [value.name for value in shared]), options),
        engine.compile(with_outputs(version, [value.other for value in shared]), options),
    )
    try:
        rows, _ = compare_values(base, shared, sessions, samples)
    finally:
        for session in sessions:
            session.close()
    worst = min(rows, key=lambda row: row.sqnr_db)
    return f"{worst.node} ({worst.sqnr_db:.1f} dB)"


def stretching_sample(tuned: Tuned, dataset: Dataset, engine: Engine, options: Options) -> str:
    """``x[3] takes x to 1e+06, where no other sample passes 4.2``; empty where no sample stands out.

    Raises:
        EngineError: the engine cannot run the tapped model.
    """
    names = list(tuned.plan.values)
    names = sorted(set(names) - set(unsized(tuned.source, names)), key=names.index)
    if not names:
        return ""
    samples = first(stream(dataset, workers=2), _LOOKED_AT)
    probe, layout = tapped(tuned.source, names, 0)
    session = engine.compile(probe, options)
    reached = []
    try:
        for sample in samples:
            taps = np.abs(session.run(sample.inputs)[OUTPUT])
            places = [[tap.places[kind] for kind in (MINIMUM, MAXIMUM) if kind in tap.places] for tap in layout.taps]
            reached.append([max(float(taps[place].max()) for place in found) for found in places])
    finally:
        session.close()
    if len(reached) < 2:
        return ""
    table = np.array(reached)  # [samples, values]
    second, most = np.sort(table, axis=0)[-2:]
    ratios = most / np.maximum(second, np.finfo(np.float32).tiny)
    stretched = np.flatnonzero(ratios >= _STRETCHED)
    if not stretched.size:
        return ""
    value = int(stretched[0])
    sample = samples[int(np.argmax(table[:, value]))]
    return f"{sample.name} takes {names[value]} to {most[value]:.3g}, where no other sample passes {second[value]:.3g}"
