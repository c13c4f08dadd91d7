"""The command line of export: a model as an ONNX file."""

import math
import sys
from pathlib import Path

from vaebss.atomic import atomic_write, make_folder
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.paths import expanded

EXAMPLE = """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{name}")
mixture = np.random.rand(5, {shape}).astype(np.float32) / 2  # {brightness}
sources, active = session.run(None, {{"mixture": mixture}})
print(sources.shape, active.sum(1))  # (5, {slots}, {shape}), and how many sources each mixture has
"""


def export(ckpt: str, path: Path) -> None:
    """Write a model as ONNX, and print how to use the file. An earlier file is replaced once the new one is complete.

    Args:
        ckpt: Checkpoint, folder or name of the model.
        path: Path of the ONNX file; its folder is created.
    """
    from vaebss.checkpoints import load
    from vaebss.models import onnx

    model = load(ckpt)
    make_folder(path.parent)
    with atomic_write(path) as part:
        difference = onnx.export(model, part)
    sizes = ", for any height and width" if None in model.accepts[1:] else ""
    print(
        f"Written: {path}, {path.stat().st_size / 2**20:.1f} MiB{sizes}, within {difference:.1g} of torch. To use it:"
    )
    scale = model.source_scale
    brightness = f"a source's brightest pixel is {scale}" if math.isfinite(scale) else "of any brightness"
    shape = ", ".join(map(str, model.image_shape))
    print(EXAMPLE.format(name=path, shape=shape, brightness=brightness, slots=model.num_sources))


def run(args: list[str]) -> None:
    """Export as the options say."""
    parser = OneLineErrors(
        prog=program("export"), description="Turn a model into an ONNX file, checked by onnxruntime."
    )
    parser.add_argument("--ckpt", required=True, type=str, help="Checkpoint, or name of a shipped model.")
    parser.add_argument("--out", type=str, default="model.onnx", help="ONNX file to write.")
    options = parser.parse_args(args)
    export(options.ckpt, expanded(options.out))


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/export.py.

    Examples:
        >>> main(["--ckpt", "vae-k9"])  # there is no such model: one line on stderr, and exit code 2
        2
    """
    return run_cleanly("export", lambda: run(sys.argv[1:] if args is None else args))
