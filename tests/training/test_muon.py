import copy

import pytest
import torch
from torch import nn

from vaebss.training import muon
from vaebss.training.muon import Muon, orthogonalised


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> float:
    """Loss of the last step."""
    loss = torch.tensor(0.0)
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.rand(16, 1, 6, 6, generator=generator)
        loss = (model(images) - images.flatten(1)[:, :3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("shape", [(24, 216), (96, 32), (8, 8)])
def test_singular_values_become_one_and_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    (found,) = orthogonalised(matrix.unsqueeze(0))
    left, values, right = torch.linalg.svd(found, full_matrices=False)
    assert found.shape == shape
    assert (values > 0.5).all()
    assert (values < 1.3).all()
    expected_left, _, expected_right = torch.linalg.svd(matrix, full_matrices=False)
    cosine = (left @ right * (expected_left @ expected_right)).sum() / min(shape)
    assert cosine > 0.98
    torch.testing.assert_close(orthogonalised(1e-3 * matrix.unsqueeze(0))[0], found, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("shape", [(24, 216), (96, 32), (8, 9)])
def test_matrices_of_a_shape_are_treated_at_once_as_one_by_one(shape, monkeypatch):
    monkeypatch.setattr(muon, "bfloat16_pays", lambda device: False)
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 1, 50]).view(
        3, 1, 1
    )
    alone = torch.cat([orthogonalised(matrix.unsqueeze(0)) for matrix in matrices])
    torch.testing.assert_close(orthogonalised(matrices), alone, atol=1e-6, rtol=0)


def test_a_step_costs_one_iteration_for_each_shape(monkeypatch):
    calls = []
    monkeypatch.setattr(muon, "orthogonalised", lambda matrices: calls.append(matrices.shape) or matrices)
    model = nn.Sequential(*(nn.Conv2d(8, 8, 3) for _ in range(3)), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 8, 1))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    Muon(model.parameters(), lr=0.1).step()
    assert sorted(calls) == [(1, 8, 16), (1, 16, 72), (3, 8, 72)]


def test_parameters_that_have_made_fewer_steps_than_others_have_bias_corrections_of_their_own():
    """The first steps of Adam are of the length of the learning rate."""
    early, late = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizer = Muon([early, late], lr=0.1)
    for step in range(3):
        early.grad = torch.full((3,), 1.0 + step)
        late.grad = torch.ones(3) if step == 2 else None
        optimizer.step()
    torch.testing.assert_close(late.detach(), torch.full((3,), -0.1))
    assert [optimizer.state[parameter]["step"] for parameter in (early, late)] == [3, 1]


def test_all_but_convolutions_step_as_adam_does():
    models = [nn.Linear(36, 3), nn.Linear(36, 3)]
    models[1].load_state_dict(models[0].state_dict())
    for model, kind in zip(models, (Muon, torch.optim.Adam), strict=True):
        train(nn.Sequential(nn.Flatten(), model), kind(model.parameters(), lr=0.01), range(5))
    for mine, adams in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(mine, adams)


def test_a_convolution_steps_as_far_as_the_learning_rate_says():
    convolution = nn.Conv2d(8, 16, 3, bias=False)
    before = convolution.weight.detach().clone()
    convolution.weight.grad = torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
    Muon(convolution.parameters(), lr=0.01).step()
    moved = (convolution.weight.detach() - before).square().mean().sqrt().item()
    assert moved == pytest.approx(0.8 * 0.01, rel=0.2)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_a_convolution_steps_as_pytorchs_own_muon_steps_a_matrix():
    """PyTorch's, with Nesterov's momentum, whose steps are scaled to 0.2 of the learning rate, not 0.8."""
    mine, other = nn.Conv2d(8, 16, 3, bias=False), nn.Linear(72, 16, bias=False)
    start = other.weight.detach().clone()
    mine.weight.data.copy_(start.view(16, 8, 3, 3))
    ours = Muon(mine.parameters(), lr=0.01)
    torchs = torch.optim.Muon(other.parameters(), lr=0.04, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(3):  # one way, then another
        gradient = torch.randn(16, 72, generator=torch.Generator().manual_seed(step))
        other.weight.grad, mine.weight.grad = gradient.clone(), gradient.view(16, 8, 3, 3).clone()
        ours.step()
        torchs.step()
    moved, expected = mine.weight.detach().flatten(1) - start, other.weight.detach() - start
    assert (moved - expected).norm() < 0.04 * expected.norm()  # the reference is rounded to bfloat16


def test_it_learns_and_goes_on_where_it_was():
    model = network()
    optimizer = Muon(model.parameters(), lr=0.01)
    first = train(model, optimizer, range(1))
    train(model, optimizer, range(1, 10))
    again = copy.deepcopy(model)
    resumed = Muon(again.parameters(), lr=0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    last = train(model, optimizer, range(10, 60))
    assert last < 0.5 * first
    assert train(again, resumed, range(10, 60)) == last
    for mine, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_what_has_no_gradient_stays():
    model = network()
    before = copy.deepcopy(model.state_dict())
    Muon(model.parameters(), lr=1.0).step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
