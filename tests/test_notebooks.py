"""The notebook is whole, has no outputs, and runs from its first cell to its last."""

from __future__ import annotations

import ast
import os
import pathlib

import nbformat
import numpy as np
import pytest
from prepared_data import draw_originals, write_fake

import phase_jax
import phase_jax.data

ROOT = pathlib.Path(phase_jax.__file__).resolve().parents[1]
NOTEBOOK = nbformat.read(ROOT / "notebooks" / "colab.ipynb", as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]


def find_cell(text):
    (cell,) = (cell for cell in CODE if text in cell.source)
    return cell.source


def test_the_notebook_is_valid_and_has_no_outputs():
    nbformat.validate(NOTEBOOK)
    assert CODE
    assert not any(cell.outputs or cell.execution_count for cell in CODE)


def test_cells_are_short_compile_and_follow_a_sentence():
    for before, cell in zip(NOTEBOOK.cells, NOTEBOOK.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown"
            ast.parse(cell.source)
            assert len(cell.source.splitlines()) <= 20


def test_digits_take_the_place_of_images_that_cannot_be_had(monkeypatch, capsys):
    def refuse(name):
        raise phase_jax.InputError(f"prepare {name}: cannot download")

    monkeypatch.setattr(phase_jax.data, "prepare_dataset", refuse)
    names = {"SMALL": False}
    exec(find_cell("load_dataset("), names)
    assert names["data"].name == "digits"
    assert "digits instead of MNIST: prepare mnist: cannot" in capsys.readouterr().out


def test_only_colab_installs_and_keeps_its_jax(monkeypatch):
    commands = []
    source = find_cell("pip")
    monkeypatch.setattr("subprocess.run", lambda command, check: commands.append(command))
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    exec(source, {"os": os, "REPOSITORY": ""})
    assert not commands
    monkeypatch.setenv("COLAB_RELEASE_TAG", "1")
    with pytest.raises(SystemExit, match="REPOSITORY is empty"):
        exec(source, {"os": os, "REPOSITORY": ""})
    exec(source, {"os": os, "REPOSITORY": "https://host/name"})
    (command,) = commands
    assert "phase-jax[pandas] @ git+https://host/name" in command
    assert any(part.startswith("jax==") for part in command)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    splits = {
        name: draw_originals(150, (28, 28, 1), 10, seed)
        for seed, name in enumerate(("train", "test"))
    }
    write_fake("mnist", "3.0.1", splits, tmp_path / "data", num_classes=10)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PHASE_JAX_SMALL", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    notebook = nbformat.from_dict(NOTEBOOK)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "mnist (100, 28, 28, 1) (100, 28, 28, 1)" in printed
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3  # two of the sweep, the phase diagram
    assert any("text/html" in output.get("data", {}) for output in outputs)  # the data frame
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
    errors = np.array(printed.partition("each size: ")[2].split("'")[1::2], float)
    assert np.isfinite(errors).all()
