"""An IR of 2018 to 2019 (versions 2 to 7) as frozen records: what stands in its XML, checked, nothing interpreted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# 8 and 9 were never published; 10 began the operation sets that OpenVINO of today still reads.
OLDEST, NEWEST = 2, 7
INTEGER = "I8"
LEVEL = "quantization_level"


@dataclass(frozen=True)
class Port:
    """One end of an edge: [1, 3, 224, 224]."""

    id: int
    dims: tuple[int, ...]
    precision: str = ""


@dataclass(frozen=True)
class Blob:
    """Bytes of the ``.bin``; the precision is empty where the layer's holds."""

    offset: int
    size: int
    precision: str = ""


@dataclass(frozen=True)
class Layer:
    """One layer; ``data`` holds its attributes as text, ``line`` is where it stands in the XML (0: nowhere)."""

    id: int
    name: str
    type: str
    precision: str
    data: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True)
class Edge:
    """From an output port to an input port, by the ids of layers and ports."""

    from_layer: int
    from_port: int
    to_layer: int
    to_port: int


@dataclass(frozen=True)
class Extremes:
    """Of one layer's output: minimum and maximum of each channel, in real numbers."""

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]


@dataclass(frozen=True)
class Channel:
    """What is done to a channel of an input first: (x - mean) / scale; the mean may be an image in the ``.bin``."""

    mean: float = 0.0
    scale: float = 1.0
    image: Blob | None = None


@dataclass(frozen=True)
class Preprocess:
    """``reference`` names the input it is for, or is empty; ``precision`` is that of mean images."""

    reference: str
    precision: str
    channels: tuple[Channel, ...]


@dataclass(frozen=True)
class Net:
    """The whole document; ``statistics`` by layer name."""

    name: str
    version: int
    layers: tuple[Layer, ...]
    edges: tuple[Edge, ...]
    statistics: Mapping[str, Extremes] = field(default_factory=dict)
    preprocess: tuple[Preprocess, ...] = ()
