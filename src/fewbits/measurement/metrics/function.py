"""A metric the user brings: ``module:function``, imported only when it is named."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError, InputError
from fewbits.measurement.metrics.evidence import Evidence, Outputs, mean, values


@dataclass(frozen=True)
class FunctionMetric:
    """The mean of ``function(outputs, target)`` over the samples; higher is better.

    ``outputs`` is ``{name: array}`` with a batch axis of 1, ``target`` what the data set gives, None where
    it has no labels. The function returns a fraction from 0 to 1 (a drop of 0.01 is one point).
    """

    name: str
    function: Callable[[dict[str, NDArray[Any]], Any], float]
    needs_labels: bool = False
    needs_reference: bool = False

    def observe(self, outputs: Outputs, target: object | None, reference: Outputs | None) -> float:  # noqa: ARG002
        """What the function says of this sample.

        Raises:
            DataError: the function failed, or returned no finite number from 0 to 1.
        """
        try:
            returned = self.function(dict(outputs), target)
        except Exception as error:
            raise DataError(f"the metric function failed: {type(error).__name__}: {error}", where=self.name) from error
        try:
            value = float(returned)
        except (TypeError, ValueError):
            value = math.nan
        if not 0.0 <= value <= 1.0:  # false for NaN too
            raise DataError(
                f"the metric function returned {returned!r}",
                where=self.name,
                fix="return one finite number from 0 (worst) to 1 (best)",
            )
        return value

    def score(self, evidence: Sequence[Evidence]) -> float:
        """The mean of what the function returned.

        Raises:
            DataError: there is no sample.
        """
        return mean(self.per_sample(evidence))

    def per_sample(self, evidence: Sequence[Evidence]) -> NDArray[np.float64]:
        """What the function returned for each sample."""
        return values(evidence)


def load(name: str) -> FunctionMetric:
    """The metric behind ``module:function``; the module may lie in the current folder.

    Raises:
        InputError: the module cannot be imported, or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)  # last, so that a file here never hides an installed package
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"cannot import {module_name!r}: {type(error).__name__}: {error}",
            where=f"--metric {name}",
            fix="name it module:function, with the module installed or in the current folder",
        ) from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(
            f"{module_name!r} has no function {function_name!r}",
            where=f"--metric {name}",
            fix="name a function f(outputs, target) -> float",
        )
    return FunctionMetric(name=name, function=function)
