"""The report's page without a browser: what it holds, what it never holds, and that a folder renders again."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import HOSTILE

from fewbits.cli import main
from fewbits.devices.host import Host
from fewbits.report.charts import trade_off
from fewbits.report.page import embedded, render
from fewbits.report.story import Choice, Entry, Story, read_story
from fewbits.report.words import gain, headline, megabytes, number, significant
from fewbits.selection.closeup_records import NO_NOISE_DB, Closeup, Layer
from fewbits.selection.records import Budget

MOST_BYTES = 3_000_000
FILES = ("decision.json", "closeup.json", "asked.json")


class Elements(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def entry(name: str, ms: float, accuracy: float, **more: object) -> Entry:
    engine, _, formats = name.partition("-")
    made = Entry(name, engine, formats, "measured", accuracy=accuracy, latency_ms={"p50": ms}, round_ms=(ms,) * 6)
    return replace(made, **more)  # type: ignore[arg-type]


def choice(*entries: Entry, chosen: str | None = None) -> Choice:
    return Choice("m.onnx", "top1", Budget(), Host("a CPU", (), 2), entries, entries[0].name, chosen, "because")


def test_choose_leaves_a_page_that_holds_everything_it_needs(run: Path) -> None:
    page = run / "report.html"
    assert page.stat().st_size < MOST_BYTES
    for tag, attributes in Elements(page.read_text(encoding="utf-8")).found:
        for name in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)


def test_report_renders_the_same_page_again(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run), "-o", str(tmp_path / "again.html")])
    assert ended.value.code == 0
    assert (tmp_path / "again.html").read_bytes() == (run / "report.html").read_bytes()


def test_hostile_names_are_escaped_in_the_source(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(" in text
    assert [tag for tag, _ in Elements(text).found].count("script") == 3


def test_embedded_json_can_end_no_element_and_loses_nothing() -> None:
    names = ["</script><script>alert(1)</script>", "<!--", "]]>", "\u2028", "é&amp;", "a'b\"c\\"]
    text = str(embedded(names))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == names


def test_the_page_says_what_a_person_needs(run: Path) -> None:
    decision = json.loads((run / "decision.json").read_text(encoding="utf-8"))
    text = (run / "report.html").read_text(encoding="utf-8")
    for candidate in decision["candidates"]:
        assert f'data-name="{candidate["name"]}"' in text
    for said in ("import openvino as ov", "import onnxruntime as ort", "fewbits choose ", "--max-drop 1", "2 cores"):
        assert said.replace("2 cores", f"{decision['host']['cores']} cores") in text
    for engine, version in decision["versions"].items():
        assert f"{engine} {version}" in text


def test_a_stopped_run_is_told_as_far_as_it_came(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    shutil.copyfile(run / "asked.json", stopped / "asked.json")
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if json.loads(line)["kind"] in ("run", "memory", "evidence")]
    (stopped / "journal.jsonl").write_bytes(b"".join(whole) + lines[-1][:20])
    story = read_story(stopped)
    assert not story.finished
    decision = json.loads((run / "decision.json").read_text(encoding="utf-8"))
    known = {c["name"]: c for c in decision["candidates"] if c["status"] == "measured"}
    assert {e.name for e in story.choice.candidates} == known.keys()
    for found in story.choice.candidates:
        assert found.accuracy == known[found.name]["accuracy"]
        assert found.peak_rss_bytes == known[found.name]["peak_rss_bytes"]
    with pytest.raises(SystemExit) as ended:
        main(["report", str(stopped)])
    assert ended.value.code == 0
    assert "not decided yet" in capsys.readouterr().out
    assert "while measuring accuracy" in (stopped / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, content) for name in FILES for content in (b"{", b"[]", b"\xff\xfe", b"[" * 100_000)),
        ("decision.json", b'{"candidates": 3}'),
        ("closeup.json", b'{"layers": [{"node": "a"}]}'),
        ("asked.json", b'{"command": 7}'),
    ],
)
def test_a_damaged_folder_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    for file in FILES:
        shutil.copyfile(run / file, tmp_path / file)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path)])
    assert ended.value.code == 2
    assert name in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(folder)])
        assert ended.value.code == 2
        assert str(folder) in capsys.readouterr().err


def test_the_pareto_front_holds_what_nothing_beats() -> None:
    made = choice(
        entry("openvino-fp32", 10, 0.9), entry("openvino-int8", 4, 0.89), entry("onnxruntime-int8", 5, 0.88),
        entry("openvino-bf16", 6, 0.9), entry("onnxruntime-fp32", 10, 0.9),
    )  # fmt: skip
    spec = trade_off(made)
    assert spec is not None
    front = {p["name"] for p in spec["data"]["values"] if p["axis"] == "latency" and p["front"]}
    assert front == {"openvino-int8", "openvino-bf16"}


def test_error_bars_are_the_interval_of_the_drop_below_the_reference() -> None:
    made = choice(
        entry("openvino-fp32", 10, 0.9), entry("openvino-int8", 4, 0.89, drop=0.01, drop_interval=(-0.02, 0.03))
    )
    spec = trade_off(made)
    assert spec is not None
    point = next(p for p in spec["data"]["values"] if p["name"] == "openvino-int8")
    assert (point["y_low"], point["y_high"]) == (pytest.approx(87), pytest.approx(92))
    assert next(p for p in spec["data"]["values"] if p["name"] == "openvino-fp32")["y_low"] is None


@pytest.mark.parametrize(("max_drop", "drawn"), [(0.01, True), (0.9, False)])
def test_the_budget_line_never_flattens_the_points(max_drop: float, drawn: bool) -> None:
    made = replace(choice(entry("openvino-fp32", 10, 0.9), entry("openvino-int8", 4, 0.88)), budget=Budget(max_drop))
    spec = trade_off(made)
    assert spec is not None
    floors = [layer["encoding"]["y"]["datum"] for layer in spec["layer"] if "datum" in layer["encoding"]["y"]]
    assert floors == ([pytest.approx(90 - 100 * max_drop)] * 2 if drawn else [])
    assert "points below FP32" in json.dumps(spec)


def test_the_headline_says_what_to_do() -> None:
    whole, fast = entry("openvino-fp32", 10, 0.9), entry("onnxruntime-int8", 4, 0.89, drop=0.01)
    assert headline(choice(whole, fast, chosen=fast.name)) == (
        "Deploy INT8 on ONNX Runtime: 2.5× as fast as FP32, 1.00 points lost"
    )
    assert headline(choice(whole, fast, chosen=whole.name)) == "Stay with FP32 on OpenVINO"
    assert headline(choice(whole, fast)) == "No format of m.onnx fits the budget"
    assert gain(choice(whole, fast), fast) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize("chosen", [None, "openvino-fp32"])
def test_a_page_without_a_winner_renders(chosen: str | None) -> None:
    text = render(Story(choice(entry("openvino-fp32", 10, 0.9), chosen=chosen), None, None))
    assert "because." in text
    assert ('class="tiles"' in text) == (chosen is not None)


def test_the_page_shows_reasons_hazards_and_sensitivity_of_layers() -> None:
    kept = Layer(HOSTILE, "Softmax", "f32", reason=HOSTILE, sqnr_db=NO_NOISE_DB)
    loud = Layer("conv", "Conv", "i8", sqnr_db=12.34, only_db=20.5, but_db=31.5, hazards=("may fail",), overflow=True)
    made = Story(choice(entry("openvino-fp32", 10, 0.9)), None, Closeup("a", "b", (kept, loud)))
    text = render(made)
    assert HOSTILE not in text
    assert text.index(">conv<") < text.index(">equal<")  # the worst first
    for said in ("overflows in FP16", "may fail", "12.3", "20.5", "31.5", "alone dB"):
        assert said in text
    silent = replace(made, closeup=Closeup("a", "b", (Layer("conv", "Conv", "i8"),)))
    assert "alone dB" not in render(silent)


def test_numbers_as_they_are_written() -> None:
    assert [number(v) for v in (-0.125, -0.001, 2.0, None, float("nan"))] == ["−0.12", "0.00", "2.00", "–", "–"]
    assert [significant(v) for v in (1234.5, 12.34, 0.01234, 0.0)] == ["1234", "12.3", "0.0123", "0.00"]
    assert [megabytes(v) for v in (1_790_000, 250_000_000, None)] == ["1.79", "250", "–"]


def test_compare_writes_a_page_of_the_same_make(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    data = run.parent / "images"
    preprocess = run / "preprocess.toml"
    words = ["compare", str(run / "candidates" / "fp32.onnx"), str(run / "model.onnx"), "--data", str(data)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--preprocess", str(preprocess), "--samples", "4", "--report", str(page)])
    assert ended.value.code == 0
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < MOST_BYTES
    assert HOSTILE not in text
    decibels = [float(v) for v in re.findall(r'class="num bar" data-value="([-\d.]+)"', text)]
    assert len(decibels) > 20
    assert decibels == sorted(decibels)
