"""Pages in a real browser: nothing fails, everything reacts, nothing is asked of the network."""

from __future__ import annotations

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

import phase_jax
from phase_jax.report.rebuild import write_page
from phase_jax.reproduce.printed import list_printed_rows

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
RESULTS = pathlib.Path(phase_jax.__file__).resolve().parents[1] / "results"
INSPECT = pathlib.Path(__file__).with_name("inspect_page.js").read_text(encoding="utf-8")
MEASURE = """
  addEventListener("load", () => setTimeout(() => {
    const page = document.querySelector("iframe").contentDocument.documentElement;
    const overflow = page.scrollWidth - page.clientWidth;
    const charts = page.querySelectorAll("path.mean").length;
    const report = document.createElement("pre");
    report.id = "found";
    report.textContent = JSON.stringify({ width: page.clientWidth, overflow, charts });
    document.body.append(report);
  }, 500));
"""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "--virtual-time-budget=5000",
    "--dump-dom",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def use_page(text, folder, *, script=INSPECT, is_dark=False):
    """Open a page, use it by a script, and return what that saw and what the console said."""
    folder.mkdir(exist_ok=True)
    page = folder / "page.html"
    page.write_text(text.replace("<head>", f"<head><script>{script}</script>", 1), "utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1200,900",
            f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console


def read_digits() -> dict:
    """Read the result that the page is built of."""
    return json.loads((RESULTS / "digits" / "result.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def page(folder):
    run = shutil.copytree(RESULTS / "digits", folder / "digits")
    return write_page([str(run)]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seen(page, folder):
    return use_page(page, folder / "wide")


def test_the_page_opens_without_errors_and_asks_for_nothing(seen):
    found, console = seen
    assert not console
    assert found["errors"] == found["blocked"] == found["requests"] == []
    assert found["pictures"]
    assert all(width == 8 for width in found["pictures"])  # the digits are 8 pixels wide
    assert found["overflow"] <= 0


def test_pointing_shows_values(seen):
    found, _ = seen
    lanes = read_digits()["lanes"]
    for side, places in (("left", slice(0, 4)), ("right", slice(40, 44))):
        mean = sum(lane["train_loss"] for lane in lanes[places]) / 4
        assert float(found[side]["values"][0]) == pytest.approx(mean, rel=6e-3)
    assert found["left"]["at"] == "at ε = 0"
    assert found["right"]["at"] == found["linked"]["at"] == "at ε = 25.5/255"
    assert found["right"]["spoken"].startswith("ε = 25.5/255: adversarial train loss 0.4")
    assert found["evaluated"]["values"][0] != found["right"]["values"][0]


def test_keys_move_the_cursor(seen):
    found, _ = seen
    assert found["oneLeft"]["at"] == "at ε = 22.9/255"
    assert found["home"] == found["left"]


def test_axis_and_unit_can_be_chosen(seen):
    found, _ = seen
    assert found["linearTicks"][:3] == ["0", "5", "10"]
    assert found["logTicks"][:4] == ["0", "5", "10", "20"]
    assert "//" in found["logTicks"]
    assert found["pixels"]["ticks"][:4] == ["0", "0.01", "0.02", "0.05"]
    assert found["pixels"]["at"] == "at ε = 0"
    star = read_digits()["epsilon_star"]["value"]
    assert found["pixels"]["star"] == f"ε* = {star:.3g}"


def test_learning_curves_follow_the_choice(seen):
    found, _ = seen
    assert found["picked"] == "at epoch 20, ε = 0"
    assert found["lines"] == 2 * 4
    assert found["oneSeed"] == 0  # one line is its own mean
    assert found["accuracy"].endswith(" %")
    assert (found["meansBefore"], found["meansAfter"]) == (2, 1)


def test_the_measure_of_the_transition_can_be_chosen(seen):
    found, _ = seen
    lanes = read_digits()["lanes"]
    clean, last = (
        [lane["clean_test_accuracy"] for lane in lanes[places]]
        for places in (slice(0, 4), slice(40, 44))
    )
    drop = (sum(clean) - sum(last)) / 4
    assert found["measure"]["at"] == "at ε = 25.5/255"
    assert float(found["measure"]["values"][0]) == pytest.approx(drop, rel=6e-3)


def test_one_strength_of_pictures_is_shown_at_a_time(seen):
    found, _ = seen
    assert found["strengths"] > 1
    assert found["shownFirst"] == ["5"]  # 12.8/255, nearest epsilon*
    assert found["shownThen"] == ["1"]


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page, folder):
    frame = (
        "<html><head></head><body>"
        f'<iframe style="border:0;width:360px;height:800px" srcdoc="{html.escape(page)}"></iframe>'
        "</body></html>"
    )
    found, console = use_page(frame, folder / "phone", script=MEASURE)
    assert found == {"width": 360, "overflow": 0, "charts": 8}
    assert not console


def test_the_page_follows_the_colour_scheme(page, folder, seen):
    found, console = use_page(page, folder / "dark", is_dark=True)
    assert not console
    assert found["background"] == "rgb(19, 21, 24)"
    assert seen[0]["background"] == "rgb(251, 251, 250)"


def test_a_comparison_works(folder):
    runs = [str(RESULTS / name) for name in ("digits", "mnist")]
    printed = list_printed_rows("cifar10-preactresnet18-10k-linf")
    text = write_page(runs, printed, folder / "comparison.html").read_text(encoding="utf-8")
    found, console = use_page(text, folder / "comparison")
    assert not console
    assert found["errors"] == found["blocked"] == found["requests"] == []
    assert found["means"] == 3
    assert found["left"]["at"] == "at ε = 0"
    assert float(found["left"]["values"][2]) == pytest.approx(0.0403 / 0.441, rel=6e-3)
    assert len(found["accuracies"]["values"]) == 2  # the paper prints no clean accuracy
    assert found["overflow"] <= 0


def test_a_page_that_fails_is_noticed(page, folder):
    broken = page.replace("</body>", '<script>lost();</script><img src="https://a.test/b"></body>')
    found, console = use_page(broken, folder / "broken")
    assert any("lost is not defined" in error for error in found["errors"])
    assert any("a.test" in address for address in found["blocked"])
    assert console
