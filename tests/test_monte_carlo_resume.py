"""Monte Carlo runs that are cut off, go on, are extended; and checkpoints that are not theirs."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from monte_carlo_draws import KEY, assert_equal_results, draw_normal, draw_several

from phase_jax.monte_carlo import run_monte_carlo
from phase_jax.types import InputError, InterruptedRunError


def kill_after(num_chunks):
    """Return a progress_fn that ends the run without a chance to save."""
    calls = []

    def progress_fn(progress):
        calls.append(progress)
        if len(calls) == num_chunks:
            raise SystemExit("killed")

    return progress_fn


@pytest.mark.parametrize("draw_fn", [draw_normal, draw_several], ids=["scalar", "pytree"])
@pytest.mark.parametrize("keep_values", [False, True])
def test_killed_run_resumes_to_the_bit(tmp_path, draw_fn, keep_values):
    options = {"batch_size": 32, "num_kept": 50, "keep_values": keep_values}
    uninterrupted = run_monte_carlo(draw_fn, KEY, 300, **options)
    options |= {"checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0}
    for num_chunks in (2, 3):
        with pytest.raises(SystemExit):
            run_monte_carlo(draw_fn, KEY, 300, progress_fn=kill_after(num_chunks), **options)
    del options["batch_size"]  # the checkpoint's is taken
    resumed = run_monte_carlo(draw_fn, KEY, 300, **options)
    assert resumed.num_resumed == 5 * 32
    assert resumed.batch_size == 32
    assert not resumed.notes
    assert_equal_results(resumed, uninterrupted)
    assert {path.name for path in tmp_path.iterdir()} == {"run.npz", "run.npz.previous"}
    again = run_monte_carlo(draw_fn, KEY, 300, **options)
    assert again.num_resumed == 288  # whole chunks
    assert_equal_results(again, uninterrupted)


def test_extended_run_equals_a_long_one_to_the_bit(tmp_path):
    options = {"batch_size": 32, "num_kept": 200, "keep_values": True}
    for num_replicates in (20, 100, 128, 301):
        extended = run_monte_carlo(
            draw_several, KEY, num_replicates, checkpoint=tmp_path / "run", **options
        )
        assert_equal_results(
            extended, run_monte_carlo(draw_several, KEY, num_replicates, **options)
        )
    with pytest.raises(InputError, match=r"num_replicates is 100, .* holds 288; .* at least 288"):
        run_monte_carlo(draw_several, KEY, 100, checkpoint=tmp_path / "run", **options)


def test_keyboard_interrupt_saves(tmp_path):
    def interrupt(progress):
        if progress.num_done == 60:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_monte_carlo(
            draw_normal, KEY, 100, batch_size=20, checkpoint=path, progress_fn=interrupt
        )
    seen = []
    resumed = run_monte_carlo(draw_normal, KEY, 100, checkpoint=path, progress_fn=seen.append)
    assert resumed.num_resumed == 60
    assert_equal_results(resumed, run_monte_carlo(draw_normal, KEY, 100, batch_size=20))
    assert [progress.num_done for progress in seen] == [80, 100]
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left > 0


def spoil(file, damage):
    """Damage a checkpoint; the last way leaves a sound archive with another mean in it."""
    content = bytearray(file.read_bytes())
    with np.load(file) as archive:
        arrays = dict(archive)
    content[content.find(arrays["kept"].tobytes())] ^= 1
    arrays["moments_mean"] = arrays["moments_mean"] + 1
    if damage == "changed":
        with file.open("wb") as stream:
            np.savez(stream, **arrays)
    else:
        file.write_bytes({"cut": content[:-200], "flipped": content, "empty": b""}[damage])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "changed"])
def test_damaged_checkpoint(tmp_path, damage):
    path = tmp_path / "run"
    options = {"batch_size": 20, "checkpoint": path, "checkpoint_seconds": 0}
    expected = run_monte_carlo(draw_normal, KEY, 100, batch_size=20)
    with pytest.raises(SystemExit):
        run_monte_carlo(draw_normal, KEY, 100, progress_fn=kill_after(3), **options)
    spoil(path, damage)
    with pytest.raises(SystemExit):  # the good one must outlive the first save
        run_monte_carlo(draw_normal, KEY, 100, progress_fn=kill_after(1), **options)
    spoil(path, damage)
    resumed = run_monte_carlo(draw_normal, KEY, 100, **options)
    assert resumed.num_resumed == 40
    assert len(resumed.notes) == 1
    assert "damaged; going on from 40 replicates" in resumed.notes[0]
    assert_equal_results(resumed, expected)
    spoil(path, damage)
    spoil(path.with_name("run.previous"), damage)
    resumed = run_monte_carlo(draw_normal, KEY, 100, **options)
    assert resumed.num_resumed == 0
    assert "starting again" in resumed.notes[0]
    assert_equal_results(resumed, expected)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("label", {"label": "other"}),
        ("key", {"key": jax.random.key(1)}),
        ("key", {"key": jax.random.key(20_240, impl="rbg")}),
        ("outputs", {"replicate_fn": draw_several}),
        ("outputs", {"replicate_fn": lambda key: jax.random.normal(key, (3,))}),
        ("num_kept", {"num_kept": 70}),
        ("keep_values", {"keep_values": True}),
        ("batch_size", {"batch_size": 21}),
    ],
)
def test_checkpoint_of_another_run(tmp_path, field, change):
    base = {
        "replicate_fn": draw_normal,
        "key": KEY,
        "num_replicates": 100,
        "batch_size": 20,
        "checkpoint": tmp_path / "run",
        "label": "one",
    }
    run_monte_carlo(**base)
    before = (tmp_path / "run").read_bytes()
    with pytest.raises(
        InputError, match=rf"^checkpoint .*run': {field} is .* there but .*$"
    ) as error:
        run_monte_carlo(**base | change)
    assert "\n" not in str(error.value)
    assert (tmp_path / "run").read_bytes() == before


def test_unwritable_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="No such file or directory"):
        run_monte_carlo(draw_normal, KEY, 10, checkpoint=tmp_path / "none" / "run")
    with pytest.raises(InputError, match="it is a directory"):
        run_monte_carlo(draw_normal, KEY, 10, checkpoint=tmp_path)
    path = tmp_path / "run"
    options = {"batch_size": 20, "checkpoint": path, "checkpoint_seconds": 0}
    run_monte_carlo(draw_normal, KEY, 40, **options)
    before = path.read_bytes()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(
        InterruptedRunError, match=r"No space left .* the last good checkpoint is kept$"
    ):
        run_monte_carlo(draw_normal, KEY, 100, **options)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".tmp-*"))
