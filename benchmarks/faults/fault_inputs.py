"""Makes every mistake we can think of at the command line, and looks at what is said and what is left.

A case passes when the exit code is 2, every line on standard error begins with "muzero-wm", is of bounded length and no
traceback, standard output holds no more than what is being done, and not one file was made, changed or removed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from muzero_wm.cli import main as cli
from muzero_wm.config import Config
from muzero_wm.storage.checkpoint import save_checkpoint

LONGEST_LINE = 1000
Case = tuple[str, list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this campaign."""
    parser.add_argument("--every", type=int, default=1, help="try only each N-th case")
    parser.add_argument("--processes", type=int, default=12, help="cases that are also tried in a process of their own")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the campaign.

    Args:
        args: every, processes.

    Returns:
        Counts by kind of mistake, and the failures.
    """
    kinds: Counter[str] = Counter()
    failures: list[str] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _furnish(folder)
        cases = list(all_cases())[:: args.every]
        own = {round(i * len(cases) / max(1, args.processes)) for i in range(args.processes)}
        os.chdir(folder)
        try:
            state = contents(folder)
            for number, (kind, words) in enumerate(cases):
                ways = [in_process, in_own_process] if number in own else [in_process]
                problems = [problem for way in ways if (problem := way(words))]
                if contents(folder) != state:
                    problems.append("files were made, changed or removed")
                    shutil.rmtree("new", ignore_errors=True)  # it must not stand in the way of the next case
                    state = contents(folder)
                failures += [f"{kind} {' '.join(words)[:200]!r}: {problem}" for problem in problems]
                kinds[kind] += 1
        finally:
            os.chdir(before)
    return {
        "campaign": "inputs",
        "cases": sum(kinds.values()),
        "in_own_process": len(own),
        "kinds": dict(kinds),
        "failures": failures,
    }


def in_process(words: list[str]) -> str | None:
    """Tries one call in this process; returns what is wrong with the answer."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(words)
        except BaseException as error:
            return f"{type(error).__name__} escapes: {str(error)[:200]}"
    return judge(code, out.getvalue(), err.getvalue())


def in_own_process(words: list[str]) -> str | None:
    """Tries one call as a program; returns what is wrong with the answer."""
    try:
        done = subprocess.run([sys.executable, "-m", "muzero_wm", *words], capture_output=True, text=True, check=False)
    except ValueError:
        return None  # no program can be given such a word
    return judge(done.returncode, done.stdout, done.stderr)


def judge(code: int, out: str, err: str) -> str | None:
    """Returns what is wrong with an answer, None when it is as it should be."""
    lines = err.splitlines()
    if code != 2:
        return f"exit code {code}, said {err[-200:]!r}"
    if not all(line.endswith(" ...") for line in out.splitlines()):  # a training says what it does
        return f"wrote to standard output: {out[:200]!r}"
    if not lines or not all(line.startswith("muzero-wm") for line in lines):
        return f"said {err[-300:]!r}"
    if max(map(len, lines)) > LONGEST_LINE or len(lines) > 25:
        return f"said too much: {len(lines)} lines, the longest of {max(map(len, lines))} characters"
    return None


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns size and time of change of everything in a folder."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size if path.is_file() else 0, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def all_cases() -> Iterator[Case]:
    """Yields kinds of mistakes and the words of the call."""
    for path, values in bad_values(Config):
        for value in values:
            yield "setting", ["train", "debug", "--run-dir", "new", "--set", f"{path}={value}"]
    for text in SETTINGS:
        yield "odd setting", ["train", "debug", "--run-dir", "new", "--set", text]
    for name in FILES:
        yield "file", ["train", f"files/{name}.yaml", "--run-dir", "new"]
    for env in ENVS:
        yield "environment", ["train", "--env", env, "--run-dir", "new"]
        yield "environment", ["train", "debug", f"--env={env}", "--run-dir", "new"]
    for words in CALLS:
        yield "call", words
    for run_dir in RUN_DIRS:
        yield "run folder", ["train", "debug", "--run-dir", run_dir]
    for run_dir in RUNS:
        yield "run", ["evaluate", run_dir]
        yield "run", ["play", run_dir]
        yield "run", ["train", "--resume", "--run-dir", run_dir]


