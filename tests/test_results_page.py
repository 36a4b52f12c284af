"""The page of measured results is what its generator writes; new results appear by themselves."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import shutil
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("write_results", ROOT / "docs/write_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("result_sections", None)


def test_the_committed_page_is_what_its_generator_writes(generator):
    assert generator.write_page(ROOT / "results") == PAGE, "run `make docs` and commit its page"


def test_every_result_item_and_missing_run_is_on_the_page(generator):
    headings = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
    for path in (ROOT / "results").rglob("*.json"):
        assert path.parent.relative_to(ROOT / "results").as_posix() in headings
    for name in generator.ITEMS:
        assert any(heading.startswith(generator.name_item(name) + ": ") for heading in headings)
    assert "--rows mnist-cnn16-50k-linf --out results" in PAGE


def test_a_new_result_appears_without_a_change(generator, tmp_path):
    shutil.copytree(ROOT / "results" / "digits", tmp_path / "own" / "seeds")
    (tmp_path / "own" / "seeds" / "NOTES.md").write_text("Beside: table3\n\nSeen by eye.\n")
    cost = {
        "problem": "mnist", "reference": "from scratch, 4 epochs",
        "rows": [{
            "name": "FGM 3", "epsilon_star": 0.1, "low": 0.08, "high": None, "status": "FOUND",
            "gradients": 3_000_000, "seconds": 60.0, "saved": 0.5, "ratio_to_reference": 1.25,
        }],
    }  # fmt: skip
    (tmp_path / "time").mkdir()
    (tmp_path / "time" / "cost.json").write_text(json.dumps(cost))
    page = generator.write_page(tmp_path)
    assert "### own/seeds\n" in page
    assert "Seen by eye." in page
    table3 = page.split("### Table 3: ")[1].split("### ")[0]
    assert "[own/seeds](#ownseeds)" in table3
    assert "| FGM 3 | logged | 25.5/255 | from 20.4/255 | 3 | 60 | 50.0% | 1.25 |" in page
    assert "| loss-test | has not been run |" in page
    (tmp_path / "time" / "NOTES.md").write_text("Beside: table99\n")
    with pytest.raises(SystemExit, match="'table99' is no table or figure"):
        generator.write_page(tmp_path)


def test_training_size_and_width_are_compared_seed_by_seed(generator, tmp_path):
    def keep(name, factors):
        run = tmp_path / "effects" / name
        shutil.copytree(ROOT / "results" / "digits", run)
        document = json.loads((run / "result.json").read_text(encoding="utf-8"))
        for seed, factor in zip(document["epsilon_star"]["seeds"], factors, strict=True):
            seed["value"] = factor and 0.1 * factor
        (run / "result.json").write_text(json.dumps(document))

    assert "## Training size and width" not in generator.write_page(tmp_path)
    keep("fashion_mnist_10000_128", (1, 1, 1, 1))
    keep("fashion_mnist_2500_128", (2, 4, 2, 4))
    keep("fashion_mnist_10000_16", (None, None, 0.25, None))
    page = generator.write_page(tmp_path)
    rows = page.split("## Training size and width")[1].split("\n## ")[0].splitlines()
    rows = [row for row in rows if row.startswith("| Fashion-MNIST |")]
    assert [row.split("|")[2].strip().split(" ")[0] for row in rows] == ["10,000", "2,500", "16"]
    # By hand: mean of the logarithms 1.5 log 2, standard error log(2) / sqrt(12), t(3) 3.1824.
    assert rows[1].endswith("| 2.83 (4 seeds) | 1.50 to 5.35 |")
    assert rows[2].endswith("| 0.25 (1 seed) | one seed |")
