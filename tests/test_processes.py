"""Several processes as one run: flags, agreements, the bits of one process, and lost processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from phase_jax.cli import main
from phase_jax.report.read import load_run

SWEEP = [
    "sweep", "--eps-grid", "0.02,0.1", "--seeds", "2", "--num-train", "100", "--num-test", "50",
    "--widths", "8", "--epochs", "4", "--attack-steps", "2", "--eval-steps", "2",
    "--lane-width", "2", "--checkpoint-every", "0m", "--num-resamples", "200",
]  # fmt: skip
STUDY = ["simulate", "moments", "--replicates", "200"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--coordinator a:1", "--coordinator: needs --distributed"),
        ("--process-id 0", "--process-id: needs --distributed"),
        (
            "--distributed --process-id 0",
            "--process-id: needs --coordinator and --num-processes as well; or give none of them",
        ),
        (
            "--distributed --coordinator a:1 --num-processes 2 --process-id 2",
            "--process-id: 2 is not allowed; allowed: a whole number, 0 to 1",
        ),
        (
            "--distributed --coordinator a --num-processes 2 --process-id 1",
            "--coordinator: 'a' is not allowed; allowed: HOST:PORT",
        ),
        (
            "--distributed --lost-after 1",
            "--lost-after: 1.0 is not allowed; allowed: a finite number, at least 5",
        ),
    ],
)
@pytest.mark.parametrize("command", [["sweep"], ["simulate", "moments"], ["finetune"]])
def test_flags_that_do_not_fit_are_refused(command, flags, line, capsys, tmp_path):
    assert main([*command, *flags.split(), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"phase-jax: {line}\n"
    assert not list(tmp_path.iterdir())


# Agreements of two processes with two devices each; every process prints what it learned.
AGREE = """
import sys
import jax, numpy as np
from phase_jax.distributed import *
from phase_jax.sweep.lanes import lay_out
from phase_jax.types import InputError

port, number = sys.argv[1:]
number = int(number)
join_processes(f"127.0.0.1:{port}", 2, number)
learned = [agree(number), agree(None), share({"a": number}), share("x" * number, source=1)]
learned.append(run_once(lambda: number + 5))
arrays = {"big": np.arange(400_000.0), "none": np.zeros((0, 3), "V2"), "one": np.int8(4)}
told = share_arrays(arrays if is_writer() else None)
learned += [told["big"].sum(), told["big"].dtype.str, told["none"].shape, told["one"].item()]

def refuse():
    raise InputError("no")

for fn in (lambda: run_once(refuse), lambda: require_same({"s": 1, "t": number})):
    try:
        fn()
    except InputError as error:
        learned.append((str(error), error.is_shared))
