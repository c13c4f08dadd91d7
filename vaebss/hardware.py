"""The device and the precision of a program, and the commit that it runs from."""

import subprocess
from pathlib import Path
from typing import Any

import torch


def trainer_devices(gpus: int | None) -> dict[str, Any]:
    """Return the Trainer's `accelerator` and `devices` for `--gpus`: None uses all GPUs, 0 the CPU.

    Raises:
        ValueError: `gpus` is negative, or more than there are. One GPU is replaced by the CPU if there is none.
    """
    found = torch.cuda.device_count()
    wanted = found if gpus is None else gpus
    if wanted < 0:
        raise ValueError(f"--gpus must be 0 or more, not {wanted}")
    if wanted == 1 and found == 0:
        print("No GPU found: using the CPU.", flush=True)
        wanted = 0
    if wanted > found:
        raise ValueError(f"--gpus {wanted} asks for more GPUs than there are ({found})")
    return {"accelerator": "gpu", "devices": wanted} if wanted else {"accelerator": "cpu", "devices": 1}


def commit() -> str | None:
    """Return the Git commit of the working tree that contains this package, or None if there is none."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return found.stdout.strip() or None


def one_device(gpus: int | None) -> torch.device:
    """Return the device for a command that uses at most one GPU.

    Raises:
        ValueError: `gpus` is neither 0 nor 1.
    """
    if (gpus or 0) > 1:
        raise ValueError(f"--gpus must be 0 or 1, not {gpus}: this command uses one device")
    return torch.device("cuda" if trainer_devices(gpus)["accelerator"] == "gpu" else "cpu")


def bfloat16_pays(device: str) -> bool:
    """Return whether "cpu" or "cuda" multiplies bfloat16 clearly faster than float32, judged by its instruction set.

    A CPU does so with AMX. With the bfloat16 instructions of AVX-512 alone, some CPUs are slower than with float32.
    The result is False where PyTorch cannot report a CPU's capabilities, as PyTorch 2.6 cannot.
    """
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and bool(getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16"))


def fastest_precision(accelerator: str) -> str:
    """Return the Trainer's `precision`: bfloat16 if `bfloat16_pays`, else float32. No timing decides it."""
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if bfloat16_pays("cuda" if on_gpu else "cpu") else "32-true"


def fastest_autocast(device: torch.device) -> torch.autocast:
    """Return an autocast context of the fastest precision, for computations outside a Trainer."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device.type))