def bad_values(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yields the path of every setting and values that are wrong for its type and range."""
    for name, field in section.model_fields.items():
        where, annotation = f"{path}{name}", field.annotation
        options = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        optional = type(None) in get_args(annotation)
        nested = [kind for kind in options if issubclass(kind, BaseModel)]
        values = ["[1, 2]", "{a: 1}", "!!python/name:os.system", "&a [*a]", "2001-01-01"]
        if nested:
            yield where, [*values, "3", "null", "text", "{nonsense: 1}"]
            yield from bad_values(nested[0], f"{where}.")
            continue
        if not optional:
            values.append("null")
        if get_origin(annotation) is Literal or Literal in map(get_origin, get_args(annotation)):
            values += ["nonsense", "1.5", "''", "true"]
            if not any(int in get_args(kind) for kind in get_args(annotation)):  # a number, or one of some words
                values += ["3"]
        elif int in options:
            values += ["x", "1.5", "-1", "1e3", "true", ".nan", "10" + "0" * 30, "9" * 5000, "''", "0x"]
        elif float in options:
            values += ["x", ".nan", ".inf", "-.inf", "true", "''", "1e999"]
            if where not in ("model.value_support.low", "model.reward_support.low"):
                values += ["-1e9"]
        elif bool in options:
            values += ["3", "maybe", "''", "1.0"]
        elif str in options:
            values += ["3", "true", "1.5"]
        yield where, values


SETTINGS = [
    "", "=", "=3", "a", "a=", "a.b", "seed", "seed.x=3", "model..width=3", ".model=3", "model.=3", "model.width",
    "model.widht=3", "modle.width=3", "MODEL.WIDTH=3", "model.width=[", "model.width={", "model.width=*x",
    "model.width=!!int x", "model.width=!<tag:yaml.org,2002:python/object/apply:os.system> [ls]", "model.width=\x00",
    "model.width=\ud800", "model.width=\u2028", "model.width=" + "[" * 5000, "model.width=" + "x" * 100_000,
    "extends=tictactoe", "<<={seed: 1}", "learning={max_minutes: null, max_updates: null}",
    "learning.max_updates=null", "model.value_support={low: 3, high: 1}", "model.value_support.num_bins=1",
    "run.keep_best=''", "env=", "env=[tictactoe]", "__class__=3", "model.__init__=3", "model.model_config={}",
    "replay.max_mib=0.00001", "acting.max_random_plies=-3",
]  # fmt: skip

_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(20)
)
FILES: dict[str, bytes] = {
    "empty": b"", "blank": b"\n\n", "list": b"- env\n", "text": b"just words", "number": b"3", "null": b"null\n",
    "unknown": b"modle: {width: 8}\n", "twice": b"seed: 1\nseed: 2\n",
    "deep-twice": b"model:\n  width: 8\n  width: 9\n", "open": b"env: [tictactoe\n",
    "tab": b"env: tictactoe\n\tseed: 1\n", "binary": bytes(range(256)), "utf16": "env: x".encode("utf-16"),
    "latin": b"env: caf\xe9\n", "null-byte": b"env: tic\x00tactoe\n",
    "tag": b"seed: !!python/object/apply:os.getpid []\n", "new": b"!!python/object/new:os.system [true]\n",
    "module": b"seed: !!python/module:os\n", "laughs": _LAUGHS.encode(), "self": b"&a [*a]",
    "self-map": b"&a {model: *a}", "merge": b"<<: [1, 2]\n", "merge-self": b"&a\n<<: *a\nseed: -1\n",
    "number-key": b"1: 2\n", "list-key": b"[1, 2]: 3\n", "map-key": b"{a: 1}: 3\n", "null-key": b"null: 3\n",
    "deep": b"[" * 20_000, "deep-map": b"{a: " * 5_000, "long": b"seed: " + b"9" * 10_000, "huge": b"x" * (3 << 20),
    "date": b"seed: 2001-13-45\n", "bad-date": b"seed: 2001-99-99\n",
    "sexagesimal": b"learning: {learning_rate: '1:2:3'}\n", "circle": b"extends: files/circle.yaml\n",
    "extends-list": b"extends: [tictactoe]\n", "extends-nowhere": b"extends: nowhere\n",
    "extends-path": b"extends: ../../../../etc/passwd\n", "extends-number": b"extends: 3\n",
    "two-documents": b"seed: 1\n---\nseed: 2\n",
    "no-end": b"extends: debug\nlearning: {max_updates: null, max_minutes: null}\n", "octal": b"seed: 0o9\n",
    "anchor": b"seed: *nothing\n", "percent": b"%YAML 9.9\n---\nseed: 1\n",
    "directive": b"%TAG ! tag:x,2000:\n--- !foo\nseed: 1\n",
}  # fmt: skip

ENVS = [
    "", " ", "tictactoo", "connect-4", "TicTacToe", "gym:", "gym:Nope-v0", "gym:Cartpole-v1", "gym:CartPole-v99",
    "gym:Pendulum-v1", "gym:nothing_here:Env-v0", "gym:os:Env-v0", "gym:../evil:Env-v0", "gym:a b:Env-v0",
    "gym:.:Env-v0", "gym::", "gym::Env-v0", "gym:json.tool:Env-v0", "gym:json.nothing:Env-v0", "../tictactoe",
    "games.tictactoe", "tictactoe.py", "os:system", "my_package.my_module:factory", "x" * 5000, "tic\ntactoe",
    "tic\ttactoe", "tic\x1b[31mtactoe", "__init__", "gym:CartPole-v1 ",
]  # fmt: skip

CALLS = [text.split() for text in (
    "", "trian", "evaluat run", "--nonsense", "-x", "train --sed 3 debug", "train debug extra", "train quickstrt",
    "train", "train missing.yaml", "train runs", "train .", "train /", "train ./",
    "train files/empty.yaml files/list.yaml", "train debug --seed", "train debug --seed x", "train debug --seed -1",
    "train debug --seed 1.5", "train debug --seed 1e3", "train debug --seed 99999999999999999999999999",
    "train debug --max-updates 0", "train debug --max-updates -1", "train debug --max-updates 1.5",
    "train debug --max-updates x", "train debug --max-minutes 0", "train debug --max-minutes -1",
    "train debug --max-minutes nan", "train debug --max-minutes inf", "train debug --max-minutes x",
    "train debug --set", "train debug --env", "train debug --run-dir", "train debug --resume", "train --resume",
    "train --resume --run-dir nowhere", "evaluate", "evaluate nowhere", "evaluate file.txt", "evaluate .",
    "evaluate run --games 0", "evaluate run --games -5", "evaluate run --games x", "evaluate run --games 1.5",
    "evaluate run --simulations 0", "evaluate run --simulations x", "evaluate run --seed -2", "evaluate run --seed x",
    "evaluate run --json nowhere/x.json", "evaluate run --json .", "evaluate run --json", "evaluate run --opponent",
    "evaluate run --oponent random", "evaluate run --checkpoint", "evaluate run --checkpoint first",
    "evaluate run --checkpoint -1", "evaluate run --checkpoint 1.5", "evaluate run --checkpoint 99999999999999999999",
    "play", "play nowhere", "play file.txt", "play run --seat third", "play run --seat", "play run --simulations -3",
    "play run --simulations x", "envs extra", "envs --json nowhere/x.json", "envs --json .", "envs --json",
    "envs --verbos",
)] + [
    ["train", "deb\x00ug"], ["evaluate", "ru\x00n"], ["evaluate", "x" * 5000], ["train", "x" * 5000], [""], ["train",
    ""], ["evaluate", ""], ["train", "debug", "--seed", "9" * 10_000], ["train", "debug", "--max-updates",
    "9" * 10_000], ["evaluate", "run", "--json", "x" * 5000 + "/y"], ["evaluate", "run", "--json", "a\x00b"]
]  # fmt: skip

RUN_DIRS = [
    "file.txt",
    "file.txt/below",
    "full",
    "run",
    "broken",
    "x" * 5000,
    "a\x00b",
    "/proc/nothing",
    "/dev/null",
    "files",
]
RUNS = [
    "nowhere",
    "file.txt",
    "files",
    "full",
    "broken",
    "old",
    "foreign",
    "link-to-nowhere",
    "pipe",
    "a\x00b",
    "x" * 5000,
]


def _furnish(folder: Path) -> None:
    """Puts things in the way."""
    (folder / "file.txt").write_text("mine")
    (folder / "files").mkdir()
    for name, content in FILES.items():
        (folder / "files" / f"{name}.yaml").write_bytes(content)
    for name in ("full", "run", "broken", "old", "foreign", "pipe"):
        (folder / name / "checkpoints").mkdir(parents=True)
        (folder / name / "config.yaml").write_text("env: tictactoe\n")
    (folder / "broken" / "checkpoints" / "step_000000001.json").write_text("{}")
    (folder / "old" / "checkpoints" / "manifest.json").write_text('{"format": 1, "sha256": {}}')
    (folder / "link-to-nowhere").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe" / "checkpoints" / "step_000000001.json")
    for name in ("foreign", "run"):
        save_checkpoint(folder / name / "checkpoints", {"who": "somebody"}, step=1, keep=1)
