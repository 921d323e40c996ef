"""Compiles every kernel for a GPU, which needs none: TRITON_INTERPRET=0 python -m tests.mcts.device.compiled 90."""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mcts.device import noise
from mcts.device.formulas import Answer, Edges, Rules, TreePointers
from mcts.device.kernels import grow, plant
from mcts.device.outcome import Outcome, finish_gumbel, finish_puct

TREE = TreePointers(
    children="*i32",
    logits="*fp32",
    priors="*fp64",
    counts="*i32",
    qvalues="*fp64",
    visits="*i32",
    parents="*i32",
    actions="*i32",
    value_sums="*fp64",
    raw_values="*fp32",
    rewards="*fp32",
    discounts="*fp32",
    bounds="*fp64",
    failures="*i32",
)
RULES = Rules(constants="*fp64", exploration="*fp64", scores="*fp64", schedule="*i32")
EDGES = Edges(parents="*i32", actions="*i64", nodes="*i32", rows="*i64")
ANSWER = Answer(reward="*fp32", discount="*fp32", prior_logits="*fp32", value="*fp32")
OUTCOME = Outcome("*i32", "*fp32", "*i32", "*fp32", "*fp32", "*fp32")
NAMED = {"tree": TREE, "rules": RULES, "edges": EDGES, "answer": ANSWER, "outcome": OUTCOME, "invalid": "*i8"}
NAMED |= {"noise": "*fp64", "temperature": "*fp64", "keys": "*i64", "alpha": "*fp64"}


def compile_for(capability, kernel, num_warps, **constants):
    """Compiles one kernel; what is not a constant and not named above is an int32."""
    signature = {name: NAMED.get(name, "i32") for name in kernel.arg_names}
    signature |= dict.fromkeys(constants, "constexpr")
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    options = {"num_warps": num_warps, "enable_fp_fusion": False}
    done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    print(kernel.__name__, constants, len(done.asm["cubin"]), "bytes", flush=True)


def main(capability=80):
    """Compiles all kinds."""
    for gumbel, kind in ((True, 3), (True, 2), (False, 0), (False, 1)):
        common = {"KIND": kind, "RESCALE": kind == 3, "MIXED": kind == 3}
        for kernel in (plant, grow):
            compile_for(capability, kernel, 1, GUMBEL=gumbel, BLOCK=32, **common)
        if gumbel:
            compile_for(capability, finish_gumbel, 1, BLOCK=512, **common)
    compile_for(capability, finish_puct, 1, BLOCK=512)
    compile_for(capability, noise._gumbel, 4, PURPOSE=1, BLOCK=512)
    compile_for(capability, noise._dirichlet, 4, BLOCK=512)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
