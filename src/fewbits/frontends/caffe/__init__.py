"""Caffe (``.prototxt`` and ``.caffemodel``) → Model.

The way: ``text`` reads the description, ``net`` decides phases and wires blobs, ``training`` takes out what only
training has, ``weights`` brings the blobs (``caffemodel``) or draws them (``fillers``), ``build`` writes layer after
layer by ``table``, whose functions stand in a file a family.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.frontends.caffe import net as network
from fewbits.frontends.caffe import training
from fewbits.frontends.caffe.build import build
from fewbits.frontends.caffe.weights import Drawn, Trained, Weights
from fewbits.frontends.onnx import normalise


def load(path: Path, *, weights: Path | None, random_weights: bool, seed: int) -> ir.Model:
    """Read a Caffe network as it is deployed.

    Args:
        path: the ``.prototxt``; of a training description the phase TEST is taken, losses and scores left out.
        weights: the ``.caffemodel``; None takes the one of the same name beside the prototxt, or the only one there.
        random_weights: draw the weights by the prototxt's fillers instead, for studies of speed.
        seed: of that draw.

    Returns:
        The model; ``meta["notes"]`` holds sentences a person should read.

    Raises:
        ModelError: a file that cannot be read, a layer that cannot be converted (with its line), or no weights.
    """
    net = training.deployed(network.read(path))
    source, said = _weights(path, weights, random_weights, seed)
    model, decided = build(net, source)
    model = normalise(model)
    model.meta["frontend"] = "Caffe"
    model.meta["notes"] = [*said, *net.notes, *decided]
    return model


def _weights(path: Path, given: Path | None, random: bool, seed: int) -> tuple[Weights, list[str]]:
    if random and given is not None:
        raise ModelError("weights and random weights exclude each other", where=str(given), fix="give one of them")
    if random:
        return Drawn(seed), [
            f"THE WEIGHTS ARE RANDOM (seed {seed}): speed and size mean something, accuracy does not; they follow the "
            "prototxt's fillers where it gives them, elsewhere they are drawn such that signals keep their size"
        ]
    if given is None:
        given = _beside(path)
        if given is None:
            raise ModelError(
                "no weights beside it",
                where=str(path),
                fix="give --weights X.caffemodel, or --random-weights to study speed",
            )
    return Trained(given), []


def _beside(path: Path) -> Path | None:
    same = path.with_suffix(".caffemodel")
    if same.is_file():
        return same
    others = sorted(path.absolute().parent.glob("*.caffemodel"))
    return others[0] if len(others) == 1 else None
