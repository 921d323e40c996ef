"""The noise that is drawn on a device is that of the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mcts import _random
from mcts.device.noise import draw_dirichlet, draw_gumbel
from tests.mcts.models import random_masks


@pytest.mark.parametrize("purpose", [_random.GUMBEL, _random.ACTION])
def test_gumbel_noise(purpose, device, seed):
    keys = _random.root_keys(seed, 3)
    drawn = torch.zeros(3, 33, dtype=torch.float64, device=device)
    draw_gumbel(torch.from_numpy(keys.view(np.int64)).to(device), purpose, drawn)
    np.testing.assert_allclose(drawn.cpu(), _random.gumbel(keys, purpose, 33), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 5.0])
def test_dirichlet_noise(alpha, device, seed):
    keys = _random.root_keys(seed, 3)
    invalid = random_masks(np.random.default_rng(seed), 3, 33)
    drawn = torch.zeros(3, 33, dtype=torch.float64, device=device)
    bits = torch.from_numpy(keys.view(np.int64)).to(device)
    forbidden = torch.from_numpy(invalid.astype(np.int8)).to(device)
    draw_dirichlet(bits, torch.tensor([alpha], dtype=torch.float64, device=device), forbidden, drawn)
    np.testing.assert_allclose(drawn.cpu(), _random.dirichlet(keys, alpha, ~invalid), rtol=1e-9, atol=1e-300)
    assert (drawn.cpu().numpy()[invalid] == 0).all()
