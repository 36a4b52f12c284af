"""Locks, drafts and checkpoints: files that survive bad days. Nothing here needs JAX."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from phase_jax.storage import lock
from phase_jax.storage.atomic import remove_entries, replace_files, settle, write_atomically
from phase_jax.storage.checkpoint import CheckpointFile, Saved
from phase_jax.storage.lock import LOCK_FILE, hold_directory
from phase_jax.types import InputError, InterruptedRunError

HOLD = """
import pathlib, sys, time
from phase_jax.storage.lock import hold_directory
with hold_directory(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def open_checkpoint(path, **schema):
    return CheckpointFile(path, **{"kind": "test", "version": 1, **schema})


def make_saved(number):
    arrays = {"a": np.full(3, number), "b": np.zeros((2, 0), np.float32)}
    return Saved({"seed": 1, "grid": [0.5]}, f"step {number}", arrays, "here")


def start_holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path):
    with start_holder(tmp_path / "run") as process:
        try:
            owner = rf"in use by process {process.pid} on \S+; wait"
            with pytest.raises(InputError, match=owner), hold_directory(tmp_path / "run"):
                raise AssertionError("held twice")
        finally:
            process.kill()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    with start_holder(tmp_path / "run") as process:
        process.kill()
    assert (tmp_path / "run" / LOCK_FILE).exists()
    with hold_directory(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run").exists()  # it was left empty


@pytest.mark.parametrize(("age", "is_stale"), [(10, False), (lock.SECONDS_UNTIL_STALE + 60, True)])
def test_a_lock_of_another_host_counts_until_it_is_silent_for_long(tmp_path, age, is_stale):
    path = tmp_path / LOCK_FILE
    path.write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    if is_stale:
        with hold_directory(tmp_path):
            pass
        return
    with pytest.raises(InputError, match="process 7 on elsewhere"), hold_directory(tmp_path):
        pass
    assert json.loads(path.read_text())["pid"] == 7


def test_the_owner_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_SIGNS", 0.01)
    (tmp_path / "kept").touch()
    with hold_directory(tmp_path):
        path = tmp_path / LOCK_FILE
        os.utime(path, (0, 0))
        for _ in range(500):
            if path.stat().st_mtime > 0:
                break
            lock.threading.Event().wait(0.01)
        assert path.stat().st_mtime > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"pid": 3'])
def test_a_lock_with_nonsense_in_it_is_taken_over(tmp_path, content):
    (tmp_path / LOCK_FILE).write_bytes(content)
    with hold_directory(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_what_was_saved_is_found(tmp_path):
    path = tmp_path / "run.npz"
    file = open_checkpoint(path)
    assert file.saved is None
    assert file.notes == ()
    for number in (1, 2, 3):
        file.save(make_saved(number))
    again = open_checkpoint(path)
    assert again.notes == ()
    expected = make_saved(3)
    assert again.saved._replace(arrays=None) == expected._replace(arrays=None)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(again.saved.arrays[name], array, strict=True)
    again.check_identity({"seed": 1, "grid": (0.5,)})


def test_other_settings_are_named_all_of_them(tmp_path):
    path = tmp_path / "run.npz"
    open_checkpoint(path).save(make_saved(1))
    found = (
        r"run\.npz': seed is 1 there but 2 in this run, grid is \[0\.5\] there but \[\] in this "
        r"run; give another place"
    )
    with pytest.raises(InputError, match=found):
        open_checkpoint(path).check_identity({"seed": 2, "grid": []})


@pytest.mark.parametrize(
    ("schema", "named"),
    [({"version": 2}, "schema version is 1; allowed: 2"), ({"kind": "x"}, "kind is 'test'")],
)
def test_another_schema_is_refused_by_name(tmp_path, schema, named):
    open_checkpoint(tmp_path / "run").save(make_saved(1))
    with pytest.raises(InputError, match=named):
        open_checkpoint(tmp_path / "run", **schema)


def damage(path, how):
    content = bytearray(path.read_bytes())
    content[content.find(np.full(3, 2).tobytes())] ^= 1
    new = {"cut": content[:-50], "flipped": content, "empty": b"", "gone": None}[how]
    path.unlink() if new is None else path.write_bytes(new)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, how):
    path = tmp_path / "run.npz"
    file = open_checkpoint(path)
    file.save(make_saved(1))
    file.save(make_saved(2))
    damage(path, how)
    again = open_checkpoint(path)
    what = "missing" if how == "gone" else "damaged"
    (note,) = again.notes
    assert f"is {what}; going on from step 1 in " in note
    assert again.saved.progress == "step 1"
    again.save(make_saved(3))  # the good one before stays until there are two good ones
    assert open_checkpoint(path).saved.progress == "step 3"
    path.write_bytes(b"")
    assert open_checkpoint(path).saved.progress == "step 1"


def test_a_pickle_in_a_checkpoint_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    path = tmp_path / "run.npz"
    np.savez(path, header=np.array([Trap()], dtype=object), checksum=np.asarray("x"))
    assert "damaged" in open_checkpoint(path).notes[0]
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_is_one_line_and_keeps_what_there_was(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    file = open_checkpoint(path)
    file.save(make_saved(1))

    def fill(stream, **arrays):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fill)
        with pytest.raises(InterruptedRunError, match=r"No space left .* last good .* kept$"):
            file.save(make_saved(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]
    assert open_checkpoint(path).saved.progress == "step 1"


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail(draft):
        draft.write_text("half")
        raise OSError(30, "Read-only file system")

    with pytest.raises(InterruptedRunError, match=r"table\.csv': Read-only file system"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    write_atomically(path, lambda draft: draft.write_text("new"))
    assert path.read_text() == "new"
    (tmp_path / ".tmp-left").mkdir()
    remove_entries(tmp_path, {"table.csv"})
    assert not list(tmp_path.iterdir())


def write_set(number, *, names=("a.txt", "result.json")):
    def write_fn(draft):
        (draft / "folder").mkdir()
        (draft / "folder" / "b.txt").write_text(f"b{number}")
        for name in names:
            (draft / name).write_text(f"{name}{number}")

    return write_fn


def read_set(path):
    return {
        str(file.relative_to(path)): file.read_text()
        for file in path.rglob("*.*")
        if file.is_file()
    }


def make_set(number):
    return {
        "a.txt": f"a.txt{number}",
        "result.json": f"result.json{number}",
        "folder/b.txt": f"b{number}",
    }


def test_a_set_of_files_appears_whole(tmp_path):
    for number in (1, 2):
        replace_files(tmp_path, write_set(number), last="result.json")
        assert read_set(tmp_path) == make_set(number)

    def fail(draft):
        write_set(3)(draft)
        raise OSError(28, "No space left on device")

    with pytest.raises(InterruptedRunError, match="No space left on device"):
        replace_files(tmp_path, fail, last="result.json")
    assert read_set(tmp_path) == make_set(2)
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.txt", "folder", "result.json"}


@pytest.mark.parametrize("num_moves", range(4))
def test_a_set_that_a_kill_left_half_moved_is_completed(tmp_path, monkeypatch, num_moves):
    """After each of the renames; the first gives the complete set its name."""

    def replace_set(number, **options):
        write_fn = write_set(number, **options)
        replace_files(tmp_path, write_fn, "result.json", is_replaced={"old.txt"}.__contains__)

    replace_set(1, names=("a.txt", "old.txt", "result.json"))
    (tmp_path / "mine.txt").write_text("mine")
    replace, moves = os.replace, []

    def kill(source, target):
        if len(moves) == num_moves:
            raise KeyboardInterrupt
        moves.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            replace_set(2)
    assert (tmp_path / "result.json").exists() == (num_moves == 0)
    settle(tmp_path, "result.json")
    old = {"old.txt": "old.txt1"} if num_moves == 0 else {}
    expected = {**make_set(1 if num_moves == 0 else 2), **old, "mine.txt": "mine"}
    assert read_set(tmp_path) == expected
