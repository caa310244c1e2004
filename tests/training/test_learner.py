"""The optimiser goes on from a state that another kind of optimiser saved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lumbargrade.training.learner import adamw


@pytest.mark.parametrize("fused", [False, True])
def test_fused_and_plain_optimisers_load_each_others_state(fused: bool) -> None:
    def steps(network: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            network(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()

    networks = []
    for changes in (False, True):
        torch.manual_seed(0)
        network = nn.Linear(3, 4)
        optimizer = adamw(network, 0.01, fused=fused)
        steps(network, optimizer, 3)
        if changes:
            saved, optimizer = optimizer.state_dict(), adamw(network, 0.01, fused=not fused)
            optimizer.load_state_dict(saved)
            assert bool(optimizer.param_groups[0]["fused"]) is not fused
        steps(network, optimizer, 3)
        networks.append(network)
    torch.testing.assert_close(networks[0].weight, networks[1].weight, atol=1e-6, rtol=1e-5)
