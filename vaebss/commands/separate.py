"""The command line of separation: a user's own mixtures, files or folders, taken apart into images."""

# N mixtures of a file, K slots

import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from vaebss.checkpoints import load
from vaebss.commands.terminal import OneLineErrors, quieten, run_cleanly
from vaebss.hardware import one_device
from vaebss.modalities.images import ARRAYS, MODES, FileError, find, read_images
from vaebss.models.separator import Separator
from vaebss.pictures import separation_figure
from vaebss.separation import Separation

PICTURED = 12  # mixtures on the contact sheet
DEFAULT_MODEL = "remix-1to4"
SHEET = "contact_sheet.png"
MAGIC = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz"}  # how files begin; what else comes in may be an image


def parse(args: list[str]) -> Any:
    """Options."""
    parser = OneLineErrors(prog="separate.py", description="Take mixtures apart: images, NumPy arrays, folders.")
    parser.add_argument("inputs", nargs="+", type=str, help="PNG, JPEG, NPY or NPZ files, folders, or - for stdin.")
    parser.add_argument("--ckpt", type=str, default=DEFAULT_MODEL, help="Checkpoint, or a shipped model's name.")
    parser.add_argument("--out", type=str, default="separated", help="Folder for the sources.")
    brightness = "Brightest value that a single source may have in the input, white being 1."
    parser.add_argument("--source-max", "--source_max", type=float, default=0.5, help=brightness)
    parser.add_argument("--invert", action="store_true", help="For dark sources on a white background.")
    parser.add_argument("--refine-steps", "--refine_steps", type=int, default=0, help="Refine latents, if it has any.")
    parser.add_argument("--restarts", type=int, default=0, help="Other starts to refine; the best objective wins.")
    parser.add_argument("--gpus", type=int | None, help="GPUs to use; 0 is the CPU. By default what there is.")
    options = parser.parse_args(args)
    if options.source_max <= 0:
        raise ValueError(f"--source-max must be above 0, not {options.source_max}")
    return options


def in_own_size(model: Separator, images: Tensor, options: Any) -> Separation:
    """Separate images of any size and brightness, the estimates in the images' own.

    Images are resized to what the model sees, and its masks back: estimates still add up to the image.
    """
    gain = model.hparams.source_scale / options.source_max
    shape = model.hparams.image_shape[1:]
    seen = images if images.shape[2:] == shape else interpolate(images, shape, mode="bilinear", antialias=True)
    refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
    mixture = (seen * gain).clamp(min=0)
    found = model.separate(mixture, **refinement)
    if seen is images:
        return Separation(found.sources / gain, found.active, found.confidence)
    shares = found.sources / mixture.unsqueeze(1).clamp(min=1e-6)
    shares = torch.where(mixture.unsqueeze(1) > 0, shares, 1 / shares.shape[1])
    shares = interpolate(shares.flatten(0, 1), images.shape[2:], mode="bilinear").unflatten(0, shares.shape[:2])
    return Separation(shares * images.unsqueeze(1), found.active, found.confidence)


def save(image: Tensor, path: Path) -> None:
    """(C, H, W), white being 1, as a PNG."""
    array = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    Image.fromarray(array, MODES[len(image)]).save(path)


def own_names(files: list[Path]) -> list[str]:
    """For each file the name that its sources are written under: its stem, numbered where an earlier file has it."""
    names: list[str] = []
    for path in files:
        numbered = (f"{path.stem}_{number}" for number in count(2))
        name = next(name for name in chain([path.stem], numbered) if name not in names)
        if name != path.stem:
            tqdm.write(f"{path}: its sources are written as {name}, for another file is called {path.stem}")
        names.append(name)
    return names


def separate_file(model: Separator, path: Path, stem: str, options: Any) -> Iterator[tuple[Tensor, Separation]]:
    """Write the sources of every image of a file, under a name that starts with `stem`.

    Yields the images and what was found, part by part.

    Raises:
        ValueError: it cannot be read, or holds no mixtures for this model.
    """
    channels, shape = model.hparams.image_shape[0], model.hparams.image_shape[1:]
    number = 0
    for images in read_images(path, channels):
        if number == 0 and images.shape[2:] != shape:
            sizes = " x ".join(map(str, images.shape[2:])), " x ".join(map(str, shape))
            tqdm.write(f"{path}: {sizes[0]} pixels, resized to {sizes[1]} for the model; its masks are resized back")
        images = 1 - images if options.invert else images
        try:
            separation = in_own_size(model, images, options)
        except ValueError as error:
            raise FileError(f"{path}: {error} (see --source-max and --invert)") from error
        for sources, active in zip(separation.sources, separation.active, strict=True):
            name = stem if path.suffix.lower() not in ARRAYS else f"{stem}_{number:05d}"
            for k, source in enumerate(sources[active]):
                save(source, Path(options.out) / f"{name}_source{k + 1}.png")
            number += 1
        yield images, separation


class ContactSheet:
    """The first mixtures, of one size, and what was found in them."""

    def __init__(self):
        self.images: list[Tensor] = []
        self.found: list[Separation] = []

    def add(self, images: Tensor, found: Separation) -> None:
        """Take note of the first of a part."""
        room = PICTURED - sum(map(len, self.images))
        if room > 0 and all(images.shape[1:] == earlier.shape[1:] for earlier in self.images):
            self.images.append(images[:room])
            self.found.append(Separation(found.sources[:room], found.active[:room], found.confidence[:room]))

    def save(self, path: Path) -> None:
        """Draw it, if there is anything to draw."""
        if self.images:
            separation_figure(torch.cat(self.images), Separation.cat(self.found)).savefig(path)


def separate(options: Any) -> int:
    """Separate all inputs as the options say; how many of them failed."""
    model = load(options.ckpt).to(one_device(options.gpus).replace("gpu", "cuda"))
    model.check_refinement(options.refine_steps, options.restarts)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    sheet, mixtures = ContactSheet(), 0
    with tempfile.TemporaryDirectory() as piped:
        files, failed = _files(options.inputs, Path(piped))
        named = list(zip(files, own_names(files), strict=True))
        for path, name in tqdm(named, unit="file", disable=len(files) < 2):
            try:
                for images, found in separate_file(model, path, name, options):
                    mixtures += len(images)
                    sheet.add(images, found)
            except FileError as error:
                failed += 1
                tqdm.write(f"separate.py: error: {error}", file=sys.stderr)
    sheet.save(out / SHEET)
    print(f"{mixtures} mixtures taken apart into {out}")
    return failed


def _files(inputs: list[str], piped: Path) -> tuple[list[Path], int]:
    """The files of all inputs, and how many inputs have none; what comes through a pipe is put into a folder."""
    files: list[Path] = []
    failed = 0
    for name in inputs:
        try:
            files += [_stdin(piped)] if name == "-" else find(name)
        except FileError as error:
            failed += 1
            print(f"separate.py: error: {error}", file=sys.stderr)
    return files, failed


def _stdin(folder: Path) -> Path:
    data = sys.stdin.buffer.read()
    suffix = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), ".png")
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/separate.py: 2 if an input, or all of them, cannot be taken apart."""
    quieten()
    failed: list[int] = []
    code = run_cleanly("separate.py", lambda: failed.append(separate(parse(sys.argv[1:] if args is None else args))))
    return code or (2 if failed[0] else 0)
