import pytest
import torch

from vaebss import hardware


@pytest.mark.parametrize(("single", "half", "pays"), [(1.0, 0.5, True), (1.0, 0.95, False), (1.0, 2.0, False)])
def test_half_precision_is_for_the_stopwatch_to_say(single, half, pays, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(hardware, "_seconds", {torch.float32: single, torch.bfloat16: half}.get)
    hardware.bfloat16_pays.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    try:
        assert hardware.bfloat16_pays("cpu") is pays
        assert hardware.fastest_precision("cpu") == ("bf16-mixed" if pays else "32-true")
        with hardware.fastest_autocast(torch.device("cpu")):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is (torch.bfloat16 if pays else torch.float32)
    finally:
        hardware.bfloat16_pays.cache_clear()


def test_a_processor_without_instructions_for_it_is_not_asked(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "avx2": True})
    monkeypatch.setattr(hardware, "_seconds", lambda dtype: pytest.fail("asked"))
    assert hardware.bfloat16_pays.__wrapped__("cpu") is False


def test_the_stopwatch_runs():
    assert 0 < hardware._seconds(torch.float32) < 1
