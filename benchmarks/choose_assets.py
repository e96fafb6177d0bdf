"""The main job on real models: ``python -m benchmarks.choose_assets [MODEL ...]``.

Prints for each model its FP32 accuracy against the published one, every candidate's speed as a ratio to FP32, its
drop, and how long the whole choice took.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import fewbits
from benchmarks.assets import chosen
from fewbits.selection.records import Measured

DEFAULT = ["squeezenet_v1.1", "mobilenet_v2_1.0_224", "resnet56_cifar10"]


def main(names: list[str]) -> int:
    """Run them all; 1 where an FP32 accuracy is not what is published."""
    wrong = 0
    for asset in chosen(names or DEFAULT):
        with tempfile.TemporaryDirectory() as folder:
            decision = fewbits.choose(asset.model, asset.options(), out=Path(folder) / "run")
        measured = {o.candidate.name: o.measurement for o in decision.outcomes if isinstance(o, Measured)}
        reference = measured[decision.reference]
        print(f"\n{asset.name}: {decision.seconds:.0f} s, chosen {decision.chosen}")
        for name, m in measured.items():
            if m.accuracy is None:
                continue
            latency = np.median(reference.timing.round_ms / m.timing.round_ms)
            throughput = np.median(m.timing.round_fps / reference.timing.round_fps)
            drop = m.accuracy.drop.estimate * 100 if m.accuracy.drop else 0.0
            agreement = f"{m.accuracy.agreement:.3f}" if m.accuracy.agreement is not None else "-"
            print(
                f"  {name:20} latency x{latency:5.2f}  throughput x{throughput:5.2f}  "
                f"drop {drop:6.2f}  agreement {agreement}"
            )
            if name.endswith("-fp32") and abs(m.accuracy.score - asset.top1) > 0.003:
                print(f"  FP32 top-1 is {m.accuracy.score:.4f}, published {asset.top1:.4f}")
                wrong += 1
        print(f"  FP32 top-1 {reference.accuracy.score:.4f} (published {asset.top1:.4f})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
