"""Large searches cut into shards: each is a search of its own, and threads take one after another.

The cuts depend on the number of roots alone, never on the workers, so results are the same bit for bit for any number
of workers. Nobody waits for anybody between two simulations: while one shard is in the network, another is in its
trees.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch

SHARD_ROOTS = 64

T = TypeVar("T")


def shard_bounds(num_roots: int, shard_roots: int) -> list[tuple[int, int]]:
    """Returns the shards [begin, end) of a search.

    Args:
        num_roots: B >= 1.
        shard_roots: about how many roots each of them has, >= 1. Small ones occupy more workers, large ones fill the
            network better: two of 64 cost a fifth more than one of 128 with 32 channels, a twentieth with 64.

    Returns:
        Ranges of nearly equal size that cover all roots.
    """
    count = max(1, round(num_roots / shard_roots))
    edges = [num_roots * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def shard_size(num_roots: int, shard_roots: int) -> int:
    """Returns the number of roots in the largest shard: the usual batch of the network."""
    return max(end - begin for begin, end in shard_bounds(num_roots, shard_roots))


def available_cores() -> int:
    """Returns how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_workers(workers: int | str, reserved: int = 0) -> int:
    """Returns a number of workers.

    Args:
        workers: the number, or "auto" for the cores of this process that are not reserved.
        reserved: cores that somebody else needs at the same time.

    Returns:
        At least 1.
    """
    return max(1, available_cores() - reserved) if isinstance(workers, str) else workers


def run_shards(num_shards: int, num_workers: int, search: Callable[[int, int], T]) -> list[T]:
    """Runs a function once per shard, on as many threads as asked for; the calling thread is one of them.

    Every thread computes with one torch thread. When a shard fails, no further one is begun.

    Args:
        num_shards: calls to make.
        num_workers: threads, >= 1; more than shards are not started.
        search: called with (shard, worker); calls of one worker follow each other.

    Returns:
        The results in the order of the shards.

    Raises:
        BaseException: what the first failing shard raised, after all threads have ended.
    """
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    waiting = iter(range(num_shards))
    lock = threading.Lock()

    def work(worker: int) -> None:
        while True:
            with lock:
                shard = None if failures else next(waiting, None)
            if shard is None:
                return
            try:
                results[shard] = search(shard, worker)
            except BaseException as error:
                with lock:
                    failures[shard] = error

    def work_alone(worker: int) -> None:
        torch.set_num_threads(1)  # a new thread has no setting of its own, and OpenMP's default is all cores
        work(worker)

    threads = [
        threading.Thread(target=work_alone, args=(worker,), name=f"search-{worker}", daemon=True)
        for worker in range(1, min(num_workers, num_shards))
    ]
    with _one_torch_thread():
        for thread in threads:
            thread.start()
        try:
            work(0)
        finally:
            for thread in threads:
                thread.join()
    if failures:
        raise failures[min(failures)]
    return [results[shard] for shard in range(num_shards)]


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Computes with one torch thread; the setting is the caller's again afterwards, also for threads to come."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
