"""The page of a run: complete, self-contained, right for every way a sweep can end."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import json
import re

import numpy as np
import pytest
from made_results import OUTCOMES, make_estimate, make_result
from PIL import Image

from phase_jax import EpsilonStatus
from phase_jax.report.page import build_page
from phase_jax.report.page.curves import MAX_POINTS, describe_curves
from phase_jax.report.page.pictures import choose_strengths, colour_difference, encode_picture
from phase_jax.report.page.scale import ScaleRow, show_scale
from phase_jax.report.wording import describe_outcome
from phase_jax.sweep import AdversarialExamples
from phase_jax.sweep.result import CrossEntropyReading

EMPTY = {"meta", "link", "input", "img", "br"}


class Page(html.parser.HTMLParser):
    """The elements of a page; refuses markup that does not nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read_data(text):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def with_examples(result, shape=(8, 8, 1), seeds=(0, 0, 1)):
    rng = np.random.default_rng(0)
    images = rng.random((2, *shape), np.float32)
    probabilities = np.tile(np.eye(10, dtype=np.float32)[[4, 7]], (3, 1, 1))
    adversarial = AdversarialExamples(
        images=images,
        labels=np.array([4, 5]),
        seeds=np.array(seeds),
        adversarial=np.clip(images + result.epsilons.reshape(3, *[1] * images.ndim), 0, 1),
        probabilities=probabilities,
        clean_probabilities=probabilities,
    )
    return dataclasses.replace(result, adversarial=adversarial)


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_outcome_has_a_page_that_asks_for_nothing_outside_itself(name):
    text = build_page(with_examples(OUTCOMES[name]))
    page = Page(text)
    assert describe_outcome(OUTCOMES[name]).replace("epsilon", "ε").lower() in page.text.lower()
    assert all(source.startswith("data:") for source in page.values("src"))
    for tag, attributes in page.elements:
        assert tag != "link" or attributes["href"] == "data:,"
        assert tag != "a" or "//" not in attributes["href"]
    assert "http:" not in text.replace("http://www.w3.org/", "")  # names of SVG and XHTML
    assert "https:" not in text
    assert "default-src 'none'" in text
    data = read_data(text)
    assert data["epsilons"] == pytest.approx([0.0, 0.05, 0.1])


@pytest.mark.parametrize("name", ["found", "UNDEFINED"])
def test_what_refers_within_the_page_exists(name):
    page = Page(build_page(with_examples(OUTCOMES[name])))
    names = page.values("id")
    assert len(names) == len(set(names))
    assert set(page.values("aria-labelledby")) <= set(names)
    script = build_page(OUTCOMES[name])
    assert set(re.findall(r'byId\("(\w+)"\)', script)) <= set(names)
    assert set(re.findall(r'listen\("(\w+)"', script)) <= set(page.values("name"))
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")


def test_the_page_is_small():
    assert len(build_page(with_examples(OUTCOMES["found"]))) < 100_000


def test_text_from_a_run_cannot_become_markup():
    evil = "</script><img src=x onerror=alert(1)>'\"&"
    result = OUTCOMES["found"]
    names = {**result.description, "model": {**result.description["model"], "name": evil}}
    text = build_page(dataclasses.replace(result, description={**names, "objective": evil}))
    Page(text)
    assert "<img src=x" not in text
    assert text.count("</script>") == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (EpsilonStatus.UNDEFINED, "ε* undefined"),
        (EpsilonStatus.BEYOND_GRID, "ε* beyond the grid"),
        (EpsilonStatus.INFINITE, "ε* infinite"),
        (EpsilonStatus.NONFINITE, "ε* not solvable"),
    ],
)
def test_a_status_stands_where_there_is_no_value(status, words):
    text = build_page(make_result(make_estimate(status, low=None, high=None)))
    assert f'<p class="star">{words}</p>' in text
    reading = read_data(text)["readings"][0]
    assert reading["star"] == {"value": None, "low": None, "high": None}


def test_failed_lanes_are_marked_and_never_drawn_with_the_others():
    data = describe_curves(OUTCOMES["lanes diverged"])
    assert data["failed"] == [1, 2]
    assert data["sound"] == [[True, True], [True, False], [False, False]]
    train = data["readings"][0]["train"]
    assert train[1] == [0.2, None]
    assert train[2] == [None, None]
    collapsed = describe_curves(OUTCOMES["lanes collapsed"])
    assert collapsed["testAccuracy"][2] == [None, None]
    assert collapsed["history"]["train_loss"][2][0] == [0.4] * 4  # for those who look at the lane


def test_another_objective_has_a_reading_in_plain_cross_entropy():
    other = make_estimate(EpsilonStatus.UNDEFINED, low=None, high=None)
    result = make_result()
    names = {**result.description, "objective": "trades", "train_loss": "in words"}
    result = dataclasses.replace(
        result,
        description=names,
        cross_entropy=CrossEntropyReading(np.full((2, 5), 0.3), other),
    )
    readings = describe_curves(result)["readings"]
    assert [reading["unit"] for reading in readings] == ["trades loss"] * 2 + ["cross-entropy"]
    assert [reading["threshold"] for reading in readings] == [0.2, 0.2, 0.3]
    page = Page(build_page(result))
    assert "cross-entropy as logged ε* undefined" in page.text
    assert "train CE" in page.text


