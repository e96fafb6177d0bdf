"""The report of a real run as a person meets it: opened from the disk, hovered, sorted, switched, printed."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from hostile import HOSTILE
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

POINT = "#chart [role=graphics-symbol][aria-label][tabindex='0']"
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def decision(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "decision.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, chromium: Browser, run: Path) -> Browser:
    chromium.open(run / "report.html", request.param)
    return chromium


def test_nothing_is_asked_of_the_network_and_nothing_complained_about(page: Browser) -> None:
    assert page.log() == []
    assert page.requests() == []


def test_a_request_and_an_error_would_be_seen(chromium: Browser, tmp_path: Path) -> None:
    """The two checks above would fail on a page that does what they forbid."""
    bad = tmp_path / "bad.html"
    text = "<body data-ready=yes><img src='http://127.0.0.1:9/x.png'><script>throw new Error('planted')</script>"
    bad.write_text(text, encoding="utf-8")
    chromium.open(bad)
    chromium.until("return document.images[0].complete")
    assert any("planted" in line for line in chromium.log())
    assert chromium.requests() == ["http://127.0.0.1:9/x.png"]


def test_the_policy_forbids_what_an_injected_script_would_do(page: Browser) -> None:
    page.run(
        "const s = document.createElement('script'); s.textContent = 'window.planted = 1'; document.body.append(s);"
        "fetch('http://127.0.0.1:9/').catch(() => { window.refused = 1; });"
    )
    page.until("return window.refused === 1")
    assert page.run("return window.planted") is None
    assert page.requests() == []
    assert page.log()  # the refusals, which the next test shall not find


def test_the_verdict_comes_first_and_the_page_is_as_wide_as_the_window(page: Browser, decision: dict[str, Any]) -> None:
    assert page.run("return document.body.innerText.trim().split('\\n')[2]").startswith(("Deploy ", "Stay with "))
    assert decision["reason"] in page.run("return document.querySelector('.lead').textContent")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".tiles > div")) == 3
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def hovering(page: Browser) -> str:
    """What is said at the last point drawn, which is the chosen one: nothing lies on top of it.

    The pointer comes again as a hand would: a page that is still being laid out moves away from under it.
    """
    for _ in range(10):
        ActionChains(page.driver).move_to_element(page.driver.find_element(By.TAG_NAME, "h2")).perform()
        point = page.driver.find_elements(By.CSS_SELECTOR, POINT)[-1]
        page.run("arguments[0].scrollIntoView({block: 'center'})", point)
        ActionChains(page.driver).move_to_element(point).pause(0.5).perform()
        said = page.run("return document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText")
        if said:
            return str(said)
    return ""


def test_hovering_over_a_point_gives_its_figures(page: Browser, decision: dict[str, Any]) -> None:
    measured = [c for c in decision["candidates"] if c["status"] == "measured"]
    assert len(page.driver.find_elements(By.CSS_SELECTOR, POINT)) == len(measured)
    said = hovering(page)
    chosen = next(c for c in measured if c["name"] == decision["chosen"])
    assert f"{chosen['latency_ms']['p50']:.2f} ms" in said
    assert f"{chosen['accuracy'] * 100:.2f}%" in said


def test_the_keyboard_reaches_points_switch_and_headers(page: Browser) -> None:
    point = page.driver.find_elements(By.CSS_SELECTOR, POINT)[0]
    page.run("arguments[0].focus()", point)
    assert page.run("return document.getElementById('tip').innerText") == point.get_attribute("aria-label")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert page.run("return document.getElementById('tip').hidden")
    page.run("document.querySelector('input[name=axis]:checked').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.run("return document.querySelector('input[name=axis]:checked').value") == "memory"
    page.run("document.querySelector('[data-key=accuracy] button').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.run("return document.querySelector('[data-key=accuracy]').ariaSort") == "ascending"


@pytest.mark.parametrize(
    ("axis", "title"), [("throughput", "a second"), ("latency", "batch 1"), ("memory", "peak memory")]
)
def test_the_switch_changes_the_axis_and_the_points(page: Browser, axis: str, title: str) -> None:
    before = page.run(
        "return [...document.querySelectorAll(arguments[0])].map((p) => p.getAttribute('transform'))", POINT
    )
    page.run("document.querySelector(`input[value=${arguments[0]}]`).parentElement.click()", axis)
    page.until(f"return document.getElementById('chart').textContent.includes('{title}')")
    after = page.run(
        "return [...document.querySelectorAll(arguments[0])].map((p) => p.getAttribute('transform'))", POINT
    )
    assert len(after) == len(before)
    assert after != before
    assert "model file" not in page.run("return document.getElementById('chart').textContent")


@pytest.mark.parametrize("key", ["accuracy", "p50", "fps", "size", "name"])
def test_a_click_on_a_header_sorts_and_another_turns_it_round(
    page: Browser, decision: dict[str, Any], key: str
) -> None:
    values = {
        "accuracy": lambda c: c["accuracy"],
        "p50": lambda c: c["latency_ms"] and c["latency_ms"]["p50"],
        "fps": lambda c: c["throughput_fps"],
        "size": lambda c: c["size_bytes"],
        "name": lambda c: c["name"],
    }
    of = {c["name"]: values[key](c) for c in decision["candidates"]}
    for sign in (1, -1):
        page.run("document.querySelector(`.candidates [data-key=${arguments[0]}] button`).click()", key)
        shown = page.run("return [...document.querySelectorAll('.candidates tbody')].map((b) => b.dataset.name)")
        assert sorted(shown) == sorted(of)
        found = [of[name] for name in shown]
        known = [value for value in found if value is not None]
        assert known == sorted(known, reverse=sign < 0)
        assert found[: len(known)] == known  # what is not known stays last


def test_a_layer_opens_to_its_histogram(page: Browser) -> None:
    page.run("document.querySelector('button.open').click()")
    assert page.until("return document.querySelectorAll('.detail [role=graphics-symbol]').length") > 8
    assert "calibration samples" in page.run("return document.querySelector('.detail p').innerText")
    page.run("document.querySelector('button.open').click()")
    assert page.run("return document.querySelectorAll('.detail').length") == 0


def test_every_histogram_draws_without_complaint(page: Browser) -> None:
    count = page.run(
        "const all = document.querySelectorAll('button.open'); all.forEach((b) => b.click()); return all.length"
    )
    page.until(f"return document.querySelectorAll('.detail svg').length === {count}")
    assert count > 20
    assert page.log() == []


def test_all_layers_can_be_seen(page: Browser) -> None:
    rows = "return [...document.querySelectorAll('.layers tbody')].filter((b) => b.offsetHeight).length"
    assert page.run(rows) == 12
    page.run("document.querySelector('[data-more]').click()")
    assert page.run(rows) > 30


def test_hostile_names_stay_text(page: Browser) -> None:
    """Names of model, node and samples are shown as they are, and none of them became an element."""
    text = page.run("return document.body.textContent")
    assert "a<script>alert(1)<&'.onnx" in text
    assert HOSTILE in text
    assert page.run("return document.querySelectorAll('script').length") == 3
    assert page.run("return [...document.images].every((i) => i.src.startsWith('data:image/jpeg;base64,'))")
    with pytest.raises(Exception, match="no such alert"):
        page.driver.switch_to.alert  # noqa: B018


def test_dark_and_light_follow_the_system(run: Path, chromium: Browser) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    ink = "return getComputedStyle(document.querySelector('#chart text')).fill"
    chromium.open(run / "report.html")
    light = chromium.run(background), chromium.run(ink)
    chromium.open(run / "report.html", dark=True)
    dark = chromium.run(background), chromium.run(ink)
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] != light[0]
    assert dark[1] != light[1]


def test_it_prints(run: Path, chromium: Browser) -> None:
    chromium.open(run / "report.html")
    printed = base64.b64decode(chromium.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8
