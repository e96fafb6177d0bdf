"""The usual slips in how a model is fed: what else could have been meant, and which options would say so.

Each is a change of the preprocessing or of the label offset: one option, or several that go together (a mean in
the order of the colours, mean and scale of a framework).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

from .dataset import Dataset
from .preprocess import Preprocess

Numbers = tuple[float, ...]

# (mean, scale) as models are published with, in the order R, G, B.
CONVENTIONS: tuple[tuple[Numbers, Numbers], ...] = (
    ((123.0, 117.0, 104.0), (1.0,)),  # Caffe
    ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # PyTorch
    ((127.5,), (127.5,)),  # TensorFlow: -1 to 1
    ((0.0,), (255.0,)),  # 0 to 1
    ((0.0,), (1.0,)),  # 0 to 255
)
KEPT = 0.875  # of the resized image's side is cut out: 224 of 256


@dataclass(frozen=True)
class Reading:
    """One way to read the data: steps (None where arrays are fed as they are) and label offset."""

    steps: Preprocess | None
    label_offset: int

    def changes(self, given: Reading) -> dict[str, str]:
        """The options that turn ``given`` into this: ``{"--channels": "bgr", "--mean": "104,117,123"}``."""
        found: dict[str, str] = {}
        if self.steps is not None and given.steps is not None:
            for name in ("channels", "layout", "mean", "scale"):
                if getattr(self.steps, name) != getattr(given.steps, name):
                    found[f"--{name}"] = _text(getattr(self.steps, name))
            if self.steps.resize != given.steps.resize and self.steps.resize is not None:
                found["--resize"] = _text(self.steps.resize)
                if self.steps.crop is not None:  # a size that is said replaces all sizes that were guessed
                    found["--crop"] = _text(self.steps.crop)
        if self.label_offset != given.label_offset:
            found["--label-offset"] = str(self.label_offset)
        return found


def readings(data: Dataset, sample: int, inputs: Sequence[TensorSpec]) -> list[Reading]:
    """The reading as given, and then all others that fit the model's inputs; without images only the label offsets.

    Raises:
        SampleError: ``sample``, which is looked at for it, cannot be read.
    """
    steps: list[Preprocess | None] = [data.preprocess]
    if data.preprocess is not None and data.image(sample) is not None:
        steps += other_steps(data.preprocess, inputs[0])
    offsets = (data.label_offset, data.label_offset - 1, data.label_offset + 1)
    return [Reading(one, offset) for one in steps for offset in offsets]


def other_steps(given: Preprocess, spec: TensorSpec) -> list[Preprocess]:
    """The steps that could have been meant instead and whose result fits the input, each once, fewest changes first."""
    found = dict.fromkeys(
        (*_other_order(given), *_other_numbers(given), *_other_conventions(given), *_other_sizes(given))
    )
    return [steps for steps in found if steps != given and _fits(steps, spec)]


def _other_order(given: Preprocess) -> Iterator[Preprocess]:
    """Of the colours, of the numbers that belong to them, of both; of the axes."""
    turned = {"mean": given.mean[::-1], "scale": given.scale[::-1]}
    if given.channels != "gray":
        swapped = _swapped(given)
        yield swapped
        yield replace(given, **turned)  # type: ignore[arg-type]
        yield replace(swapped, **turned)  # type: ignore[arg-type]
    yield replace(given, layout="nhwc" if given.layout == "nchw" else "nchw")


def _other_numbers(given: Preprocess) -> Iterator[Preprocess]:
    """Mean or scale of a convention; numbers in 0..1 units, or a scale for pixels in them."""
    for mean, scale in _conventions(given):
        yield replace(given, mean=mean)
        yield replace(given, scale=scale)
    yield replace(given, scale=_times(given.scale, 255))
    yield replace(given, scale=_times(given.scale, 1 / 255))
    yield replace(given, scale=_times(given.scale, 255), mean=_times(given.mean, 255))


def _other_conventions(given: Preprocess) -> Iterator[Preprocess]:
    """Mean and scale that go together, in the order of the colours given and in the other."""
    orders = (given,) if given.channels == "gray" else (given, _swapped(given))
    for steps in orders:
        for mean, scale in _conventions(steps):
            yield replace(steps, mean=mean, scale=scale)


def _other_sizes(given: Preprocess) -> Iterator[Preprocess]:
    """No border around the crop where there is one, and one where there is none."""
    if given.fit == "short-side" and isinstance(given.crop, int):
        bordered = isinstance(given.resize, int) and given.resize > given.crop
        yield replace(given, resize=given.crop if bordered else round(given.crop / KEPT))


def _conventions(given: Preprocess) -> Iterator[tuple[Numbers, Numbers]]:
    """In the order of its colours; gray takes those that are the same for all colours."""
    for mean, scale in CONVENTIONS:
        if given.channels != "gray":
            yield (mean[::-1], scale[::-1]) if given.channels == "bgr" else (mean, scale)
        elif len(mean) == len(scale) == 1:
            yield mean, scale


def _swapped(given: Preprocess) -> Preprocess:
    return replace(given, channels="rgb" if given.channels == "bgr" else "bgr")


def _fits(steps: Preprocess, spec: TensorSpec) -> bool:
    try:
        steps.check(spec)
    except DataError:
        return False
    return True


def _times(numbers: Numbers, factor: float) -> Numbers:
    """Six digits: what a person would write down."""
    return tuple(float(f"{number * factor:.6g}") for number in numbers)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{number:.10g}" for number in value)
    return str(value)
