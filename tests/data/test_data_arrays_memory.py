"""A mapped array does not fill the process's memory as its rows are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewbits.data.array_files import release

# A fresh process: the peak of this one has other reasons.
READ = """
import sys
from pathlib import Path
import numpy as np
from fewbits.data.array_dataset import open_npy
from fewbits.measurement.memory import peak_rss_bytes
from fewbits.numerics import TensorSpec
data = open_npy(Path(sys.argv[1]), (TensorSpec("x", (1, 1024, 1024), np.dtype(np.float32)),), None, 0)
data.read(0)
before, total = peak_rss_bytes(), 0.0
for index in range(len(data)):
    total += float(data.read(index).inputs["x"].sum())
print(peak_rss_bytes() - before, total)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's process table")
def test_rows_read_do_not_stay(tmp_path: Path) -> None:
    rows, row = 64, 1024 * 1024
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, 1024, 1024))
    for index in range(rows):
        array[index] = index
    array.flush()
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "x.npy")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    grown, total = done.stdout.split()
    assert float(total) == sum(range(rows)) * row
    assert int(grown) < 100 << 20  # the file has 256 MiB


def test_a_view_of_a_released_row_still_holds_its_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(100_000, dtype=np.float32))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    view = array[50_000:]
    release(array)
    np.testing.assert_array_equal(view, np.arange(50_000, 100_000, dtype=np.float32))
    release(np.zeros(3))
