"""Compacter (arXiv 2106.04647): adapters whose matrices are sums of Kronecker products.

Parameters have the published names, among them `b`, which published optimizers decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.config import ConfigError, check_at_least
from clipvil_mmf.tuning.bottleneck import Bottleneck, BottleneckAdapters, BottleneckConfig
from clipvil_mmf.tuning.method import Network

# Of the rules' initial values, as published.
_RULE_STD = 1e-4


@dataclass
class CompacterConfig(BottleneckConfig):
    """`params` of the method `compacter`; the defaults are published."""

    # n: a matrix is a sum of n Kronecker products, each of an n x n rule and a matrix of rank
    # `rank`. It divides the fusion's width and the adapters' inner one.
    division: int = 4
    # The rank of the second factors.
    rank: int = 1
    # All adapters share their n rules; false: each matrix has its own.
    shared_rule: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("division", self.division, 1)
        check_at_least("rank", self.rank, 1)


class Compacter(BottleneckAdapters):
    """See :class:`BottleneckAdapters`; each matrix is :class:`HypercomplexLinear`.

    Raises:
        ConfigError: `division` does not divide the fusion's width and the inner one.
    """

    def __init__(self, config: CompacterConfig, network: Network) -> None:
        super().__init__(config, network)
        self.phm_rule = new_rule(config.division) if config.shared_rule else None
        self.add_to_layers(network, "compacter")

    def bottleneck(self, width: int, inner: int) -> Bottleneck:
        """See :meth:`BottleneckAdapters.bottleneck`."""
        config = self.config
        if width % config.division or inner % config.division:
            raise ConfigError(
                f"division: {config.division} does not divide the fusion's hidden_size {width} "
                f"and the adapters' width {inner}, which is hidden_size / reduction_factor."
            )
        shape = config.division, config.rank, not config.shared_rule
        return Bottleneck(
            HypercomplexLinear(width, inner, *shape), HypercomplexLinear(inner, width, *shape)
        )

    def update(self, adapter: Bottleneck, hidden: Tensor) -> Tensor:
        """See :meth:`BottleneckAdapters.update`."""
        return adapter(hidden) if self.phm_rule is None else adapter(hidden, self.phm_rule)


def new_rule(division: int) -> nn.Parameter:
    """The n rules (n, n, n), near 0."""
    return nn.Parameter(torch.randn(division, division, division) * _RULE_STD)


class HypercomplexLinear(nn.Module):
    """x H + b with H = sum_i rule_i (x) (W_left_i W_right_i), where (x) is Kronecker's product.

    Args:
        in_features: of the input; n divides it.
        out_features: of the output; n divides it.
        division: n, the number of products.
        rank: of their second factors.
        own_rule: whether it has rules of its own; else :meth:`forward` is given them.
    """

    def __init__(
        self, in_features: int, out_features: int, division: int, rank: int, own_rule: bool
    ) -> None:
        super().__init__()
        self.W_left = nn.Parameter(torch.empty(division, in_features // division, rank))
        self.W_right = nn.Parameter(torch.empty(division, rank, out_features // division))
        self.b = nn.Parameter(torch.zeros(out_features))
        self.phm_rule = new_rule(division) if own_rule else None
        for factors in (self.W_left, self.W_right):
            for factor in factors:
                nn.init.xavier_uniform_(factor, gain=sqrt(2))

    def forward(self, hidden: Tensor, rule: Tensor | None = None) -> Tensor:
        """(..., in_features) -> (..., out_features); rule: (n, n, n)."""
        rule = self.phm_rule if rule is None else rule
        # (n rows, in / n, n columns, out / n): for one sample's tokens H is small.
        products = torch.einsum("nac,nkr,nrp->akcp", rule, self.W_left, self.W_right)
        matrix = products.flatten(2).flatten(0, 1)
        return F.linear(hidden, matrix.T, self.b)
