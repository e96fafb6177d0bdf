"""The layers that run at deployment: phases and stages decided, the old form of layers brought to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewbits.errors import ModelError
from fewbits.frontends.caffe import text
from fewbits.frontends.caffe.parameters import Parameters
from fewbits.frontends.caffe.schema import FIELDS, OLD_TYPES

_PHASE = "TEST"
_STAGES = frozenset({"deploy"})
_LEVEL = 0
_MOST_DIMS = 8


@dataclass(frozen=True)
class Layer:
    """One layer: blobs by name, its fields as the file has them; ``shared`` names blobs held in common."""

    name: str
    type: str
    line: int
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: Parameters
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """A blob that comes from outside, and its shape with the file's own batch."""

    name: str
    shape: tuple[int, ...]
    line: int


@dataclass(frozen=True)
class Net:
    """What the file describes; ``notes`` are sentences about what was left out."""

    name: str
    path: str
    inputs: tuple[Input, ...]
    layers: tuple[Layer, ...]
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Net:
    """Read a prototxt as Caffe runs it in phase TEST, stage "deploy".

    Raises:
        ModelError: not a network description, a wrong value, or a form older than ``layers { type: … }``.
    """
    fields = Parameters(text.read(path), str(path), "")
    layers, old = fields.messages("layer"), fields.messages("layers")
    if not layers and not old:
        raise ModelError("no layers, so no Caffe network", where=str(path), fix="give a deploy.prototxt")
    if layers and old:
        raise old[0].error("'layer' and 'layers' in one file", fix="upgrade it with Caffe's upgrade_net_proto_text")
    strange = sorted(set(fields.message.fields) - FIELDS["net"])
    notes = [f"{path.name}: the field '{name}' is no part of a network and is left out" for name in strange]
    made = [_layer(message, index, bool(old)) for index, message in enumerate(layers or old) if _runs(message)]
    inputs = _inputs(fields)
    for layer in made:
        if layer.type == "Input":
            inputs += _input_layer(layer)
    return Net(fields.text("name", path.stem), str(path), inputs, tuple(made), notes)


def _layer(fields: Parameters, index: int, old: bool) -> Layer:
    if fields.has("layer"):
        raise fields.error("layers of Caffe's oldest form", fix="upgrade it with Caffe's upgrade_net_proto_text")
    kind = fields.text("type")
    if not kind:
        raise fields.error("a layer without a type", fix="add its type")
    kind = OLD_TYPES.get(kind, kind) if old else kind
    name = fields.text("name") or f"{kind}_{index}"
    fields = Parameters(fields.message, fields.path, f"layer '{name}' ({kind})")
    shared = fields.texts("param") if old else [parameter.text("name") for parameter in fields.messages("param")]
    return Layer(
        name,
        kind,
        fields.message.line,
        tuple(fields.texts("bottom")),
        tuple(fields.texts("top")),
        fields,
        tuple(shared),
    )


def _runs(layer: Parameters) -> bool:
    include, exclude = layer.messages("include"), layer.messages("exclude")
    if include:
        return any(map(_meets, include))
    return not any(map(_meets, exclude))


def _meets(rule: Parameters) -> bool:
    strange = set(rule.message.fields) - FIELDS["rule"]
    if strange:
        raise rule.error(f"unknown field '{min(strange)}' in a rule", fix="remove it")
    if rule.choice("phase", ("TRAIN", "TEST"), _PHASE) != _PHASE:
        return False
    lowest, highest = rule.integer("min_level", _LEVEL, low=-1000), rule.integer("max_level", _LEVEL, low=-1000)
    wanted, unwanted = set(rule.texts("stage")), set(rule.texts("not_stage"))
    return lowest <= _LEVEL <= highest and wanted <= _STAGES and not unwanted & _STAGES


def _inputs(fields: Parameters) -> tuple[Input, ...]:
    names = fields.texts("input")
    shapes = [dims(shape) for shape in fields.messages("input_shape")]
    if not shapes:
        flat = fields.integers("input_dim", low=1)
        if len(flat) != 4 * len(names):
            raise fields.error(
                f"{len(flat)} input_dim for {len(names)} inputs, each of which takes four",
                fix="give an input_shape each",
            )
        shapes = [tuple(flat[at : at + 4]) for at in range(0, len(flat), 4)]
    if len(shapes) != len(names):
        raise fields.error(f"{len(shapes)} input_shape for {len(names)} inputs", fix="give one for each")
    return tuple(Input(name, shape, 1) for name, shape in zip(names, shapes, strict=True))


def _input_layer(layer: Layer) -> tuple[Input, ...]:
    shapes = [dims(shape) for shape in layer.fields.child("input_param").messages("shape")]
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if not shapes or len(shapes) != len(layer.tops):
        raise layer.fields.error(f"{len(shapes)} shapes for {len(layer.tops)} tops", fix="give one for each")
    return tuple(Input(top, shape, layer.line) for top, shape in zip(layer.tops, shapes, strict=True))


def dims(shape: Parameters) -> tuple[int, ...]:
    """The sizes of a ``shape { dim: … }``, each 1 or more."""
    sizes = tuple(shape.integers("dim", low=1))
    if not 1 <= len(sizes) <= _MOST_DIMS:
        raise shape.error(f"a shape of {len(sizes)} dimensions", fix="give 1 to 8 of them")
    return sizes


@dataclass(frozen=True)
class Wiring:
    """Which version of a blob each bottom reads; a version is (index of the layer, or -1 for an input; blob).

    ``readers`` lists the layers that read a version, ``open`` the versions that nothing reads: the outputs.
    """

    sources: tuple[tuple[tuple[int, str], ...], ...]
    readers: dict[tuple[int, str], list[int]]
    open: tuple[tuple[int, str], ...]


def wire(inputs: Sequence[Input], layers: Sequence[Layer]) -> Wiring:
    """Follow the blobs from layer to layer, in-place layers included.

    Raises:
        ModelError: a bottom that no earlier layer makes, or a blob made twice.
    """
    latest: dict[str, tuple[int, str]] = {item.name: (-1, item.name) for item in inputs}
    readers: dict[tuple[int, str], list[int]] = {version: [] for version in latest.values()}
    makers = {top: layer for layer in reversed(layers) for top in layer.tops}
    sources = []
    for index, layer in enumerate(layers):
        for bottom in layer.bottoms:
            if bottom not in latest:
                raise _undefined(layer, bottom, makers.get(bottom))
            readers[latest[bottom]].append(index)
        sources.append(tuple(latest[bottom] for bottom in layer.bottoms))
        for top in layer.tops:
            if top in latest and top not in layer.bottoms:
                raise layer.fields.error(f"the blob '{top}' was made before", fix="give its top another name")
            latest[top] = (index, top)
            readers[index, top] = []
    return Wiring(tuple(sources), readers, tuple(version for version in latest.values() if not readers[version]))


def _undefined(layer: Layer, bottom: str, maker: Layer | None) -> ModelError:
    if maker is None:
        return layer.fields.error(f"no layer makes its bottom '{bottom}'", fix="correct the name, or add the input")
    return layer.fields.error(
        f"its bottom '{bottom}' is made by layer '{maker.name}' only in line {maker.line}",
        fix="put the layers in the order they run; circles cannot run",
    )
