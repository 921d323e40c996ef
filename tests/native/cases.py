"""Random searches for the fuzzer, sound and unsound: each is drawn from a seed and its number alone.

Numbers are cut out of pools made once, so that drawing a search costs little beside making it.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import mcts
from mcts.checks import LARGEST, SMALLEST
from tests.native.native_network import AVAILABLE, native_network

POLICIES: dict[str, Callable[..., mcts.SearchResult]] = {
    "puct": mcts.muzero_policy,
    "gumbel": mcts.gumbel_muzero_policy,
}
PARAMETERS = {name: frozenset(inspect.signature(policy).parameters) for name, policy in POLICIES.items()}
FLOAT_MAX = float(np.finfo(np.float32).max)
POOL = 1 << 16

FloatArray = npt.NDArray[np.float32]


def _pools() -> dict[str, FloatArray]:
    rng = np.random.default_rng(2026)
    normal = rng.normal(size=POOL)
    signs = np.sign(rng.normal(size=POOL))
    pools = {
        "normal": normal,
        "ties": rng.integers(-2, 3, size=POOL),
        "zeros": np.where(signs > 0, 0.0, -0.0),
        "denormal": signs * rng.integers(1, 100, size=POOL) * 1.4e-45,
        "mixed": normal * 10.0 ** rng.integers(-40, 30, size=POOL),
        "huge": normal * 1e30,
        "limit": signs * FLOAT_MAX,
        "holes": np.where(rng.random(POOL) < 0.4, -np.inf, normal),
    }
    return {name: pool.astype(np.float32) for name, pool in pools.items()}


POOLS = _pools()
TAME = ("normal", "ties", "zeros")
SCALARS = ("normal", "normal", "ties", "zeros", "denormal", "mixed", "huge", "limit")
LOGITS = (*SCALARS, "holes", "holes")
DISCOUNTS = (1.0, 0.97, 0.0, -1.0, -0.97, 1e-40, -0.0)
ACTIONS = (1, 1, 2, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 31, 33, 64, 65)
QTRANSFORMS = (
    mcts.qtransform_by_min_max(min_value=-9, max_value=9),
    mcts.qtransform_by_min_max(min_value=-1e-30, max_value=1e-30),
    mcts.qtransform_by_parent_and_siblings(),
    mcts.qtransform_by_tree_min_max(),
    mcts.qtransform_completed_by_mix_value(),
    mcts.qtransform_completed_by_mix_value(value_scale=1.0, maxvisit_init=0.0),
    mcts.qtransform_completed_by_mix_value(value_scale=0.0),
    mcts.qtransform_completed_by_mix_value(rescale_values=False),
    mcts.qtransform_completed_by_mix_value(rescale_values=False, use_mixed_value=False),
)
RANGES = {  # of all constants that are real numbers
    "min_value": (-LARGEST, LARGEST),
    "max_value": (-LARGEST, LARGEST),
    "epsilon": (SMALLEST, LARGEST),
    "value_scale": (0.0, LARGEST),
    "maxvisit_init": (0.0, LARGEST),
    "dirichlet_fraction": (0.0, 1.0),
    "dirichlet_alpha": (SMALLEST, LARGEST),
    "pb_c_init": (0.0, LARGEST),
    "pb_c_base": (SMALLEST, LARGEST),
    "temperature": (0.0, LARGEST),
    "virtual_loss": (0.0, LARGEST),
    "gumbel_scale": (0.0, LARGEST),
}
# How the network hands out its numbers. All but the first few change what NumPy sees, none what is meant.
STYLES = ("views", "views", "views", "copies", "one buffer", "read-only", "float64", "fortran", "reversed",
          "big-endian", "offset", "lists", "shared", "broadcast", *(["native"] if AVAILABLE else []))  # fmt: skip


@dataclass
class Case:
    """Holds one search: what goes in, and whether it must be refused.

    Attributes:
        policy: "puct" or "gumbel".
        root: as the policies take it.
        num_simulations: S.
        arguments: keyword arguments of the policy.
        reward: [S, B] float32, answers of the network, simulation by simulation.
        discount: [S, B].
        prior_logits: [S, B, A].
        value: [S, B].
        style: one of STYLES.
        wrong: what makes it unsound; "" if nothing does.
        first_node: node that the first simulation makes.
        network: called instead of `answer`, for networks that fail.
        prepare: called before the search, for mistakes that are made there.
    """

    policy: str
    root: Any
    num_simulations: Any
    arguments: dict[str, Any]
    reward: FloatArray
    discount: FloatArray
    prior_logits: FloatArray
    value: FloatArray
    style: str = "views"
    wrong: str = ""
    first_node: int = 1
    network: Any = None
    prepare: Callable[[], Any] | None = None
    _buffers: list[FloatArray] = field(default_factory=list)

    def search(self) -> mcts.SearchResult:
        """Makes the search."""
        if self.prepare is not None:
            self.prepare()
        network = self.network
        if network is None:
            network = native_network(self) if self.style == "native" else self.answer
        return POLICIES[self.policy](self.root, network, self.num_simulations, **self.arguments)

    def answer(self, parent_index: npt.NDArray[np.int32], action: npt.NDArray[np.int32], node_index: int) -> Any:
        """Answers one call of the search, whatever number of leaves it asks for."""
        begin = node_index - self.first_node
        end = begin + len(action) // self.value.shape[1]
        if end == begin + 1:
            output = self.reward[begin], self.discount[begin], self.prior_logits[begin], self.value[begin]
        else:
            stop, shape = slice(begin, end), (len(action), self.prior_logits.shape[2])
            output = (
                self.reward[stop].reshape(-1),
                self.discount[stop].reshape(-1),
                self.prior_logits[stop].reshape(shape),
                self.value[stop].reshape(-1),
            )
        return output if self.style == "views" else self._styled(output)

    def _styled(self, output: tuple[FloatArray, ...]) -> Any:
        if self.style == "one buffer":
            if len(self._buffers) != 4 or self._buffers[0].shape != output[0].shape:
                self._buffers = [np.empty_like(array) for array in output]
            for buffer, array in zip(self._buffers, output, strict=True):
                buffer[...] = array
            return tuple(self._buffers)
        return mcts.RecurrentOutput(*(_styled(self.style, array) for array in output))


def _styled(style: str, array: FloatArray) -> Any:
    if style == "float64":
        return array.astype(np.float64)
    if style == "fortran":
        return np.asfortranarray(array)
    if style == "reversed":
        return array[..., ::-1].copy()[..., ::-1]
    if style == "big-endian":
        return array.astype(">f4")
    if style == "lists":
        return array.tolist()
    if style == "offset":  # one byte off any alignment
        raw = np.zeros(array.nbytes + 1, np.uint8)
        raw[1:] = np.frombuffer(array.tobytes(), np.uint8)
        return raw[1:].view(np.float32).reshape(array.shape)
    copy = array.copy()
    copy.flags.writeable = style != "read-only"
    return copy


def randomness(seed: int, index: int, purpose: int = 0) -> random.Random:
    """Returns the generator that belongs to one search of a campaign."""
    return random.Random(((seed << 40) + index << 2) + purpose)


def draw(seed: int, index: int) -> Case:
    """Draws a search.

    Args:
        seed: of the campaign.
        index: which of its searches.

    Returns:
        A case; about one in five is unsound.
    """
    from tests.native.mistakes import spoil

    rnd = randomness(seed, index)
    policy = rnd.choice(("puct", "gumbel"))
    num_roots = 1 if rnd.random() < 0.6 else rnd.choice((2, 3, 5, 9))
    num_actions = rnd.choice(ACTIONS) if rnd.random() < 0.995 else rnd.choice((362, 1000, 5000))
    num_simulations = rnd.randint(1, 8) if rnd.random() < 0.97 else rnd.randint(9, 120)
    if num_actions > 100:
        num_simulations = min(num_simulations, 40)
    case = _sound(rnd, policy, num_roots, num_actions, num_simulations)
    if rnd.random() < 0.2:
        spoil(rnd, case)
    return case


def go_on(rnd: random.Random, case: Case, result: mcts.SearchResult) -> Case | None:
    """Draws a search that goes on with the tree of a finished one.

    Args:
        rnd: source of randomness.
        case: the finished search.
        result: what it found.

    Returns:
        The next search, or None where trees cannot be kept.
    """
    if "kept" not in PARAMETERS[case.policy]:
        return None
    num_roots, num_actions = result.visit_counts.shape
    if rnd.random() < 0.7:
        moves = result.action
    else:
        length = rnd.randrange(3)
        moves = np.array([[rnd.randrange(num_actions) for _ in range(length)] for _ in range(num_roots)], np.int64)
    kept = result.tree.keep(moves)
    following = _sound(rnd, case.policy, num_roots, num_actions, rnd.randint(1, 8))
    following.arguments |= {"kept": kept}
    following.arguments.pop("max_depth", None)
    following.first_node = kept.tree.num_nodes
    return following


def _cut(rnd: random.Random, flavour: str, *shape: int) -> FloatArray:
    """Copies numbers out of a pool."""
    size = 1
    for length in shape:
        size *= length
    if size >= POOL:
        return np.resize(POOLS[flavour], shape)
    begin = int(rnd.random() * (POOL - size))
    return POOLS[flavour][begin : begin + size].reshape(shape).copy()


def _sound(rnd: random.Random, policy: str, num_roots: int, num_actions: int, num_simulations: int) -> Case:
    scalars, logits = rnd.choice(SCALARS), rnd.choice(LOGITS)
    style = rnd.choice(STYLES)
    answers = _cut(rnd, logits, num_simulations, num_roots, num_actions)
    root_logits = _cut(rnd, logits, num_roots, num_actions)
    reward = _cut(rnd, scalars, num_simulations, num_roots)
    value = _cut(rnd, scalars, num_simulations, num_roots)
    if logits == "holes":
        answers[..., 0] = 0.5
    discount = np.full((num_simulations, num_roots), rnd.choice(DISCOUNTS), np.float32)
    if rnd.random() < 0.3:
        discount[rnd.randrange(num_simulations) :] = 0.0
    if style == "shared":
        reward = value  # one array for two outputs
    elif style == "broadcast":  # rows that lie on top of each other
        answers = np.broadcast_to(answers[:, :1], answers.shape)
        reward = np.broadcast_to(reward[:, :1], reward.shape)
    arguments: dict[str, Any] = {"rng": _rng(rnd, num_roots)}
    if rnd.random() < 0.5:
        invalid = POOLS["normal"][: num_roots * num_actions].reshape(num_roots, num_actions) > rnd.uniform(-2, 2)
        keep = rnd.randrange(num_actions)
        invalid[:, keep] = False
        root_logits[:, keep] = 0.0
        if rnd.random() < 0.1:  # what is forbidden is not looked at
            root_logits[invalid] = np.nan
        arguments["invalid_actions"] = rnd.choice((invalid, invalid, np.asfortranarray(invalid), invalid[::-1][::-1]))
    elif logits == "holes":
        root_logits[:, -1] = 0.0
    if rnd.random() < 0.3:
        arguments["max_depth"] = rnd.choice((1, 2, 3, num_simulations, 10**30))
    if rnd.random() < 0.6:
        arguments["qtransform"] = rnd.choice(QTRANSFORMS) if rnd.random() < 0.5 else _qtransform(rnd)
    if num_roots > 1 and rnd.random() < 0.03:
        arguments["num_threads"] = rnd.choice((2, 3, 100))
    arguments |= _constants(rnd, policy, num_roots)
    root = mcts.RootOutput(root_logits, _cut(rnd, scalars, num_roots))
    return Case(policy, root, num_simulations, arguments, reward, discount, answers, value, style)


def _rng(rnd: random.Random, num_roots: int) -> Any:
    kind = rnd.random()
    if kind < 0.8:
        return rnd.getrandbits(64)
    if kind < 0.9:
        return np.random.default_rng(rnd.getrandbits(32))
    return np.frombuffer(rnd.randbytes(8 * num_roots), rnd.choice(("<u8", ">u8")))


def _anywhere(rnd: random.Random, name: str) -> float:
    """Draws a constant from the whole of its range, of any order of magnitude, its ends included."""
    lower, upper = RANGES[name]
    if rnd.random() < 0.3:
        return rnd.choice((lower, upper))
    size = min(10.0 ** rnd.uniform(-50, 50), upper)
    return -size if lower < 0 and rnd.random() < 0.5 else size


def _qtransform(rnd: random.Random) -> mcts.QTransform:
    """Draws a Q-transform with constants of any order of magnitude."""
    kind = rnd.randrange(4)
    if kind == 0:
        bounds = sorted(_anywhere(rnd, "min_value") for _ in range(2))
        if bounds[1] - bounds[0] < SMALLEST:
            bounds = [0.0, SMALLEST]
        return mcts.qtransform_by_min_max(min_value=bounds[0], max_value=bounds[1])
    if kind == 1:
        return mcts.qtransform_by_parent_and_siblings(epsilon=_anywhere(rnd, "epsilon"))
    if kind == 2:
        return mcts.qtransform_by_tree_min_max(epsilon=_anywhere(rnd, "epsilon"))
    constants: dict[str, Any] = {
        name: _anywhere(rnd, name) for name in ("value_scale", "maxvisit_init", "epsilon") if rnd.random() < 0.6
    }
    options = {name: rnd.random() < 0.5 for name in ("rescale_values", "use_mixed_value")}
    return mcts.qtransform_completed_by_mix_value(**constants, **options)


def _constants(rnd: random.Random, policy: str, num_roots: int) -> dict[str, Any]:
    """Draws the constants of a policy: common ones, and of any order of magnitude."""
    common: dict[str, tuple[Any, ...]] = {
        "dirichlet_fraction": (0.0, 0.25, 1.0),
        "dirichlet_alpha": (0.03, 0.3, 100.0),
        "pb_c_init": (0.0, 1.25),
        "pb_c_base": (1.0, 19652.0),
        "temperature": (0.0, 1.0, 0.5, 1e-320, np.linspace(0, 1, num_roots)),
        "virtual_loss": (0.0, 1.0, 3.0),
        "gumbel_scale": (0.0, 1.0, np.linspace(0, 1, num_roots)),
        "max_num_considered_actions": (1, 2, 3, 16, 10**6, 10**30),
        "leaves_per_step": (1, 2, 3, 8, 200),
    }
    constants = {}
    for name, choices in common.items():
        if name in PARAMETERS[policy] and rnd.random() < 0.3:
            extreme = name in RANGES and rnd.random() < 0.4
            constants[name] = _anywhere(rnd, name) if extreme else rnd.choice(choices)
    return constants