require_same({"s": (1, 2.5)})
layout = lay_out(5, 1)
assert layout.num_places == 8 and layout.mesh.size == 4
lanes = (np.arange(10.0).reshape(5, 2), jax.random.split(jax.random.key(1), 5))
double = jax.jit(layout.map(lambda lane, shift: 2 * lane[0] + shift, num_shared=1))
ended = double(layout.spread(lanes), layout.share(np.float32(1)))
learned.append(layout.collect(ended).tolist())
print(learned)
"""
LEARNED = [
    1, 0, {"a": 0}, "x", 5, 400_000 * 399_999 / 2, "<f8", (0, 3), 4, ("no", True),
    ("t is 1 in process 1 but 0 in process 0; allowed: equal settings, data and versions", True),
    [[1.0, 3.0], [5.0, 7.0], [9.0, 11.0], [13.0, 15.0], [17.0, 19.0]],
]  # fmt: skip


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, cache, num_devices=1, **variables):
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "XLA_FLAGS": f"{flags} --xla_cpu_multi_thread_eigen=false",
            "NPROC": "4",
            "PHASE_JAX_CACHE_DIR": str(cache),
            **variables,
        },
    )


@contextlib.contextmanager
def started(commands, cache, num_devices=1, variables=({}, {})):
    """Two processes of one run; neither outlives the test."""
    processes = [
        start(command, cache, num_devices, **own)
        for command, own in zip(commands, variables, strict=True)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def finish(processes, timeout=300):
    """Return exit status, output and error lines of each."""
    outputs = [process.communicate(timeout=timeout) for process in processes]
    return [
        (process.returncode, output, error.splitlines())
        for process, (output, error) in zip(processes, outputs, strict=True)
    ]


def two_of(arguments, out):
    """The commands of two processes that are one run."""
    names = ["--distributed", "--coordinator", f"127.0.0.1:{find_port()}", "--num-processes", "2"]
    base = ["-m", "phase_jax", *arguments, "--out", str(out), *names]
    return [[*base, "--process-id", str(number)] for number in (0, 1)]


def read_numbers(out):
    document = json.loads((out / "result.json").read_text())
    other = ("seconds", "revision", "notes")
    return {name: document[name] for name in document if name not in other}


def assert_equal_runs(out, expected):
    assert {path.name for path in out.iterdir()} == {path.name for path in expected.iterdir()}
    assert read_numbers(out) == read_numbers(expected)
    run, other = load_run(out), load_run(expected)
    for name, values in other.history.items():
        np.testing.assert_array_equal(run.history[name], values)
    np.testing.assert_array_equal(run.example_losses, other.example_losses)
    np.testing.assert_array_equal(
        run.params["Dense_0"]["kernel"], other.params["Dense_0"]["kernel"]
    )


def test_two_processes_agree(tmp_path):
    port = str(find_port())
    commands = [["-c", AGREE, port, str(number)] for number in (0, 1)]
    with started(commands, tmp_path, num_devices=2) as processes:
        for status, output, error in finish(processes, timeout=60):
            assert status == 0, error
            assert eval(output.splitlines()[-1]) == LEARNED


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("xla")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """A run of one process with two devices."""
    out = tmp_path_factory.mktemp("runs") / "one"
    process = start(["-m", "phase_jax", *SWEEP, "--out", str(out)], cache, num_devices=2)
    ((status, _, error),) = finish([process])
    assert status == 0, error
    return out


@pytest.mark.slow
def test_slurm_tells_who_they_are_and_two_processes_have_the_bits_of_one(
    undisturbed, tmp_path, cache
):
    """One task a node, found by JAX itself; the second writes and says nothing."""
    out = tmp_path / "two"
    slurm = {
        "SLURM_JOB_ID": str(find_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "2", "SLURM_LOCALID": "0",
        "JAX_COORDINATOR_PORT": str(find_port()),
    }  # fmt: skip
    commands = [["-m", "phase_jax", *SWEEP, "--out", str(out), "--distributed"]] * 2
    variables = [{**slurm, "SLURM_PROCID": str(number)} for number in (0, 1)]
    with started(commands, cache, variables=variables) as processes:
        (first, told, _), (second, silence, error) = finish(processes)
    assert first == second == 0, error
    assert "results in" in told
    assert not [line for line in silence.splitlines() if not line.startswith("[Gloo]")]
    assert_equal_runs(out, undisturbed)


@pytest.mark.slow
def test_a_refusal_and_other_settings_end_both_in_one_line(undisturbed, tmp_path, cache):
    refused = two_of(SWEEP, undisturbed)
    odd = two_of(SWEEP, tmp_path / "odd")
    odd[1] += ["--momentum", "0.5"]
    for commands, line in (
        (refused, f"phase-jax: --out: {str(undisturbed)!r} holds a finished run already; "),
        (odd, "phase-jax: training.momentum is 0.5 in process 1 but 0.9 in process 0; allowed: "),
    ):
        with started(commands, cache) as processes:
            (first, _, told), (second, _, silence) = finish(processes)
        assert (first, second, silence) == (2, 2, [])
        assert len(told) == 1
        assert told[0].startswith(line)
    assert not list(tmp_path.iterdir())


def wait_for_epoch(process, epoch):
    """Read what a run prints until an epoch is done and, one later, saved."""
    for line in process.stdout:
        if line.startswith(f"epoch {epoch + 1}/"):
            return
    raise AssertionError(process.stderr.read())


LONG = [*SWEEP, "--epochs", "400"]


@pytest.mark.slow
def test_a_signal_stops_both_and_a_lost_process_ends_the_other(tmp_path, cache):
    """Two processes, two again, then one: to the bits of one undisturbed."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    process = start(["-m", "phase_jax", *LONG, "--out", str(whole)], cache, num_devices=2)
    ((status, _, error),) = finish([process])
    assert status == 0, error
    with started(two_of(LONG, out), cache) as processes:
        wait_for_epoch(processes[0], 1)
        processes[1].send_signal(signal.SIGTERM)
        (first, _, told), (second, _, silence) = finish(processes)
    assert (first, second, silence) == (143, 143, [])
    assert len(told) == 1
    assert "it can be resumed" in told[0]
    for victim, statuses in ((1, (1,)), (0, (1, 134))):
        commands = two_of([*LONG, "--resume", "--lost-after", "10"], out)
        with started(commands, cache) as processes:
            wait_for_epoch(processes[0], json_epoch(out))
            processes[victim].kill()
            since = time.monotonic()
            status, _, error = finish([processes[1 - victim]], timeout=30)[0]
            assert time.monotonic() - since < 20
        assert status in statuses, error
        if status == 1:
            assert "another process of this run is gone" in error[-1]
            assert "Traceback" not in "".join(error)
    process = start(["-m", "phase_jax", *LONG, "--resume", "--out", str(out)], cache, num_devices=2)
    ((status, told, error),) = finish([process])
    assert status == 0, error
    assert "going on after epoch" in told
    assert_equal_runs(out, whole)


def json_epoch(out):
    """The epoch of the newest checkpoint."""
    with np.load(out / "checkpoint.npz") as file:
        return int(json.loads(str(file["header"]))["progress"].split()[1])


@pytest.mark.slow
def test_a_study_in_two_processes_has_the_bits_of_one(tmp_path, cache):
    one, two = tmp_path / "one", tmp_path / "two"
    process = start(["-m", "phase_jax", *STUDY, "--out", str(one)], cache, num_devices=2)
    ((status, _, error),) = finish([process])
    assert status == 0, error
    with started(two_of(STUDY, two), cache) as processes:
        (first, _, error), (second, _, silence) = finish(processes)
    assert first == second == 0, (error, silence)
    assert (two / "moments.csv").read_bytes() == (one / "moments.csv").read_bytes()
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
