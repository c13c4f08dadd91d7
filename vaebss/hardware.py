"""Which device to use, and in which precision."""

from typing import Any

import torch


def trainer_devices(gpus: int | None) -> dict[str, Any]:
    """Trainer's `accelerator` and `devices` for `--gpus`: None takes what there is, 0 is the CPU.

    Raises:
        ValueError: more GPUs than there are, except 1, for which the CPU stands in.
    """
    found = torch.cuda.device_count()
    wanted = found if gpus is None else gpus
    if wanted < 0:
        raise ValueError(f"--gpus must be 0 or more, not {wanted}")
    if wanted == 1 and found == 0:
        print("No GPU found: going on with the CPU.", flush=True)
        wanted = 0
    if wanted > found:
        raise ValueError(f"--gpus {wanted} asks for more GPUs than there are ({found})")
    return {"accelerator": "gpu", "devices": wanted} if wanted else {"accelerator": "cpu", "devices": 1}


def one_device(gpus: int | None) -> str:
    """Trainer's `accelerator` for a `--gpus` of which one is used at most.

    Raises:
        ValueError: more than one, or not there.
    """
    if (gpus or 0) > 1:
        raise ValueError(f"--gpus must be 0 or 1 here, not {gpus}: one device does all")
    return trainer_devices(gpus)["accelerator"]


def native_bfloat16(device: str) -> bool:
    """Whether "cpu" or "cuda" multiplies bfloat16 natively, and so faster than float32."""
    if device == "cpu":
        return any(present for name, present in torch.cpu.get_capabilities().items() if "bf16" in name)
    return device == "cuda" and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def fastest_precision(accelerator: str) -> str:
    """Trainer's `precision`: bfloat16 where that is native, else single precision."""
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if native_bfloat16("cuda" if on_gpu else "cpu") else "32-true"


def fastest_autocast(device: torch.device) -> torch.autocast:
    """A context of the precision above, for work outside a Trainer."""
    return torch.autocast(device.type, torch.bfloat16, enabled=native_bfloat16(device.type))
