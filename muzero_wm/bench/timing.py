"""Clocks: contenders timed in turn, and the share of a time that each part of it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

MIN_ROUNDS = 3
SAMPLE_SECONDS = 0.002


class Timing(NamedTuple):
    """Holds what a number of repetitions took.

    Attributes:
        minimum: seconds of the fastest, which other work on the machine disturbed least.
        median: seconds of the middle one.
        rounds: how many there were.
    """

    minimum: float
    median: float
    rounds: int

    def per(self, count: int) -> dict[str, Any]:
        """Returns a report for `count` things done in each repetition: nanoseconds per thing, things per second."""
        return {
            "ns": {"minimum": self.minimum / count * 1e9, "median": self.median / count * 1e9},
            "per_second": {"maximum": count / self.minimum, "median": count / self.median},
            "rounds": self.rounds,
        }


def interleave(runs: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Timing]:
    """Times contenders in turn, round by round, so that a busy moment of the machine meets all of them.

    Each is called once untimed. What is faster than two milliseconds is called several times for one measurement.

    Args:
        runs: contenders by name.
        seconds: that each contender is given; three rounds are made in any case.

    Returns:
        A timing of one call of each.
    """
    calls: dict[str, int] = {}
    for name, run in runs.items():
        run()
        begin = time.perf_counter()
        run()
        calls[name] = max(1, round(SAMPLE_SECONDS / max(time.perf_counter() - begin, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds * len(runs)
    rounds = 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        for name, run in runs.items():
            begin = time.perf_counter()
            for _ in range(calls[name]):
                run()
            samples[name].append((time.perf_counter() - begin) / calls[name])
        rounds += 1
    return {name: Timing(min(times), statistics.median(times), rounds) for name, times in samples.items()}


class Stopwatch:
    """Adds up the time spent in chosen functions.

    Attributes:
        seconds: by section; time in a section inside another one counts for both.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, function: Callable[..., Any], section: str) -> Callable[..., Any]:
        """Returns a function that does the same and adds its time to a section."""
        self.seconds.setdefault(section, 0.0)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[section] += time.perf_counter() - begin

        return wrapper

    @contextmanager
    def watching(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Times functions where they are looked up, until the block ends.

        Args:
            *places: (object or module, name of its attribute, section).

        Yields:
            Nothing.
        """
        before = [(owner, name, vars(owner).get(name)) for owner, name, _ in places]
        for owner, name, section in places:
            setattr(owner, name, self.timed(getattr(owner, name), section))
        try:
            yield
        finally:
            for owner, name, value in before:
                if value is None:
                    delattr(owner, name)  # it came from the class
                else:
                    setattr(owner, name, value)
