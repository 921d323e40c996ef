"""`muzero-wm bench`: what each benchmark reports, on tiny sizes, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mcts
from muzero_wm import envs
from muzero_wm.bench.inference import bench_inference
from muzero_wm.bench.learner import made_up_games
from muzero_wm.bench.models import NETWORKS, make_network, observations
from muzero_wm.bench.network import bench_network
from muzero_wm.bench.search import POLICIES, free_network, mean_depth
from muzero_wm.bench.timing import Stopwatch, interleave
from muzero_wm.cli import arguments as cli_arguments
from muzero_wm.cli import main as cli
from muzero_wm.inference.backends import names_for
from tests.model.models import onednn_without_bf16

ROOT = Path(__file__).parents[2]
TINY_MODEL = ("model.width=8", "model.head_width=8", "model.projection_width=8", "learning.batch_size=4")


def bench(call: str, folder: Path) -> dict[str, Any]:
    file = folder / "report.json"
    assert cli.main(["bench", *shlex.split(call), "--seconds", "0.001", "--json", str(file)]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    about = report["machine"]
    assert about["cores"] >= 1
    assert about["processor"]
    assert about["planner"] == mcts.default_instruction_set()
    assert about["libraries"]["numpy"] == np.__version__
    assert report["settings"]["seconds"] == 0.001
    return report


def check_timing(timing: dict[str, Any]) -> None:
    assert 0 < timing["ns"]["minimum"] <= timing["ns"]["median"]
    assert timing["per_second"]["maximum"] >= timing["per_second"]["median"] > 0
    assert timing["per_second"]["maximum"] == pytest.approx(1e9 / timing["ns"]["minimum"])
    assert timing["rounds"] >= 3


def test_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = bench("search --only 2,3,4 --seed 7 --threads 2", tmp_path)
    assert (report["benchmark"], report["settings"]["seed"], report["settings"]["threads"]) == ("search", 7, 2)
    kinds = [(row["model"], row["policy"]) for row in report["rows"]]
    assert kinds == [(model, policy) for model in ("random", "constant") for policy in POLICIES]
    for row in report["rows"]:
        assert (row["roots"], row["actions"], row["simulations"]) == (2, 3, 4)
        assert 1 <= row["mean_depth"] <= 4
        check_timing(row["mcts"])
    assert "2,3,4" in capsys.readouterr().out


def test_search_of_one_free_network(tmp_path: Path) -> None:
    assert {row["model"] for row in bench("search --only 1,2,2 --model constant", tmp_path)["rows"]} == {"constant"}


@pytest.mark.skipif(importlib.util.find_spec("mctx") is None, reason="mctx is not installed")
def test_search_beside_mctx(tmp_path: Path) -> None:
    for row in bench("search --only 2,3,4", tmp_path)["rows"]:
        check_timing(row["mctx"])
        assert row["ratio"]["minimum"] == pytest.approx(row["mctx"]["ns"]["minimum"] / row["mcts"]["ns"]["minimum"])


def test_search_with_networks(tmp_path: Path) -> None:
    before = {name: getattr(mcts, name) for name in ("muzero_policy", "gumbel_muzero_policy")}
    report = bench("search --network 1 3", tmp_path)
    assert [(row["network"], row["roots"]) for row in report["rows"]] == [(n, b) for n in NETWORKS for b in (1, 3)]
    for row in report["rows"]:
        check_timing(row["search"])
        if (share := row["share"]) is not None:
            assert share["network"] + share["tree"] + share["glue"] == pytest.approx(1)
            assert share["planner"] == pytest.approx(share["tree"] + share["glue"])
            assert min(share.values()) > 0
    assert before == {name: getattr(mcts, name) for name in before}


def test_inference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = bench("inference --batch 1 3", tmp_path)
    assert {(row["network"], row["batch"]) for row in report["rows"]} == {(n, b) for n in NETWORKS for b in (1, 3)}
    for row in report["rows"]:
        check_timing(row["evaluations"])
        assert row["refresh_seconds"]["minimum"] >= 0
        largest = [row["error"][name]["max"] for name in ("value", "reward", "policy")]
        if row["backend"] == "eager-fp32":
            assert row["ratio"] == {"minimum": 1, "median": 1}
            assert largest == [0, 0, 0]
        else:
            assert max(largest) < 0.2
    assert len({row["backend"] for row in report["rows"]}) >= 2
    for network, absent in report["absent"].items():
        timed = {row["backend"] for row in report["rows"] if row["network"] == network}
        assert timed.isdisjoint(absent) and timed | absent.keys() == set(names_for("auto"))
    out = capsys.readouterr().out
    assert "native-fp32 is missing: the torso is convolutional (conv-64x4, connect4)" in out
    assert ("fused-bf16 is missing: " in out) == bool(onednn_without_bf16())


def test_the_networks_are_not_idle() -> None:
    """New weights predict next to nothing, and every precision would look exact."""
    for name in NETWORKS:
        network = make_network(name, 0)
        with torch.inference_mode():
            latent = network.model.represent(torch.from_numpy(observations(network, 16, 0)))
            moved = network.model.step(latent, torch.arange(16) % network.spec.num_actions)
            policies = network.model.predict(moved).policy_logits.softmax(1)
        assert (moved - latent).abs().mean() > 0.05
        assert policies.std(0).mean() > 0.01


def test_learner(tmp_path: Path) -> None:
    report = bench(f"learner tictactoe connect4 --set {' '.join(TINY_MODEL)}", tmp_path)
    assert [row["preset"] for row in report["rows"]] == ["tictactoe", "connect4"]
    for row in report["rows"]:
        check_timing(row["updates"])
        assert row["samples_per_second"]["maximum"] == pytest.approx(4 * row["updates"]["per_second"]["maximum"])
        assert {"sample", "forward_backward", "optimizer", "ema"} <= set(row["share"])
        assert sum(row["share"].values()) == pytest.approx(1)
        assert min(row["share"].values()) >= 0


def test_a_round_of_a_game(tmp_path: Path) -> None:
    small = " ".join((*TINY_MODEL, "search.discount=0.99", "replay.n_step=5", "search.num_simulations=3"))
    small += " acting.random_openings=0"
    report = bench(f"atari minatar:breakout --preset debug --set {small} inference.backend=eager", tmp_path)
    (row,) = report["rows"]
    assert set(row["acting"]) == {"environment", "root", "recurrent", "tree", "rest"}
    for part in ("acting", "learning"):
        assert sum(row[part].values()) == pytest.approx(1.0) and min(row[part].values()) > -1e-6
    assert row["gflop"]["update"] > row["gflop"]["root"] > 0.0 and row["peak_gflops"] > 0.0
    assert row["run"]["steps_per_second"] <= row["steps_per_second"]


def test_threads_of_torch_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    bench_network((1,), ("mlp-64",), seconds=0.001, threads=before + 1)
    bench_inference((1,), ("mlp-64",), seconds=0.001, threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("bench serch", "unknown benchmark 'serch', did you mean 'search'?"),
        ("bench search --only 1,2", "--only: expected roots,actions,simulations like 64,82,200, got '1,2'"),
        ("bench search --only 1,0,2", "--only: expected roots,actions,simulations like 64,82,200, got '1,0,2'"),
        ("bench search --seconds 0", "--seconds: expected a number > 0, got '0'"),
        ("bench search --seconds nan", "--seconds: expected a number > 0, got 'nan'"),
        ("bench search --threads 0", "--threads: expected an integer >= 1, got '0'"),
        ("bench search --network x", "--network: expected an integer >= 1, got 'x'"),
        ("bench search --model flat", "--model: invalid choice: 'flat'"),
        ("bench search --onyl 1,2,3", "unknown option --onyl, did you mean '--only'?"),
        ("bench search --json nowhere/x.json", "--json nowhere/x.json: the folder nowhere is not there"),
        ("bench inference --batch 0", "--batch: expected an integer >= 1, got '0'"),
        ("bench learner chess", "unknown preset 'chess'"),
        ("bench learner debug --set model.width=x", "model.width"),
    ],
)
def test_mistakes_are_one_line(
    call: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(call)) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["bench", "bench search", "bench inference", "bench learner"])
def test_help_names_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*shlex.split(command), "--help"]) == 0
    (example,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  muzero-wm bench"))
    cli_arguments.build_parser(cli.COMMANDS).parse_args(shlex.split(example)[1:])


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("search --only 1,2,2 --seconds 0.001", 0, ""),
        ("search --network", 2, "bench search --network: needs torch"),
        ("inference", 2, "bench inference: needs torch"),
        ("learner", 2, "bench learner: needs torch"),
    ],
)
def test_only_the_tree_is_timed_without_torch(call: str, code: int, message: str) -> None:
    blocked = "sys.modules.update(dict.fromkeys(('torch', 'numba', 'gymnasium', 'pydantic')))"
    program = f"import sys; {blocked}; from muzero_wm.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "bench", *shlex.split(call)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == (1 if message else 0)


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    # "ready" comes when a measurement of a minute begins
    program = """if True:
        import sys
        from muzero_wm.bench import search
        from muzero_wm.cli.main import main
        make = search.free_network
        search.free_network = lambda *args: (print("ready", flush=True), make(*args))[1]
        sys.exit(main(sys.argv[1:]))
    """
    file = tmp_path / "report.json"
    command = [sys.executable, "-c", program, "bench", "search", "--seconds", "60", "--json", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "muzero-wm: interrupted\n"
    assert not file.exists()


# The parts -----------------------------------------------------------------------------------------------------------


def test_contenders_take_turns() -> None:
    order: list[str] = []
    timings = interleave({"a": lambda: (order.append("a"), time.sleep(0.003)), "b": lambda: order.append("b")}, 0.01)
    assert order[:2] == ["a", "a"]  # warmed up and measured for the number of calls
    assert order[2:4] == ["b", "b"]
    runs = "".join(order[4:]).split("a")[1:]
    assert len(runs) == timings["a"].rounds == timings["b"].rounds >= 3
    assert len(set(runs)) == 1  # the same number of calls of b in every round
    assert timings["a"].median >= timings["a"].minimum >= 0.003 > timings["b"].minimum


def test_a_stopwatch_adds_up_and_puts_everything_back() -> None:
    class Worker:
        def work(self) -> str:
            time.sleep(0.002)
            return "done"

    worker, stopwatch = Worker(), Stopwatch()
    with stopwatch.watching((worker, "work", "labour")):
        assert [worker.work() for _ in range(3)] == ["done"] * 3
    assert stopwatch.seconds["labour"] >= 0.006
    spent = dict(stopwatch.seconds)
    assert worker.work() == "done"
    assert stopwatch.seconds == spent
    assert "work" not in vars(worker)


def test_the_depth_of_a_chain() -> None:
    outputs = free_network("constant", 2, 1, 0)
    root = mcts.RootOutput(outputs[0].prior_logits, outputs[0].value)
    tree = mcts.muzero_policy(root, lambda *_: outputs[0], 4, rng=0).tree
    assert mean_depth(tree) == (1 + 2 + 3 + 4) / 4


def test_made_up_games_are_games() -> None:
    spec = envs.spec("connect4")
    games = made_up_games(spec, 300, 0)
    assert games.num_steps >= 300
    assert len(games.observation) == games.num_steps + len(games)
    last = np.cumsum(games.lengths + 1) - 1
    assert (games.action[last] == -1).all()
    assert (np.delete(games.action, last) >= 0).all()
    assert (games.reward[last - 1] == 1).all()
    assert games.reward.sum() == len(games)
    assert (games.to_play[last - games.lengths] == 0).all()
    inside = np.delete(np.arange(len(games.to_play)), last)
    assert (games.to_play[inside + 1] != games.to_play[inside]).all()
