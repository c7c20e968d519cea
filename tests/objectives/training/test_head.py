"""The loss and its gradient at the head: written down, as on a GPU, and by autograd the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from loratune.objectives.training import head
from loratune.objectives.training.batches import Supervised
from loratune.objectives.training.head import _loss_by_autograd, _loss_in_few_passes
from torch.nn import functional

WIDTH, VOCAB = 8, 33
WAYS = (_loss_by_autograd, _loss_in_few_passes)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def make_case(seed: int, dtype: torch.dtype, rows: int = 12, spread: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    weight = (spread * torch.randn(VOCAB, WIDTH, generator=generator)).to(dtype)
    states = torch.randn(rows, WIDTH, generator=generator).to(dtype)
    labels = torch.randint(VOCAB, (rows,), generator=generator)
    return weight, states, labels


def by(way, weight, states, labels, factors=None):
    picked = states.clone().requires_grad_()
    loss, back = way(functional.linear(picked, weight)[: len(labels)], labels, picked, factors)
    return loss.detach(), back


@given(seed=some.integers(0, 999), rows=some.integers(1, 12), spread=some.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_both_ways_give_the_same_losses_and_gradients(seed, rows, spread):
    weight, states, labels = make_case(seed, torch.float32, spread=spread)
    factors = torch.exp2(torch.randint(-3, 12, (rows,), generator=torch.Generator().manual_seed(seed)))
    for given_factors in (None, factors):
        (loss, back), (other, other_back) = (
            by(way, weight, states, labels[:rows], given_factors) for way in WAYS
        )
        torch.testing.assert_close(other, loss)
        torch.testing.assert_close(other_back, back, rtol=1e-4, atol=1e-5 * float(back.abs().max()))
        assert other_back.shape == states.shape


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_gradient_is_as_near_to_the_exact_one(dtype, device):
    weight, states, labels = (tensor.to(device) for tensor in make_case(3, dtype))
    _, exact = by(_loss_by_autograd, weight.double(), states.double(), labels)
    _, autograd = by(_loss_by_autograd, weight, states, labels)
    _, ours = by(_loss_in_few_passes, weight, states, labels)
    assert ours.dtype == dtype
    assert (ours - exact).norm() < 1.1 * (autograd - exact).norm() < 0.02 * exact.norm()


def test_factors_come_before_the_rounding_to_half_precision():
    """A loss scale is there so that derivatives too small for float16 are not lost."""
    states = torch.zeros(1, WIDTH, dtype=torch.float16)
    states[0, :3] = 1
    weight = torch.zeros(VOCAB, WIDTH, dtype=torch.float16)
    weight[0, 0] = weight[1, 1] = 18.0  # two tokens share what is likely, the others have 8e-9 each
    weight[2, 2] = 0.25
    label, scale = torch.tensor([0]), torch.tensor([2.0**10])
    exact = 0.25 * float(torch.softmax(states.double() @ weight.double().T, dim=1)[0, 2])
    (_, plain), (_, scaled) = (by(_loss_in_few_passes, weight, states, label, one) for one in (None, scale))
    assert plain[0, 2] == 0 < exact
    assert float(scaled[0, 2]) / 2**10 == pytest.approx(exact, rel=0.05)


def test_without_a_gradient_there_are_losses_alone():
    weight, states, labels = make_case(7, torch.float32)
    for way in WAYS:
        loss, back = way(functional.linear(states, weight), labels, states, None)
        torch.testing.assert_close(
            loss, functional.cross_entropy(states @ weight.T, labels, reduction="none")
        )
        assert back.numel() == 0


@pytest.mark.parametrize("chunk", [0, 2**20])
def test_the_whole_head_gives_the_same_where_the_derivative_is_written_down(monkeypatch, chunk):
    """In one chunk and in several, of which the last is padded; with a factor for each trial and without."""
    monkeypatch.setitem(head.CHUNK_BYTES, "cpu", chunk)
    generator = torch.Generator().manual_seed(11)
    hidden = torch.randn(4, 20, WIDTH, generator=generator)
    output = torch.nn.Linear(WIDTH, VOCAB, bias=False).requires_grad_(False)
    places = torch.randperm(80, generator=generator)[:37].sort().values
    supervised = Supervised(
        positions=places,
        labels=torch.randint(VOCAB, (37,), generator=generator),
        rows=places // 20,
        counts=(int((places < 40).sum()), int((places >= 40).sum())),
    )

    def found(factors=None):
        return head.head_loss(
            output, hidden, supervised, vocab_size=VOCAB, want_gradient=True, factors=factors
        )

    for factors in (None, torch.tensor([4.0, 0.5])):
        monkeypatch.setattr(head, "in_few_passes", lambda device: False)
        losses, gradient = found(factors)
        monkeypatch.setattr(head, "in_few_passes", lambda device: True)
        other, other_gradient = found(factors)
        torch.testing.assert_close(other, losses)
        torch.testing.assert_close(other_gradient, gradient)
        assert gradient.abs().sum() > 0
