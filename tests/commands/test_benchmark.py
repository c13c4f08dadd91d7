import json

import pytest

from vaebss.baselines import speed
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


def test_a_short_benchmark_is_one_table_and_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "SEPARATED", {"vae-k2": 100, "remix-k2": 4})
    monkeypatch.setattr(speed, "REFINED_MIXTURES", 4)
    assert benchmarking.main(["--rounds=1", "--steps=2", "--out", str(tmp_path)]) == 0
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
    assert f"separate with vae-k2 | {rates['vae-k2']:,.0f} |" in table
    assert table.count("|---|---|---|") == 1
