"""The kinds of file the door knows: those a frontend reads, and those it can only explain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """A kind of model that a frontend reads: what to call one, and the suffix it should have."""

    ONNX = ("an ONNX model", ".onnx")
    CAFFE = ("a Caffe network", ".prototxt")
    OPENVINO = ("an OpenVINO IR", ".xml")
    LEGACY_IR = ("an OpenVINO IR before version 10", ".xml")
    TENSORFLOW = ("a TensorFlow frozen graph", ".pb")
    SAVED_MODEL = ("a TensorFlow SavedModel", "")
    TFLITE = ("a TensorFlow Lite model", ".tflite")
    PADDLE = ("a PaddlePaddle model", ".pdmodel")
    TORCH = ("an exported PyTorch program", ".pt2")

    def __init__(self, label: str, suffix: str) -> None:
        self.label = label
        self.suffix = suffix


@dataclass(frozen=True)
class Explained:
    """A kind of file that is no model fewbits can read, and what to do with it.

    ``fix`` may name the file's stem as ``{stem}`` and its name as ``{name}``.
    """

    what: str
    fix: str


# Suffix → the kinds a file of that name may hold; where its content shows none of them, the first is taken to be meant.
SUFFIXES: dict[str, tuple[Kind, ...]] = {
    ".onnx": (Kind.ONNX,),
    ".prototxt": (Kind.CAFFE,),
    ".xml": (Kind.OPENVINO, Kind.LEGACY_IR),
    ".pb": (Kind.TENSORFLOW, Kind.ONNX),
    ".tflite": (Kind.TFLITE,),
    ".pdmodel": (Kind.PADDLE,),
    ".pt2": (Kind.TORCH,),
    ".pt": (Kind.TORCH,),
    ".pth": (Kind.TORCH,),
    ".th": (Kind.TORCH,),
}
# What is none of these shows in its first bytes: their frontends need not see it.
RECOGNIZABLE = frozenset({Kind.OPENVINO, Kind.LEGACY_IR, Kind.TENSORFLOW, Kind.TFLITE, Kind.TORCH})

_EXPORT = (
    "in the program that defines the network: torch.export.save(torch.export.export(model.eval(), (example,)), "
    "'{stem}.pt2'), or fewbits.load(model, (example,))"
)
CAFFE_WEIGHTS = Explained(
    "these are Caffe weights without their network", "give the network: deploy.prototxt --weights {name}"
)
STATE_DICT = Explained("these are PyTorch weights without their network, or a pickled module", _EXPORT)
TORCHSCRIPT = Explained("this is a TorchScript program, which no frontend reads", _EXPORT)
KERAS = Explained(
    "this is a Keras model, which no frontend reads",
    "where it was made: keras.models.load_model('{name}').export('{stem}_savedmodel'), and give that folder",
)
HDF5 = Explained("this is an HDF5 file, as Keras writes them, which no frontend reads", KERAS.fix)
PICKLE = Explained("this is a pickle, which may run any program when it is read", _EXPORT)
SAVED_MODEL_FILE = Explained("this is the graph of a TensorFlow SavedModel", "give the folder it lies in")
LFS_POINTER = Explained("this is a Git LFS pointer in the place of the file", "fetch the file itself: git lfs pull")
WEB_PAGE = Explained("this is a web page", "download the file itself")
BROKEN_ZIP = Explained("this is a zip archive that is cut off or damaged", "export or download it again")
ZIP = Explained("this is a zip archive without a model that a frontend reads", "unpack it and give the model in it")

# What a suffix alone says where the content says nothing.
EXPLAINED_SUFFIXES: dict[str, Explained] = {
    ".caffemodel": CAFFE_WEIGHTS,
    ".bin": Explained("these are weights without their network", "give the model they belong to, such as {stem}.xml"),
    ".h5": HDF5,
    ".hdf5": HDF5,
    ".keras": KERAS,
    ".pdiparams": Explained("these are PaddlePaddle weights without their network", "give {stem}.pdmodel"),
    ".safetensors": Explained("these are weights without their network", "export the network they belong to as .onnx"),
    ".pbtxt": Explained("this is a graph as text, which no frontend reads", "save it in binary form, as .pb"),
    ".pkl": PICKLE,
}
READ = ".onnx, .prototxt with --weights, .xml (OpenVINO IR), .pb, a SavedModel folder, .tflite, .pdmodel or .pt2"
