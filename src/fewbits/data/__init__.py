"""Data sets and preprocessing: from what the user names to arrays a model is fed, one sample at a time.

``open_dataset`` is the door; ``stream`` reads in order and ahead; ``Preprocess`` is what happens to images.
Everything read here is untrusted: files are bounded, confined to their folder, and never unpickled.
"""

from .checks import check_labels
from .dataset import Dataset
from .geometry import Placement
from .keeping import first, keeping
from .opening import open_dataset
from .preprocess import Preprocess
from .sample import BadSample, BadSamples, Box, Category, CocoTarget, Sample
from .store import Store
from .streaming import numbered, stream
from .subsets import overlap, split, subset, take

__all__ = [
    "BadSample",
    "BadSamples",
    "Box",
    "Category",
    "CocoTarget",
    "Dataset",
    "Placement",
    "Preprocess",
    "Sample",
    "Store",
    "check_labels",
    "first",
    "keeping",
    "numbered",
    "open_dataset",
    "overlap",
    "split",
    "stream",
    "subset",
    "take",
]
