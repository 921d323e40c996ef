"""What ``muzero-wm check-env`` prints: what the environment is, what was found, what training would do, the verdict."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from muzero_wm import envs
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.checking.findings import Finding, Report

_COLOURS = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}


def examine(name: str, steps: int, seed: int) -> Report:
    """Checks an environment and says what training would make of it.

    Args:
        name: as a person said it.
        steps: random steps.
        seed: of actions and episodes.

    Returns:
        The report of `check_env` and, where it found no errors, what was measured and what may be expected.

    Raises:
        EnvError: the environment cannot be made, or it is of a kind that is not supported.
    """
    from muzero_wm.envs.checking.check import check_env
    from muzero_wm.envs.registry import full_name

    env = full_name(name, print)
    report = check_env(env, steps, seed)
    if not report.of("error"):
        from muzero_wm.bench.environment import bench_environment

        try:
            report.facts["speed"] = bench_environment(env, seed)
            _foresee(report, envs.spec(env))
        except EnvError as error:
            remedy = "play these episodes by themselves, and look at the step that is named"
            report.findings.insert(0, Finding("error", "fails when it is played longer", str(error), remedy))
    return report


def _foresee(report: Report, spec: EnvSpec) -> None:
    """Adds what training would choose, what it may expect, and what it could not learn of the observation."""
    from muzero_wm.bench.forecast import expect, judge_images
    from muzero_wm.planning.shards import available_cores

    speed = report.facts["speed"]
    if (finding := judge_images(spec, speed["torso"])) is not None:
        report.findings.insert(0, finding)
    report.facts["training"] = {
        "chosen": speed.pop("chosen"),
        "expected": expect(report.facts, envs.is_built_in(spec.name), available_cores()),
    }


def show(report: Report, console: Console | None = None) -> None:
    """Prints a report.

    Args:
        report: from `check_env`; `facts["speed"]` is from `bench_environment`, where it was measured.
        console: standard output when None.
    """
    console = console or Console(highlight=False)
    console.print(Text(report.env, "bold"))
    facts = Table.grid(padding=(0, 2))
    for name, text in _rows(report.facts):
        facts.add_row(f"  {name}", Text(text))
    console.print(facts)
    found = Table.grid(padding=(0, 2))
    for finding in report.findings:
        times = f" (and {finding.count - 1:,} times more)" if finding.count > 1 else ""
        found.add_row("")
        found.add_row(Text(finding.severity, _COLOURS[finding.severity]), Text(finding.title, "bold"))
        found.add_row("", Text(f"{finding.seen}{times}"))
        found.add_row("", Text(f"-> {finding.remedy}"))
    if report.findings:
        console.print(found)
    if (training := report.facts.get("training")) is not None:
        _list(console, f"train --env {shlex.quote(report.env)} would choose", training["chosen"])
        _list(console, "and may expect", training["expected"])
    console.print(Text(f"\n{_verdict(report)}", "bold"))


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    shape = " x ".join(map(str, facts["observation_shape"]))
    shape = "1 number" if shape in ("", "1") else shape if "x" in shape else f"{shape} numbers"
    bounds = facts["observation_bounds"]
    between = "" if bounds is None else f", {bounds[0]:g} to {bounds[1]:g}"
    legal = "some legal, by a mask" if facts["masked"] else "all always legal"
    turns = "" if facts["players"] == 1 else ", in turn" if facts["alternating"] else ", not always in turn"
    rows = [
        ("observation", f"{shape}, {facts['observation_dtype']}{between}"),
        *(("read as" if i == 0 else "", line) for i, line in enumerate(facts["read_as"])),
        ("actions", f"{facts['actions']}, {legal}"),
        ("players", f"{facts['players']}{turns}"),
        ("random play", _played(facts)),
    ]
    if (returns := facts.get("returns")) is not None:
        rows.append(("returns", f"mean {returns['mean']:.4g}, {returns['min']:.4g} to {returns['max']:.4g}"))
    if (results := facts.get("results")) is not None and (games := sum(results.values())):
        shares = {name: f"{count / games:.0%}" for name, count in results.items()}
        first, second, drawn = shares["first"], shares["second"], shares["drawn"]
        rows.append(("results", f"first player wins {first}, second {second}, drawn {drawn}"))
    if facts["chance"] is not None:
        rows.append(("chance", facts["chance"]))
    if (speed := facts.get("speed")) is not None:
        rows.append(("speed", _speed(speed)))
    return rows


def _played(facts: dict[str, Any]) -> str:
    steps, episodes, lengths = facts["steps"], facts["episodes"], facts["lengths"]
    limit = "" if facts["max_episode_steps"] is None else f", limit {facts['max_episode_steps']:,}"
    if lengths is None:
        return f"{steps:,} steps, no episode ended{limit}"
    cut = episodes - facts["terminated"]
    how = "" if not cut else ", all cut by a limit" if cut == episodes else f", {cut:,} cut by a limit"
    low, high = lengths["min"], lengths["max"]
    span = f"{low:,} steps each" if low == high else f"{low:,} to {high:,} steps, mean {lengths['mean']:.4g}"
    return f"{steps:,} steps, {episodes:,} episode{'s' if episodes != 1 else ''}{how}: {span}{limit}"


def _speed(speed: dict[str, Any]) -> str:
    text, share = f"{speed['steps_per_second']:,.0f} steps/s", speed["share"]
    return text if share is None else f"{text}, {share:.0%} of acting; the rest is the search"


def _list(console: Console, title: str, lines: list[str]) -> None:
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row("  -", Text(line))
    console.print(Text(f"\n{title}", "bold"))
    console.print(table)


def _verdict(report: Report) -> str:
    counts = [(len(report.of("error")), "error"), (len(report.of("warning")), "warning")]
    told = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)
    if counts[0][0]:
        return f"{told}: mend the errors before training."
    return f"{told}: training runs, but look at {'them' if counts[1][0] > 1 else 'it'} first." if told else "Fine."
