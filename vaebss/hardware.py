"""What a program runs on: which device, in which precision, from which commit."""

import subprocess
from pathlib import Path
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


def commit() -> str | None:
    """Return the Git commit of the working tree that contains this package, or None if there is none."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return found.stdout.strip() or None


def one_device(gpus: int | None) -> torch.device:
    """The device for a `--gpus` of which one is used at most.

    Raises:
        ValueError: more than one, or not there.
    """
    if (gpus or 0) > 1:
        raise ValueError(f"--gpus must be 0 or 1 here, not {gpus}: one device does all")
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
    """The Trainer's `precision`: bfloat16 where that pays, else single precision. No measured time decides it."""
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if bfloat16_pays("cuda" if on_gpu else "cpu") else "32-true"


def fastest_autocast(device: torch.device) -> torch.autocast:
    """A context of the precision above, for work outside a Trainer."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device.type))
