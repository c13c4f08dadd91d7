import json

import pytest
import torch

from vaebss import VAEBSS
from vaebss.commands import benchmark as benchmarking
from vaebss.commands.benchmark import ratio, take_turns
from vaebss.commands.contenders import operations


def test_operations_are_those_of_the_linear_maps():
    batch = torch.rand(8, 1, 28, 28) / 2
    model = VAEBSS()
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        model.loss(batch, "val", 0)[0].backward()
    assert counter.get_total_flops() == pytest.approx(8 * operations(), rel=0.01)


def test_contenders_take_turns_in_both_orders():
    order = []
    contenders = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    take_turns(contenders, 2, say=lambda line: None)
    assert "".join(order) == "abccba"


def test_ratios_are_within_rounds():
    rates = {"a": [2.0, 40.0, 6.0], "b": [1.0, 10.0, 3.0]}
    assert ratio(rates, "a", "b") == {"median": 2.0, "lower_quartile": 2.0, "upper_quartile": 3.0}


def test_a_short_benchmark_writes_its_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmarking, "BATCHES", (32, 128, 256))
    monkeypatch.setattr(benchmarking, "SIZES", (1_000,))
    monkeypatch.setattr(benchmarking, "SEPARATED", 100)
    monkeypatch.setattr(benchmarking, "SOURCES", (1, 2))
    assert benchmarking.main(["--rounds=1", "--steps=2", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "benchmark.json").read_text())
    rates = figures["mixtures_per_second"]
    assert figures["ours_over_naive"]["median"] == pytest.approx(
        rates[figures["best_batch"]] / rates["naive loop, batch 32"]
    )
    assert figures["time_by_num_sources"]["2"] == 1
    assert figures["share_of_matmul_peak"]["median"] < 1.5
    assert (tmp_path / "benchmark.png").is_file()
    assert "naive loop" in capsys.readouterr().out
