import json
import time
from functools import partial

import pytest
import torch

from vaebss.baselines import speed, workloads
from vaebss.baselines.speed import ADAPT, FIT, NAIVE, REFINED, REMIX, ratio, take_turns
from vaebss.commands import benchmark as benchmarking


def test_workloads_take_turns_in_both_orders():
    order = []
    workloads = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    take_turns(workloads, 2, say=lambda line: None)
    assert "".join(order) == "abccba"


def test_ratios_are_within_rounds():
    rates = {"a": [2.0, 40.0, 6.0], "b": [1.0, 10.0, 3.0]}
    assert ratio(rates, "a", "b") == {"median": 2.0, "lower_quartile": 2.0, "upper_quartile": 3.0}


def test_a_product_of_matrices_counts_twice_its_volume(monkeypatch):
    """With a clock that ticks once for each look at it, a product takes a second."""
    ticks = iter(range(100))
    monkeypatch.setattr(speed, "LARGE", {"cpu": 16})
    monkeypatch.setattr(speed, "finished", lambda: next(ticks))
    assert speed.peak(torch.device("cpu")) == 2 * 16**3


def test_operations_are_those_of_forward_and_backward_passes():
    """A layer of n to m costs 2 n m a mixture, and twice that backward, but for the first layer's input."""

    def workload(steps: int, device: torch.device):
        layers = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 5))
        return lambda: [layers(torch.rand(8, 20)).sum().backward() for _ in range(speed.WARM_STEPS + steps)]

    assert speed.operations(workload, 8) == 2 * (2 * 20 * 30 + 3 * 30 * 5)


def test_waiting_is_not_computing():
    matrix = torch.rand(600, 600)

    def turn(watch, idle: float) -> float:
        watch.start()
        time.sleep(idle)
        for _ in range(10):
            matrix.mm(matrix)
        watch.stop()
        return 1.0

    mostly, hardly = (speed.busy(partial(turn, idle=idle), torch.device("cpu")) for idle in (0.0, 5.0))
    assert hardly < 0.7 * mostly
    assert 0 < hardly < mostly <= 1


@pytest.mark.parametrize("gpus", ["--gpus=0", pytest.param("--gpus=1", marks=pytest.mark.gpu)])
def test_a_short_benchmark_is_one_table_and_a_file(gpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "SEPARATED", {"vae-k2": 100, "remix-k2": 4})
    monkeypatch.setattr(speed, "REFINED_MIXTURES", 4)
    for module in (speed, workloads):
        monkeypatch.setattr(module, "WARM_STEPS", 1)
    assert benchmarking.main([gpus, "--rounds=1", "--steps=2", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "benchmark.json").read_text())
    rates = figures["mixtures_per_second"]
    assert list(rates) == [NAIVE, FIT, REMIX, ADAPT, "vae-k2", "remix-k2", REFINED]
    assert figures["fit_over_naive"]["median"] == pytest.approx(rates[FIT] / rates[NAIVE])
    assert figures["minutes_to_fit"] == pytest.approx(60 * 30_000 / rates[FIT] / 60)
    assert figures["minutes_to_adapt"] == pytest.approx(5 * 900 * 24 / rates[ADAPT] / 60)
    banks = 30_000 / rates[REFINED] / 3 + 3 * 3 * 30_000 / rates["remix-k2"]
    remixed = banks + 4 * 6 * 24_000 / rates[REMIX]
    assert figures["minutes_to_remix"] == pytest.approx(figures["minutes_to_fit"] + remixed / 60)
    table = capsys.readouterr().out
    assert f"separate with vae-k2 | {rates['vae-k2']:,.0f} | {100 * figures['busy']['vae-k2']:.0f} % |" in table
    assert table.count("|---|---|---|---|---|") == 1
    assert (figures["device"] == "CPU") is (gpus == "--gpus=0")
    assert all(0 < share <= 1 for share in figures["busy"].values())
    assert list(figures["busy"]) == [FIT, REMIX, "vae-k2", "remix-k2"]
    assert all(0 < share < 1.5 for share in figures["share_of_peak"].values())  # under load the peak is one of luck
