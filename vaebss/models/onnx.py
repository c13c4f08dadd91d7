"""Export of a model to ONNX, so that NumPy and onnxruntime are enough to run it."""

# B mixtures, K slots

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebss.models.separator import Separator

TOLERANCE = 1e-4  # largest difference between onnxruntime and torch


class Logistic(nn.Module):
    """A sigmoid whose small values are exact, unlike those of onnxruntime's own. Masks divide by sums of them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sigmoid of a tensor of any shape."""
        return 1 / (1 + (-x).exp())


class Exported(nn.Module):
    """The exported program: mixtures (B, C, H, W) -> masked estimates (B, K, C, H, W) and active slots (B, K)."""

    def __init__(self, model: Separator):
        super().__init__()
        self.model = copy.deepcopy(model.eval_copy())
        for module in list(self.model.modules()):
            for name, part in module.named_children():
                if isinstance(part, nn.Sigmoid):
                    setattr(module, name, Logistic())

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Separate mixtures (B, C, H, W) as `Separator.separate` does, without its checks."""
        separation = self.model.estimate_and_mask(mixture)
        return separation.sources, separation.active


def export(model: Separator, path: Path) -> float:
    """Write a model as ONNX, for batches of any size and, if the model accepts them, pictures of any size.

    Args:
        model: Separator to export.
        path: Path of the file.

    Returns:
        The largest difference between the estimates of onnxruntime and torch.

    Raises:
        ValueError: A required package is missing, or the estimates differ by more than TOLERANCE.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'vaebss[export]'") from error
    model = copy.deepcopy(model.eval_copy()).cpu()
    program = Exported(model)
    mixture = torch.rand(3, *model.image_shape, generator=torch.Generator().manual_seed(0)) / 2
    free = [axis for axis, side in enumerate((None, *model.accepts)) if side is None]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            program,
            (mixture,),
            path,
            input_names=["mixture"],
            output_names=["sources", "active"],
            dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.DYNAMIC),),
            external_data=False,
            optimize=False,  # onnxscript takes the 1e-9 that `mask` adds for 0 and drops the addition
            verbose=False,
        )
        session: Any = onnxruntime.InferenceSession(path)
        largest = 0.0
        batches = [mixture, 2 * mixture, mixture[:1], mixture.repeat(3, 1, 1, 1), torch.zeros_like(mixture)]
        if len(free) > 1:
            batches += [torch.nn.functional.pad(mixture, (0, 5, 0, 10)), mixture[..., 3:, 1:]]
        for batch in batches:
            found = torch.from_numpy(session.run(None, {"mixture": batch.numpy()})[0])
            largest = max(largest, float((found - model.estimate_and_mask(batch).sources).abs().max()))
    if largest > TOLERANCE:
        raise ValueError(f"the estimates of onnxruntime differ from torch's by {largest:.2g}, more than {TOLERANCE}")
    return largest