def test_long_histories_are_thinned_but_keep_their_selected_epochs():
    result = make_result()
    long = {name: np.zeros((3, 2, 1000)) for name in result.history}
    lanes = dataclasses.replace(result.lanes, selected_epoch=np.full((3, 2), 777))
    data = describe_curves(dataclasses.replace(result, history=long, lanes=lanes))
    assert len(data["epochs"]) <= MAX_POINTS + 1
    assert {1, 777, 1000} <= set(data["epochs"])
    assert len(data["history"]["test_loss"][2][1]) == len(data["epochs"])


def test_places_on_the_scale():
    estimate = make_estimate(value=0.05, low=0.04, high=0.2)
    shown = show_scale([ScaleRow("run", estimate, [0.0, 0.1], target=0.025, printed=0.075)])
    assert 'class="value" style="left:50.00%"' in shown
    assert 'class="band open" style="left:40.00%;width:60.00%"' in shown  # goes on past the end
    assert 'class="target" style="left:25.00%"' in shown
    assert 'class="printed" style="left:75.00%"' in shown
    assert shown.count('class="tick"') == 2 + 1  # and in the key
    plain = show_scale(
        [ScaleRow("run", make_estimate(EpsilonStatus.INFINITE, low=None, high=None))]
    )
    assert "band" not in plain
    assert "target" not in plain


def test_pictures_show_the_strength_nearest_epsilon_star_first():
    page = Page(build_page(with_examples(make_result())))
    assert page.values("data-place") == ["1", "2"]
    checked = [
        a["value"] for t, a in page.elements if a.get("name") == "picture" and "checked" in a
    ]
    assert checked == ["1"]
    assert "Seed 0, trained and attacked at ε = 12.8/255" in page.text
    assert "taken for 4 (100%), right" in page.text
    assert "taken for 7 (100%), wrong" in page.text
    assert "largest change 12.8/255" in page.text
    assert page.text.count("clean taken for") == 4


def test_strengths_are_chosen_by_interest_and_only_where_a_lane_is_sound():
    grid = np.linspace(0, 0.1, 11)
    sound = np.zeros(11, int)
    assert choose_strengths(grid, sound, [0.047, None]) == [5, 10, 1, 6]
    assert choose_strengths(grid, sound, [None, 0.3]) == [10, 1, 6]
    assert choose_strengths(grid, np.where(grid > 0.03, -1, 0), [0.05]) == [3, 1, 2]
    assert choose_strengths(grid, sound - 1, [0.05]) == []


def decode(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_pictures_hold_the_pixels():
    pixels = np.linspace(0, 1, 48).reshape(4, 4, 3)
    np.testing.assert_array_equal(decode(encode_picture(pixels)), np.round(255 * pixels))
    grey = pixels[..., :1]
    np.testing.assert_array_equal(decode(encode_picture(grey)), np.round(255 * grey[..., 0]))
    assert decode(encode_picture(np.zeros((300, 200, 1)))).size == (85, 128)


def test_differences_are_scaled_to_their_largest_change():
    grey = colour_difference(np.array([[[0.0], [0.02], [-0.01]]]))
    np.testing.assert_allclose(grey[0, 0], 1)  # no change is white
    assert grey[0, 1, 0] > grey[0, 1, 2]  # brighter: orange
    assert grey[0, 2, 2] > grey[0, 2, 0]  # darker: blue
    colour = colour_difference(np.array([[[0.0, 0.1, -0.1]]]))
    np.testing.assert_allclose(colour[0, 0], [0.5, 1.0, 0.0])
    np.testing.assert_allclose(colour_difference(np.zeros((2, 2, 1))), 1)


def test_inputs_that_are_no_pictures_are_said_not_shown():
    page = Page(build_page(with_examples(make_result(), shape=(16,))))
    assert "Inputs of shape [16] are not pictures" in page.text
    assert "img" not in [tag for tag, _ in page.elements]
    page = Page(build_page(with_examples(make_result(), shape=(6, 5))))
    assert [tag for tag, _ in page.elements].count("img") == 12


def test_a_run_without_examples_or_sound_lanes_has_no_pictures():
    assert "Adversarial examples" not in Page(build_page(make_result())).text
    page = Page(build_page(with_examples(OUTCOMES["clean lane diverged"], seeds=(-1, -1, -1))))
    assert "nothing to show" in page.text


def test_files_are_linked_only_beside_them():
    linked = Page(build_page(make_result()))
    assert {"result.json", "lanes.csv", "history.npz"} <= set(linked.values("href"))
    apart = Page(build_page(make_result(), has_files=False))
    assert "result.json" in apart.text
    assert "result.json" not in apart.values("href")
