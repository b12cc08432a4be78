"""The published optimizers against their rules, written out one parameter at a time."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.optim import AdamWSGD
from mmf_bridge.common import adamw

LR, BETA1, BETA2, EPS, WD = 1e-2, 0.9, 0.999, 1e-6, 0.01
SHAPES = [(3, 4), (5,), (), (2, 2, 2)]


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def gradients(step: int) -> list[torch.Tensor | None]:
    """Small ones, so that the place of eps shows; the second parameter gets none at first."""
    generator = torch.Generator().manual_seed(step)
    grads = [torch.randn(s, generator=generator, dtype=torch.float64) * 1e-5 for s in SHAPES]
    return [None if step < 2 and index == 1 else grad for index, grad in enumerate(grads)]


def run(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: Any) -> None:
    for step in steps:
        for param, grad in zip(params, gradients(step), strict=True):
            param.grad = None if grad is None else grad.to(param.dtype)
        optimizer.step()


def by_rule(steps: int, correct_bias: bool, decay: str) -> list[torch.Tensor]:
    """AdamW of transformers 3.3.1 (or LXMERT's BertAdam), from its published description."""
    values = [param.detach().clone() for param in parameters()]
    m = [torch.zeros_like(value) for value in values]
    v = [torch.zeros_like(value) for value in values]
    count = [0] * len(values)
    for step in range(steps):
        for i, grad in enumerate(gradients(step)):
            if grad is None:
                continue
            count[i] += 1
            m[i] = BETA1 * m[i] + (1 - BETA1) * grad
            v[i] = BETA2 * v[i] + (1 - BETA2) * grad**2
            size = LR
            if correct_bias:
                size *= math.sqrt(1 - BETA2 ** count[i]) / (1 - BETA1 ** count[i])
            if decay == "before":
                values[i] = values[i] - LR * WD * values[i]
            values[i] = values[i] - size * m[i] / (v[i].sqrt() + EPS)
            if decay == "after":
                values[i] = values[i] - LR * WD * values[i]
    return values


@pytest.mark.parametrize("chunk", [2**20, 6, 2])
@pytest.mark.parametrize(("correct_bias", "decay"), [(True, "after"), (False, "before")])
def test_adamw_makes_the_published_updates(
    monkeypatch: pytest.MonkeyPatch, correct_bias: bool, decay: str, chunk: int
) -> None:
    monkeypatch.setattr(adamw, "_CPU_CHUNK", chunk)
    params = parameters()
    run(AdamWSGD(params, lr=LR, correct_bias=correct_bias, decay=decay), params, range(5))
    for param, expected in zip(params, by_rule(5, correct_bias, decay), strict=True):
        torch.testing.assert_close(param.detach(), expected, rtol=1e-13, atol=0)


def test_a_large_tensor_is_updated_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the temporary of a word table's update is as large as the table."""
    monkeypatch.setattr(adamw, "_CPU_CHUNK", 6)
    at_once = []
    whole = torch._foreach_sqrt

    def root(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        at_once.append(sum(tensor.numel() for tensor in tensors))
        return whole(tensors)

    monkeypatch.setattr(torch, "_foreach_sqrt", root)
    param = nn.Parameter(torch.zeros(7, 3))
    param.grad = torch.ones(7, 3)
    AdamWSGD([param], lr=LR).step()
    assert sum(at_once) == 21
    assert max(at_once) == 6
    assert (param < 0).all()


def test_torchs_adamw_is_another_rule() -> None:
    """What the documentation says: its eps weighs 31.6 times less at the first update."""
    params = [nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2)]
    grad = 1e-5
    for param, cls in zip(params, (AdamWSGD, torch.optim.AdamW), strict=True):
        param.grad = torch.full((1,), grad, dtype=torch.float64)
        cls([param], lr=1.0, eps=1e-6, weight_decay=0.0).step()
    ours, torchs = (-param.item() for param in params)
    root = grad * math.sqrt(1 - BETA2)
    assert ours == pytest.approx(root / (root + EPS))
    assert torchs == pytest.approx(root / (root + EPS * math.sqrt(1 - BETA2)))
    assert 1 / math.sqrt(1 - BETA2) == pytest.approx(31.6, abs=0.03)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_group_may_descend_as_torchs_sgd_does(momentum: float) -> None:
    ours, theirs = parameters(), parameters()
    tower = {"params": ours, "algorithm": "sgd", "lr": 0.1, "weight_decay": 4e-4}
    run(AdamWSGD([{**tower, "momentum": momentum}]), ours, range(4))
    run(torch.optim.SGD(theirs, 0.1, momentum, weight_decay=4e-4), theirs, range(4))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def make(params: list[nn.Parameter]) -> AdamWSGD:
    return AdamWSGD(
        [
            {"params": params[:2], "name": "decay"},
            {"params": params[2:3], "name": "no_decay", "weight_decay": 0.0},
            {"params": params[3:], "name": "tower", "algorithm": "sgd", "momentum": 0.9, "lr": 0.1},
        ],
        lr=LR,
    )


def test_each_group_has_its_own_rule() -> None:
    params = parameters()
    run(make(params), params, range(3))
    alone = parameters()
    run(AdamWSGD(alone[:2], lr=LR), alone, range(3))
    run(AdamWSGD(alone[2:3], lr=LR, weight_decay=0.0), alone, range(3))
    run(torch.optim.SGD(alone[3:], 0.1, 0.9, weight_decay=0.01), alone, range(3))
    for a, b in zip(params, alone, strict=True):
        assert torch.equal(a, b)


def test_it_resumes_exactly(tmp_path: Any) -> None:
    whole = parameters(torch.float32)
    run(make(whole), whole, range(6))
    first = parameters(torch.float32)
    optimizer = make(first)
    run(optimizer, first, range(3))
    torch.save(optimizer.state_dict(), tmp_path / "state")
    again = copy.deepcopy(first)
    resumed = make(again)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    run(resumed, again, range(3, 6))
    for a, b in zip(whole, again, strict=True):
        assert torch.equal(a, b)
    assert [group["name"] for group in resumed.param_groups] == ["decay", "no_decay", "tower"]


def test_steps_are_counted_on_the_cpu_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is read to the model's device, and reading a counter there would wait for it."""
    params = parameters(torch.float32)
    optimizer = make(params)
    run(optimizer, params, range(3))
    state = optimizer.state_dict()
    moved, stock = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(self) or stock(self))
    optimizer.load_state_dict(state)
    assert sorted(step.item() for step in moved) == [1, 3, 3]  # SGD counts none


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        ({"algorithm": "sdg"}, {}, r"optimizer\.groups\.tower\.algorithm: unknown value 'sdg'"),
        ({"algorithm": "sgd", "momentum": 1.0}, {}, r"tower\.momentum: got 1\.0.*below 1"),
        ({}, {"decay": "never"}, r"optimizer\.params\.decay: unknown value 'never'.*after, before"),
        ({}, {"lr": -1.0}, r"Invalid learning rate"),
    ],
)
def test_bad_options(group: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamWSGD([{"params": parameters(), "name": "tower", **group}], **options)
    assert issubclass(ConfigError, ValueError)


def test_sparse_gradients_are_refused() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="no sparse gradients"):
        AdamWSGD(table.parameters()).step()
