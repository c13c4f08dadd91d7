import pytest
import torch

from vaebss import hardware


@pytest.mark.parametrize(("present", "pays"), [({"amx_bf16"}, True), ({"avx512_bf16"}, False), (set(), False)])
def test_the_processor_decides_about_half_precision(present, pays, monkeypatch):
    capabilities = dict.fromkeys(["amx_bf16", "avx512_bf16", "avx2"], False) | dict.fromkeys(present, True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.bfloat16_pays("cpu") is pays
    assert hardware.fastest_precision("cpu") == ("bf16-mixed" if pays else "32-true")
    with hardware.fastest_autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is (torch.bfloat16 if pays else torch.float32)


def test_a_processor_that_tells_no_capabilities_computes_in_single_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert hardware.bfloat16_pays("cpu") is False
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in PyTorch 2.6
    assert hardware.bfloat16_pays("cpu") is False
