"""Losses of one's own: registered under a name, found by the setting `learning.terms`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from muzero_wm.config import LearningConfig
from muzero_wm.learning.standard import STANDARD
from muzero_wm.learning.terms import Term
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.stored import TermError, declare, term_name

_registered: dict[str, Term] = {}


def register_term(term: Term) -> Term:
    """Registers a term under its name, for the setting `learning.terms`; to be called before a run begins.

    Args:
        term: a module that is imported again may register it again.

    Returns:
        The term.

    Raises:
        TermError: the name is none, or it is that of a standard term.
    """
    if term.name in {each.name for each in STANDARD}:
        raise TermError(f"register_term: {term.name!r} is a standard term; choose another name")
    declare(term.name, tuple(term.stores))
    _registered[term.name] = term
    return term


def terms_of(config: LearningConfig) -> dict[str, tuple[Term, float]]:
    """Returns the own terms of a run with their weights, by name; those of weight 0 are left out.

    Raises:
        TermError: a term is not known.
    """
    named = [(term_name(text), weight) for text, weight in config.terms.items()]
    return {name: (_registered[name], weight) for name, weight in named if weight > 0.0}


def make_heads(terms: Iterable[Term], model: WorldModel, seed: Callable[[str], int]) -> nn.ModuleDict:
    """Makes what terms learn besides the model, on its device.

    Args:
        terms: of the run.
        model: which they read.
        seed: of the weights of the term that is named.
    """
    heads = nn.ModuleDict()
    for term in terms:
        if term.head is not None:
            torch.manual_seed(seed(term.name))
            heads[term.name] = term.head(model).to(model.device)
    return heads
