"""Searches at random with the native core, sound inputs and unsound ones, and checks every answer.

    python -m tests.native.fuzz --searches 100000 --seed 1
    python -m tests.native.fuzz --seed 1 --first 4711 --searches 1        # that search again

A sound search must end with every invariant intact, an unsound one with a ValueError or TypeError that names the
argument. Search number i of a seed is always the same, so a campaign can be cut into pieces or go on by `--first`.
Workers run as processes of their own: a crash or a hang is told with the number of the search.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import multiprocessing
import random
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import mcts
from tests.native.cases import Case, draw, go_on, randomness
from tests.native.invariants import ViolationError, check, check_result, kept_visits, require
from tests.native.mistakes import NetworkFailedError, tamper

MAX_FINDINGS = 20
_NAMED = re.compile(r"(root|recurrent_fn|[a-z_]+)(\.[a-z_]+)?[:,] ")


def attempt(seed: int, index: int) -> str:
    """Makes one search and checks it.

    Args:
        seed: of the campaign.
        index: which of its searches.

    Returns:
        "searched", or "refused" where that was right.

    Raises:
        ViolationError: what does not hold, with the case.
    """
    case = draw(seed, index)
    try:
        result = _search(case)
        if result is None:
            return "refused"
        rnd = randomness(seed, index, 1)
        if case.arguments.get("num_threads", 1) > 1 and isinstance(case.arguments["rng"], int):
            case.arguments["num_threads"] = 1
            _same(result, case.search())
        if rnd.random() < 0.1 and (following := go_on(rnd, case, result)) is not None:
            case = following
            if rnd.random() < 0.3:
                return _search_on_tampered(rnd, case)
            _search(case)
        return "searched"
    except ViolationError as violation:
        raise ViolationError(f"{violation}; {_describe(case)}") from violation.__cause__


def _search(case: Case) -> mcts.SearchResult | None:
    """Makes a search and checks it; None if it was refused as it should."""
    try:
        result = case.search()
    except NetworkFailedError:
        require(case.wrong == "failing_network", "an error out of nowhere")
        return None
    except (ValueError, TypeError) as error:
        if not case.wrong:
            raise ViolationError(f"a sound search was refused: {error}") from error
        if not _NAMED.match(str(error)):
            raise ViolationError(f"an error that names no argument: {error}") from error
        return None
    except RuntimeError as error:
        require(case.wrong == "failing_native_network", f"an error out of nowhere: {error}")
        return None
    except Exception as error:
        raise ViolationError(f"{type(error).__name__}: {error}") from error
    require(not case.wrong, f"{case.wrong} was not refused")
    check(case, result)
    return result


def _search_on_tampered(rnd: random.Random, case: Case) -> str:
    """Searches on with a kept tree that was written to: it is refused by name, or good for a search all the same."""
    tamper(rnd, case.arguments["kept"])
    try:
        result = case.search()
    except ValueError as error:
        require(str(error).startswith("kept: root "), f"an error that does not name the node: {error}")
        return "refused"
    except Exception as error:
        raise ViolationError(f"{type(error).__name__}: {error}") from error
    check_result(case, result, case.num_simulations + kept_visits(case))
    return "searched"


def _same(result: mcts.SearchResult, other: mcts.SearchResult) -> None:
    for name in ("action", "action_weights", "visit_counts", "qvalues", "root_value", "improved_value"):
        require(getattr(result, name) == getattr(other, name), f"{name}: depends on the number of threads")


def _describe(case: Case) -> str:
    logits = getattr(case.root, "prior_logits", None)
    shape = getattr(logits, "shape", None)
    arguments = {k: v for k, v in case.arguments.items() if k not in ("invalid_actions", "rng", "kept")}
    return f"{case.policy} {shape} S={case.num_simulations} {case.style!r} {case.wrong} {arguments}"


def work(seed: int, numbers: range, seconds: float, current: Any, results: Connection) -> None:
    """Makes every search of a range and sends what it counted and found.

    Args:
        seed: of the campaign.
        numbers: of the searches.
        seconds: when to stop, whatever is left.
        current: shared integer that tells the number of the search.
        results: takes (counts, findings).
    """
    from tests.native import guard  # noqa: F401

    faulthandler.enable()
    warnings.simplefilter("error", RuntimeWarning)  # nothing overflows on the way
    unraisable: list[str] = []  # what native functions that cannot raise had to swallow
    sys.unraisablehook = lambda args: unraisable.append(f"ignored: {args.exc_value!r}")
    counts: Counter[str] = Counter()
    findings: list[tuple[int, str]] = []
    deadline = time.monotonic() + seconds
    for number in numbers:
        current.value = number
        try:
            counts[attempt(seed, number)] += 1
        except ViolationError as violation:
            findings.append((number, str(violation)))
        except Exception:
            findings.append((number, traceback.format_exc()))
        if unraisable:
            findings.append((number, unraisable.pop()))
        if len(findings) >= MAX_FINDINGS or time.monotonic() > deadline:
            break
    results.send((counts, findings, number + numbers.step))


def campaign(
    seed: int,
    first: int,
    searches: int,
    *,
    seconds: float = math.inf,
    jobs: int = 1,
    patience: float = 120.0,
    worker: Callable[..., None] = work,
) -> tuple[Counter[str], list[tuple[int, str]], int]:
    """Shares the searches of a campaign among processes and watches over them.

    Args:
        seed: of the campaign.
        first: number of the first search.
        searches: how many.
        seconds: when to stop, whatever is left.
        jobs: processes.
        patience: seconds after which a search counts as hanging.
        worker: what each process runs.

    Returns:
        What was counted, what was found as (number, text), and the number to go on with.
    """
    context = multiprocessing.get_context("spawn")
    workers = []
    for job in range(jobs):
        receiver, sender = context.Pipe(duplex=False)
        current = context.Value("q", first + job, lock=False)
        numbers = range(first + job, first + searches, jobs)
        process = context.Process(target=worker, args=(seed, numbers, seconds, current, sender), daemon=True)
        if len(numbers):
            process.start()
            sender.close()
            workers.append([process, receiver, current, -1, time.monotonic()])
    counts: Counter[str] = Counter()
    findings: list[tuple[int, str]] = []
    reached = [first + searches]
    while workers:
        wait([entry[1] for entry in workers], timeout=0.5)
        for entry in list(workers):
            process, receiver, current, last, since = entry
            if receiver.poll():
                try:
                    counted, found, following = receiver.recv()
                except EOFError:
                    process.join()
                    findings.append((current.value, f"the process died, exit code {process.exitcode}"))
                else:
                    counts += counted
                    findings += found
                    reached.append(following)
                workers.remove(entry)
            elif current.value != last:
                entry[3:] = current.value, time.monotonic()
            elif time.monotonic() - since > patience:
                findings.append((last, f"no end after {patience:g} s"))
                process.kill()
                workers.remove(entry)
    return counts, sorted(findings), min(reached)


def main(arguments: list[str] | None = None) -> int:
    """Runs a campaign; returns 0 if nothing was found."""
    parser = argparse.ArgumentParser(
        description=str(__doc__).split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=100_000, help="how many")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="of the campaign")
    parser.add_argument("--first", type=int, default=0, help="number of the first search")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds after which a search hangs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")
    args = parser.parse_args(arguments)
    begin = time.monotonic()
    counts, findings, following = campaign(
        args.seed, args.first, args.searches, seconds=args.seconds, jobs=args.jobs, patience=args.patience
    )
    elapsed = time.monotonic() - begin
    total = counts.total()
    print(
        f"{total:,} searches with seed {args.seed} in {elapsed:.0f} s: {counts['searched']:,} sound, "
        f"{counts['refused']:,} refused as they should; {len(findings)} findings"
    )
    for number, text in findings:
        print(f"search {number}: {text}\n  again: --seed {args.seed} --first {number} --searches 1")
    if args.json:
        report = {"seed": args.seed, "first": args.first, "next": following, "seconds": elapsed}
        report |= {name: counts[name] for name in ("searched", "refused")}
        args.json.write_text(json.dumps(report | {"findings": findings}, indent=2) + "\n", encoding="utf-8")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
