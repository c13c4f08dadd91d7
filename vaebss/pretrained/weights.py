"""How weights are kept on disk: in half precision where they fit, as safetensors; of a student the average.

That average stands in for the network which it follows, so that both take the room of one.
"""

from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from vaebss.models.separator import if_finite

AVERAGE, NETWORK = "average.module.", "network."  # before the names of a student's weights


def write(state_dict: dict[str, Tensor], path: Path) -> None:
    """A model's weights as a file that `read` opens."""
    path.write_bytes(save(halved(state_dict)))  # not by save_file, whose files none but their owner may read


def read(path: Path) -> dict[str, Tensor]:
    """The weights of a file, on the CPU, as `restored`."""
    return restored(load_file(path))


def halved(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as they are kept: whole numbers, and variances too large for float16, keep their type."""
    followed = {NETWORK + name.removeprefix(AVERAGE) for name in state_dict if name.startswith(AVERAGE)}
    kept = {name: value for name, value in state_dict.items() if name not in followed}
    return {
        name: (if_finite(value.half(), value) if value.is_floating_point() else value).contiguous()
        for name, value in kept.items()
    }


def restored(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they were kept, in single precision and by all their names again."""
    single = {name: value.float() if value.is_floating_point() else value for name, value in kept.items()}
    followed = {NETWORK + name.removeprefix(AVERAGE): single[name] for name in single if name.startswith(AVERAGE)}
    return followed | single
