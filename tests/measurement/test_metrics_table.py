"""Choosing a metric by name, the user's own function, and evidence in a journal."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewbits.errors import DataError, InputError
from fewbits.measurement.metrics import (
    METRICS,
    AveragePrecision,
    FunctionMetric,
    MeanIoU,
    SetMetric,
    from_json,
    metric,
    to_json,
)


def test_the_default_depends_on_labels() -> None:
    assert metric(None, labelled=True).name == "top1"
    assert metric(None, labelled=False).name == "agreement"


def test_every_name_of_the_table_is_found_once() -> None:
    names = [known.name for known in METRICS]
    assert names == ["top1", "top5", "map", "map50", "miou", "agreement", "cosine"]
    assert [metric(name, labelled=True).name for name in names] == names


def test_set_metrics_say_what_they_can_afford() -> None:
    assert {known.name for known in METRICS if isinstance(known, SetMetric)} == {"map", "map50", "miou"}


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InputError, match=r"'top2'.*top1, top5, map, map50, miou, agreement, cosine, or module"):
        metric("top2", labelled=True)


@pytest.mark.parametrize("name", ["top1", "top5", "map", "map50", "miou"])
def test_labels_are_asked_for_before_anything_runs(name: str) -> None:
    with pytest.raises(InputError, match="needs labels"):
        metric(name, labelled=False)


def test_detection_options_arrive() -> None:
    chosen = metric("map50", labelled=True, categories={2: 18, 1: 1}, input_size=(320, 240))
    assert isinstance(chosen, AveragePrecision)
    assert (chosen.ious, chosen.categories, chosen.input_size) == ((0.5,), ((1, 1), (2, 18)), (320, 240))


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_metric_fewbits.py").write_text(
        "constant = 3\n"
        "def half(outputs, target):\n    return 0.5 * outputs['y'].sum() + (target or 0)\n"
        "def breaks(outputs, target):\n    raise KeyError('prob')\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_metric_fewbits", raising=False)
    return "own_metric_fewbits"


def test_a_function_in_the_current_folder_is_scored_by_its_mean(own_module: str) -> None:
    before = list(sys.path)
    assert own_module not in sys.modules
    chosen = metric(f"{own_module}:half", labelled=False)
    assert sys.path == before
    ones = {"y": np.ones((1, 1), np.float32)}
    evidence = [chosen.observe(ones, None, None), chosen.observe(ones, 0.25, None)]
    assert evidence == [0.5, 0.75]
    assert chosen.score(evidence) == 0.625
    assert chosen.name == f"{own_module}:half"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_metric_fewbits:absent", "no function 'absent'"),
        ("own_metric_fewbits:constant", "no function 'constant'"),
        ("no_such_module_at_all:f", "cannot import 'no_such_module_at_all'"),
        (":f", "cannot import ''"),
    ],
)
def test_functions_that_cannot_be_had(own_module: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric(name, labelled=True)


def test_a_function_that_fails_is_named(own_module: str) -> None:
    with pytest.raises(DataError, match=r"own_metric_fewbits:breaks: .*KeyError"):
        metric(f"{own_module}:breaks", labelled=True).observe({}, None, None)


@pytest.mark.parametrize("returned", [float("nan"), float("inf"), None, "high", 31.5, -0.1, np.ones(3)])
def test_a_function_must_return_a_fraction(returned: object) -> None:
    chosen = FunctionMetric("mine:f", lambda outputs, target: returned)  # type: ignore[arg-type,return-value]
    with pytest.raises(DataError, match=r"mine:f: .*returned"):
        chosen.observe({}, None, None)


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
arrays = hnp.arrays(
    st.sampled_from([np.int64, np.float64, np.float32]),
    hnp.array_shapes(max_dims=3, min_side=0),
    elements=st.integers(-1000, 1000),
)


@given(st.recursive(numbers | arrays, lambda inner: st.tuples(inner, inner), max_leaves=4))
def test_evidence_survives_a_journal(evidence: object) -> None:
    back = from_json(json.loads(json.dumps(to_json(evidence), allow_nan=False)))  # type: ignore[arg-type]
    assert_same(back, evidence)


def assert_same(back: object, evidence: object) -> None:
    assert type(back) is type(evidence)
    if isinstance(evidence, tuple):
        assert isinstance(back, tuple)
        for one, other in zip(back, evidence, strict=True):
            assert_same(one, other)
    elif isinstance(evidence, np.ndarray):
        assert isinstance(back, np.ndarray)
        assert (back.dtype, back.shape) == (evidence.dtype, evidence.shape)
        np.testing.assert_array_equal(back, evidence)
    else:
        assert back == evidence


def test_real_evidence_scores_the_same_after_a_journal() -> None:
    miou = MeanIoU()
    evidence = miou.observe({"y": np.eye(3)[None, :, None]}, np.array([[0, 1, 1]]), None)
    assert miou.score([from_json(json.loads(json.dumps(to_json(evidence))))]) == miou.score([evidence])
    assert to_json(np.int64(3)) == 3  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not evidence"):
        from_json("text")
