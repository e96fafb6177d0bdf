"""What only training has: data layers become inputs, labels vanish with the losses and scores that read them."""

from __future__ import annotations

from dataclasses import replace

from fewbits.errors import ModelError
from fewbits.frontends.caffe.net import Input, Layer, Net, dims
from fewbits.frontends.caffe.parameters import Parameters

DATA_LAYERS = frozenset(
    {"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData", "AnnotatedData", "VideoData"}
)
DROPPED = frozenset(
    {"Accuracy", "ContrastiveLoss", "EuclideanLoss", "HDF5Output", "HingeLoss", "InfogainLoss", "DetectionEvaluate"}
    | {"MultiBoxLoss", "MultinomialLogisticLoss", "SmoothL1Loss", "L1Loss", "TripletLoss", "CenterLoss"}
)
# Losses that hold an activation: what it computes of the scores is what a deployed network answers.
ACTIVATION_OF = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}
_COLORS = 3


def deployed(net: Net) -> Net:
    """The network without its data layers, labels, losses and scores.

    Raises:
        ModelError: a data layer whose size the file does not tell, or a layer that needs labels to run.
    """
    inputs, layers, notes = list(net.inputs), [], list(net.notes)
    known, labels = {item.name for item in inputs}, set[str]()
    activated = {(layer.type, bottom) for layer in net.layers for bottom in layer.bottoms}
    for layer in net.layers:
        gone = [bottom for bottom in layer.bottoms if bottom in labels]
        if layer.type in DATA_LAYERS:
            if layer.tops and layer.tops[0] not in known:
                inputs.append(_input(layer))
                notes.append(_said(layer, inputs[-1]))
                known.add(layer.tops[0])
            labels.update(top for top in layer.tops if top not in known)
        elif layer.type in DROPPED or (layer.bottoms and len(gone) == len(layer.bottoms)):
            labels.update(top for top in layer.tops if top not in layer.bottoms)
        elif layer.type in ACTIVATION_OF:
            activation = ACTIVATION_OF[layer.type]
            if not layer.bottoms:
                raise layer.fields.error("it has no bottom", fix="name the scores it reads")
            if (activation, layer.bottoms[0]) not in activated:
                tops = layer.tops[:1] or (layer.name,)
                layers.append(replace(layer, type=activation, bottoms=layer.bottoms[:1], tops=tops))
        elif gone:
            raise layer.fields.error(f"it reads '{gone[0]}', which is there only in training", fix="remove the layer")
        elif layer.type != "Input":
            layers.append(layer)
    if not inputs:
        raise ModelError("no input", where=net.path, fix="add an Input layer with its shape")
    return replace(net, inputs=tuple(inputs), layers=tuple(layers), notes=notes)


def _input(layer: Layer) -> Input:
    shape = _SIZES.get(layer.type, _transformed)(layer.fields)
    if shape is None:
        raise layer.fields.error(
            "the size of its data stands in no field",
            fix=f"give a deploy.prototxt, or replace it by an Input layer: input_param {{ shape {{ dim: 1 … }} }} with "
            f'top: "{layer.tops[0]}"',
        )
    return Input(layer.tops[0], shape, layer.line)


def _said(layer: Layer, made: Input) -> str:
    sizes = "x".join(map(str, made.shape))
    sentence = f"layer '{layer.name}' ({layer.type}) became the input '{made.name}' of {sizes}"
    transform = layer.fields.child("transform_param")
    steps = [
        f"{name} {', '.join(transform.texts(name))}"
        for name in ("mean_value", "mean_file", "scale")
        if transform.has(name)
    ]
    return f"{sentence}; its preprocessing ({'; '.join(steps)}) is not part of the model" if steps else sentence


def _transformed(fields: Parameters) -> tuple[int, ...] | None:
    """Images of the size they are cropped or resized to."""
    transform, images = fields.child("transform_param"), fields.child("image_data_param")
    gray = transform.truth("force_gray", False) or not images.truth("is_color", True)
    resized = transform.child("resize_param")
    crop = transform.integer("crop_size", 0)
    for height, width in (
        (crop, crop),
        (resized.integer("height", 0), resized.integer("width", 0)),
        (images.integer("new_height", 0), images.integer("new_width", 0)),
    ):
        if height and width:
            return 1, 1 if gray else _COLORS, height, width
    return None


def _held(fields: Parameters) -> tuple[int, ...] | None:
    memory = fields.child("memory_data_param")
    sizes = [memory.integer(name, 0) for name in ("channels", "height", "width")]
    return (1, *sizes) if all(sizes) else None


def _dummy(fields: Parameters) -> tuple[int, ...] | None:
    dummy = fields.child("dummy_data_param")
    shapes = dummy.messages("shape")
    if shapes:
        return dims(shapes[0])
    sizes = [dummy.integers(name, low=1) for name in ("num", "channels", "height", "width")]
    return tuple(size[0] for size in sizes) if all(sizes) else None


_SIZES = {"MemoryData": _held, "DummyData": _dummy}
