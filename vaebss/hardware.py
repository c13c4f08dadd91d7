"""Which device to use, and in which precision."""

from typing import Any

import torch


def num_gpus() -> int:
    """GPUs at hand: CUDA devices, or Apple's one."""
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def trainer_devices(gpus: int | None) -> dict[str, Any]:
    """Trainer's `accelerator` and `devices` for `--gpus`: None takes what there is, 0 is the CPU.

    Raises:
        ValueError: more GPUs than there are, except 1, for which the CPU stands in.
    """
    found = num_gpus()
    if gpus is None:
        return {"accelerator": "auto", "devices": "auto"}
    if gpus < 0:
        raise ValueError(f"--gpus must be 0 or more, not {gpus}")
    if gpus == 1 and found == 0:
        print("No GPU found: going on with the CPU.", flush=True)
    elif gpus > found:
        raise ValueError(f"--gpus {gpus} asks for more GPUs than there are ({found})")
    elif gpus > 0:
        return {"accelerator": "gpu", "devices": gpus}
    return {"accelerator": "cpu", "devices": 1}


def fastest_precision(accelerator: str) -> str:
    """Trainer's `precision`: bfloat16 where the hardware multiplies it natively, else single precision."""
    on_gpu = num_gpus() > 0 and accelerator != "cpu"
    if on_gpu:
        native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(present for name, present in torch.cpu.get_capabilities().items() if "bf16" in name)
    return "bf16-mixed" if native else "32-true"


def fastest_autocast(device: torch.device) -> torch.autocast:
    """A context of the precision above, for work outside a Trainer."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fastest_precision(device.type) == "bf16-mixed")
