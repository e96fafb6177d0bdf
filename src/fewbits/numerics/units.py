"""How far a model's outputs are from a reference, pooled over samples and unit by unit.

One figure for a model hides faults: where an output holds boxes in pixels and scores between 0 and 1, the boxes drown
the scores; where samples are averaged in decibels, those whose softmax is saturated drown the others. So the noise of
each unit u is pooled over the samples i, and the worst unit counts::

    ratio_u(i) = sum (r_i - o_i)**2 / E_u     E_u = mean over i of sum r_i**2     sqnr_db = -10 log10 mean_i ratio_u

A unit is an output, or those of its columns whose magnitude is far from that of the others (``_APART``). Columns lie
along the axis that shows the widest gap. Scores between 0 and 1 are worth 0.02 at least, so that noise of a millionth
in a class that no sample shows does not count. Of whole numbers the share that differs takes the place of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

# Columns are of two units where their root mean squares are that many times apart, with none in between.
_APART = 30.0
# Numbers per column that tell its magnitude; and the most columns: more are positions, not quantities.
_LEAST_ROWS, _MOST_COLUMNS = 8, 512
_LEAST_SCORE = 0.02
# What an output that is zero throughout is worth.
_ZERO = 0.001


@dataclass(frozen=True)
class Unit:
    """Numbers of one output that are of one unit.

    Args:
        output: its name.
        axis: the axis that columns lie along; None for the whole output.
        columns: which of them.
        energy: sum of the squares of a sample, in the unit's square, mean over the samples of the reference.
    """

    output: str
    axis: int | None
    columns: tuple[int, ...]
    energy: float

    @property
    def label(self) -> str:
        """``boxes``, or ``boxes, columns 4 to 5 of axis 2``."""
        if self.axis is None:
            return self.output
        first, last = self.columns[0], self.columns[-1]
        which = f"column {first}" if first == last else f"columns {first} to {last}"
        return f"{self.output}, {which} of axis {self.axis}"


@dataclass(frozen=True)
class OutputNoise:
    """Signal to noise of one output of a model in an engine, in dB, pooled over samples.

    Args:
        unit: the part of the output that the figure is of, the worst one: the output itself, or some of its columns.
    """

    name: str
    engine: str
    sqnr_db: float
    unit: str


class Yardstick:
    """The units of a model's outputs, as reference outputs show them."""

    def __init__(self, reference: Sequence[Arrays]) -> None:
        """Find the units; outputs whose shape depends on the sample have none."""
        self._reference = reference
        self.units: list[Unit] = []
        for name in reference[0] if reference else ():
            arrays = [outputs[name] for outputs in reference]
            if len({array.shape for array in arrays}) == 1 and arrays[0].size and arrays[0].dtype.kind in "fiub":
                self.units += _units(name, arrays)

    def ratios(self, index: int, got: Arrays) -> NDArray[np.float64]:
        """Noise to signal of every unit on sample ``index``: f64[units]; infinite where the shape is another one."""
        expected = self._reference[index]
        squares = {name: _squares(expected[name], got.get(name)) for name in {unit.output for unit in self.units}}
        return np.array([_ratio(unit, squares[unit.output]) for unit in self.units])

    def pooled(self, outputs: Sequence[Arrays]) -> NDArray[np.float64]:
        """Mean noise to signal of every unit over the samples: f64[units]."""
        ratios = [self.ratios(index, got) for index, got in enumerate(outputs)]
        return np.asarray(np.mean(ratios, axis=0)) if ratios else np.zeros(len(self.units))

    def worst_db(self, outputs: Sequence[Arrays]) -> float:
        """Signal to noise of the worst unit, in dB; inf without any."""
        return decibels(float(self.pooled(outputs).max(initial=0.0)))

    def of_each_output(self, outputs: Sequence[Arrays], engine: str) -> tuple[OutputNoise, ...]:
        """The worst unit of each output, in the order of the outputs."""
        found: dict[str, OutputNoise] = {}
        for unit, ratio in zip(self.units, self.pooled(outputs), strict=True):
            known, reached = found.get(unit.output), decibels(float(ratio))
            if known is None or reached < known.sqnr_db:
                found[unit.output] = OutputNoise(unit.output, engine, reached, unit.label)
        return tuple(found.values())


def decibels(ratio: float) -> float:
    """Signal to noise in dB of a noise to signal ratio: inf for 0, -inf for inf."""
    if ratio == 0.0:
        return math.inf
    return -math.inf if not math.isfinite(ratio) else -10.0 * math.log10(ratio)


def _units(name: str, arrays: Sequence[NDArray[Any]]) -> list[Unit]:
    first = arrays[0]
    if first.dtype.kind != "f":
        return [Unit(name, None, (), float(first.size))]
    square = np.mean([_finite(array) ** 2 for array in arrays], axis=0)
    energy = float(square.sum())
    whole = Unit(name, None, (), energy if energy else _ZERO**2 * first.size)
    found = max((_columns(name, axis, arrays, square) for axis in range(1, first.ndim)), key=_gap, default=[])
    return [whole, *found]


def _columns(name: str, axis: int, arrays: Sequence[NDArray[Any]], square: NDArray[np.float64]) -> list[Unit]:
    """The columns along an axis by magnitude, each group a unit; none where all are of one."""
    count = square.shape[axis]
    rows = square.size // count
    if not 2 <= count <= _MOST_COLUMNS or rows * len(arrays) < _LEAST_ROWS or (rows == 1 and _are_shares(arrays)):
        return []
    others = tuple(i for i in range(square.ndim) if i != axis)
    energies = square.sum(axis=others)
    order = [int(column) for column in np.argsort(energies) if energies[column] > 0]
    groups: list[list[int]] = []
    for column in order:
        if not groups or energies[column] > _APART**2 * energies[groups[-1][-1]]:
            groups.append([])
        groups[-1].append(column)
    if len(groups) < 2:
        return []
    units = []
    for group in groups:
        energy = float(energies[group].sum())
        picked = [np.take(array, group, axis=axis) for array in arrays]
        if all(part.min() >= 0 and part.max() <= 1 for part in picked):
            energy = max(energy, _LEAST_SCORE**2 * rows * len(group))
        units.append(Unit(name, axis, tuple(sorted(group)), energy))
    return units


def _gap(units: Sequence[Unit]) -> float:
    """How far the magnitudes of the units are apart."""
    means = [unit.energy / len(unit.columns) for unit in units]
    return max(means) / min(means) if means else 0.0


def _are_shares(arrays: Sequence[NDArray[Any]]) -> bool:
    """Whether each array is a softmax: shares of one whole, however small some of them are."""
    return all(array.min() >= 0 and abs(float(array.sum()) - 1.0) < 1e-3 for array in arrays)


def _finite(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(np.isfinite(array), array, 0).astype(np.float64)


def _squares(expected: NDArray[Any], got: NDArray[Any] | None) -> NDArray[np.float64] | None:
    """Squared differences; None for another shape. What is not finite must be the same."""
    if got is None or got.shape != expected.shape:
        return None
    if expected.dtype.kind != "f":
        return np.asarray(expected != got, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        squares = (expected.astype(np.float64) - got.astype(np.float64)) ** 2
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    return np.asarray(np.where(np.isfinite(squares), squares, np.where(same, 0.0, np.inf)))


def _ratio(unit: Unit, squares: NDArray[np.float64] | None) -> float:
    if squares is None:
        return math.inf
    if unit.axis is not None:
        squares = np.take(squares, unit.columns, axis=unit.axis)
    return float(squares.sum()) / unit.energy
