"""The command line of export: a model as an ONNX file, which NumPy and onnxruntime alone can run."""

# B mixtures, K slots

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebss.checkpoints import load
from vaebss.commands.terminal import OneLineErrors, quieten, run_cleanly
from vaebss.models.separator import Separator

TOLERANCE = 1e-4  # between onnxruntime and torch
EXAMPLE = """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{name}")
mixture = np.random.rand(5, {shape}).astype(np.float32) / 2  # a source's brightest pixel is {scale}
sources, active = session.run(None, {{"mixture": mixture}})
print(sources.shape, active.sum(1))  # (5, {slots}, {shape}), and how many sources each mixture has
"""


class Logistic(nn.Module):
    """A sigmoid whose small values are right to the last digit, where onnxruntime's own are not: masks divide them."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return 1 / (1 + (-x).exp())


class Exported(nn.Module):
    """What the file computes: mixtures (B, C, H, W) -> masked estimates (B, K, C, H, W) and active slots (B, K)."""

    def __init__(self, model: Separator):
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        for module in list(self.model.modules()):
            for name, part in module.named_children():
                if isinstance(part, nn.Sigmoid):
                    setattr(module, name, Logistic())

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """As `separate`, without its checks."""
        separation = self.model._separate(mixture, True)
        return separation.sources, separation.active


def export(model: Separator, path: Path) -> float:
    """Write a model as ONNX, with any number of mixtures at a time.

    Args:
        model: to write.
        path: of the file.

    Returns:
        The largest difference between onnxruntime's answer and torch's.

    Raises:
        ValueError: the packages that this takes are missing, or the two answers differ.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'vaebss[export]'") from error
    program = Exported(model)
    mixture = torch.rand(3, *model.hparams.image_shape, generator=torch.Generator().manual_seed(0)) / 2
    with warnings.catch_warnings(), torch.no_grad(), model.evaluating():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            program,
            (mixture,),
            path,
            input_names=["mixture"],
            output_names=["sources", "active"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        session: Any = onnxruntime.InferenceSession(path)
        largest = 0.0
        for batch in (mixture, mixture[:1], mixture.repeat(3, 1, 1, 1), torch.zeros_like(mixture)):
            found = torch.from_numpy(session.run(None, {"mixture": batch.numpy()})[0])
            largest = max(largest, float((found - model._separate(batch, True).sources).abs().max()))
    if largest > TOLERANCE:
        raise ValueError(f"onnxruntime's answer differs from torch's by {largest:.2g}")
    return largest


def run(args: list[str]) -> None:
    """Export as the options say, and show how to use the file."""
    parser = OneLineErrors(prog="export.py", description="Turn a model into an ONNX file, checked by onnxruntime.")
    parser.add_argument("--ckpt", required=True, type=str, help="Checkpoint, or a shipped model's name.")
    parser.add_argument("--out", type=str, default="model.onnx", help="The file.")
    options = parser.parse_args(args)
    model, path = load(options.ckpt), Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    difference = export(model, path)
    hparams = model.hparams
    print(f"Written: {path}, {path.stat().st_size / 2**20:.1f} MiB, within {difference:.1g} of torch. To use it:")
    shape = ", ".join(map(str, hparams.image_shape))
    print(EXAMPLE.format(name=path, shape=shape, scale=hparams.source_scale, slots=hparams.num_sources))


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/export.py."""
    quieten()
    return run_cleanly("export.py", lambda: run(sys.argv[1:] if args is None else args))
