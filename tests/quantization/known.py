"""An engine whose answers are known, for what decides by them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from fewbits.engines import Arrays, Engine, Options, Profile, Session
from fewbits.quantization.trial import name
from fewbits.quantization.workshop import Tuned

_VARIANT = "variant"
TRUTH = np.array([1.0, -2.0, 4.0])
Answer = Callable[[str, int], Arrays]


def labelled(tuned: Tuned) -> ir.Model:
    """Takes the place of the quantized model: nothing but the variant's name."""
    graph = ir.Graph([], [], nodes=[], name="empty")
    return ir.Model(graph, ir_version=10, metadata_props={_VARIANT: name(tuned.recipe)})


class Oracle(Engine):
    """Answers for the FP32 model, called ``""``, and for each variant by its name; samples go by their first number.

    As sessions may, it hands out one buffer that the next run overwrites.
    """

    name = "oracle"

    def __init__(self, answer: Answer) -> None:
        self.__dict__.update(answer=answer, compiled=[], options=[], open=[], lock=threading.Lock())

    version = "0"

    def devices(self) -> tuple[str, ...]:
        return ("CPU",)

    def refuses(self, precision: str, device: str) -> str | None:
        return None

    def profile(self, source: object, options: Options, inputs: Arrays, runs: int = 20) -> Profile:
        raise NotImplementedError

    def compile(self, source: object, options: Options) -> Session:
        asked = source.metadata_props.get(_VARIANT, "") if isinstance(source, ir.Model) else ""
        with self.lock:
            self.compiled.append(asked)
            self.options.append(options)
            self.open.append(asked)
        return _Session(self, asked)


class _Session(Session):
    def __init__(self, engine: Oracle, asked: str) -> None:
        self._engine, self._asked = engine, asked
        self._buffers: Arrays = {}

    def run(self, inputs: Mapping[str, np.ndarray], slot: int = 0) -> Arrays:
        for key, array in self._engine.answer(self._asked, int(next(iter(inputs.values())).flat[0])).items():
            if key not in self._buffers or self._buffers[key].shape != array.shape:
                self._buffers[key] = np.empty_like(array)
            self._buffers[key][...] = array
        return self._buffers

    def close(self) -> None:
        self._engine.open.remove(self._asked)


def at(db: float) -> np.ndarray:
    """The truth with so much noise."""
    return TRUTH * (1 + 10 ** (-db / 20))


def reaching(table: Mapping[str, Sequence[float] | float]) -> Oracle:
    """Each variant reaches these dB, the same on all samples or one after the other."""

    def answer(asked: str, index: int) -> Arrays:
        if not asked:
            return {"y": TRUTH}
        found = table[asked]
        return {"y": at(found if isinstance(found, float) else found[index % len(found)])}

    return Oracle(answer)
