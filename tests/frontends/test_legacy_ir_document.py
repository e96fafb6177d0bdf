"""Damaged and hostile files: one line that says where and what, and neither time nor memory spent on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ir_2019 import Ir, drawn

from fewbits.errors import ModelError
from fewbits.frontends import legacy_ir


def small() -> Ir:
    made = Ir()
    x = made.input(1, 4, 6, 5)
    y = made.add("ReLU", "r", [x], (1, 4, 6, 5))
    made.add("Convolution", "y", [y], (1, 2, 6, 5), data={"kernel": "1,1", "output": 2}, weights=drawn(2, 4, 1, 1))
    return made


def refusal(text: str | bytes, folder: Path, bin: bytes | None = None) -> str:
    path = folder / "net.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.with_suffix(".bin").write_bytes(small().bin if bin is None else bin)
    with pytest.raises(ModelError) as caught:
        legacy_ir.load(path)
    message = str(caught.value)
    assert "net.xml" in message
    assert "\n" not in message
    return message


def test_the_small_network_itself_is_read(tmp_path: Path) -> None:
    assert len(legacy_ir.load(small().write(tmp_path)).graph) == 2


BOMB = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<net name="&b;" version="6"/>"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "net.xml:1: not well-formed XML"),
        ("no markup", "not well-formed"),
        (BOMB, "document type"),
        ('<!DOCTYPE net SYSTEM "file:///etc/passwd"><net version="6"/>', "document type"),
        ("<a>" * 40 + "</a>" * 40, "nested deeper"),
        (b"\xff\xfe\x00net", "XML"),
        ("<model/>", "root is <model>"),
        ('<net name="n"/>', "<net> without version"),
        ('<net name="n" version="six"/>', "version is 'six'"),
        ('<net name="n" version="10"/>', "IR version 10 is not one of 2 to 7"),
        ('<net name="n" version="6"/>', "no layer"),
        ('<?xml version="1.0" encoding="no-such"?><net/>', "XML"),
    ],
)
def test_what_is_no_ir(text: str | bytes, words: str, tmp_path: Path) -> None:
    assert words in refusal(text, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</edges>", "", "net.xml:12: not well-formed XML: mismatched tag"),
        ("<dim>6</dim>", "<dim>-6</dim>", "dim is -6"),
        ("<dim>6</dim>", "<dim>0</dim>", "dim is 0"),
        ("<dim>6</dim>", "<dim>six</dim>", "dim is 'six'"),
        ("<dim>6</dim>", "<dim>2000000000</dim>", "beyond any network"),
        ("<dim>6</dim>", "<dim>6</dim>" * 9, "beyond any network"),
        ("<dim>6</dim>", "<dim>7</dim>", "its attributes and inputs give"),
        ('id="1" name="r"', 'id="0" name="r"', "two of one id: 0"),
        ('name="r"', 'name="y"', "two of one name: y"),
        ('name="r"', 'name=""', "<layer> without name"),
        ('from-layer="0"', 'from-layer="9"', "an edge from port 0 of layer 9"),
        ('to-layer="1" to-port="0"', 'to-layer="1" to-port="7"', "an edge to port 7 of layer 1"),
        ('<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>', "", "nothing feeds its input port 0"),
        ('from-layer="0" from-port="0"', 'from-layer="2" from-port="1"', "it feeds itself"),
        ('size="32"', 'size="31"', "do not lie in net.bin"),
        ('size="32"', 'size="28"', "its weights hold 7 numbers"),
        ('offset="0"', 'offset="4"', "do not lie in net.bin"),
        ('offset="0"', 'offset="-4"', "offset is -4"),
        ('offset="0"', 'offset="99999999999999999999"', "offset is 9999"),
        ('kernel="1,1"', 'kernel="1,99999999"', "attribute kernel"),
        ('output="2"', 'output="2" group="0"', "0 groups"),
        ('output="2"', 'output="2" group="3"', "3 groups do not divide 4 channels"),
        ('precision="FP32" type="Conv', 'precision="Q78" type="Conv', "precision Q78"),
        ('type="ReLU"', 'type="Input"', "r (Input"),
        ("</net>", "<statistics><layer><name>r</name></layer></statistics></net>", "without <name>, <min> and <max>"),
        (
            "</net>",
            "<statistics><layer><name>r</name><min>1</min><max>0</max></layer></statistics></net>",
            "do not pair",
        ),
        (
            "</net>",
            "<statistics><layer><name>r</name><min>nan</min><max>0</max></layer></statistics></net>",
            "min is nan",
        ),
        (
            "</net>",
            '<pre-process><channel id="0"><scale value="0"/></channel></pre-process></net>',
            "a scale of 0",
        ),
        (
            "</net>",
            '<pre-process><channel id="0"><mean value="3"/></channel></pre-process></net>',
            "1 channels for an input of [1, 4, 6, 5]",
        ),
    ],
)
def test_damage_is_found_where_it_is(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = small().text
    assert old in text
    assert words in refusal(text.replace(old, new, 1), tmp_path)


def test_two_edges_to_one_port(tmp_path: Path) -> None:
    made = small()
    made.edges.append(made.edges[0])
    assert "a second edge to port 0 of layer 1" in refusal(made.text, tmp_path)


def test_a_cut_off_file_at_every_length(tmp_path: Path) -> None:
    text = small().text
    for length in range(0, len(text) - 8, 97):
        assert "not well-formed" in refusal(text[:length], tmp_path)


def test_missing_weights(tmp_path: Path) -> None:
    path = small().write(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"put net\.bin beside the \.xml"):
        legacy_ir.load(path)


def test_weights_under_another_name(tmp_path: Path) -> None:
    path = small().write(tmp_path)
    moved = path.with_suffix(".bin").rename(tmp_path / "other.weights")
    model = legacy_ir.load(path, weights=moved)
    stored = model.graph.initializers["y/weights"].const_value
    assert stored is not None
    np.testing.assert_array_equal(stored.numpy(), drawn(2, 4, 1, 1))


def test_blobs_that_share_bytes_many_times_are_refused(tmp_path: Path) -> None:
    """A thousand layers on one megabyte would be handed out as a gigabyte."""
    made = Ir()
    value = made.input(1, 1)
    for index in range(10):
        value = made.add("FullyConnected", f"f{index}", [value], (1, 1), data={"out-size": 1})
    text = made.text.replace("<blobs></blobs>", '<blobs><weights offset="0" size="4"/></blobs>')
    assert "take more than 8 times the bytes" in refusal(text, tmp_path, b"\0\0\0\0")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this is a folder"):
        legacy_ir.load(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        legacy_ir.load(tmp_path / "none.xml")
