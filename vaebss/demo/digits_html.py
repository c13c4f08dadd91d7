"""The HTML that the tab for digits shows: the mixture of drawn digits, its separation and the scores."""

# M digits, K slots

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebss.demo.html import block, data_url, download, refusal
from vaebss.matching import match, with_silence
from vaebss.metrics.images import qualities
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of, modality_of_files
from vaebss.models.separator import Separator
from vaebss.separation import Separation, active_slots

DIGIT_SHAPE = (1, 28, 28)
BOX = 20  # side in pixels of the box that MNIST's digits fill, centred by mass
SMALLEST = 70  # side in pixels of the smallest drawing that is scaled to fill the box; smaller ones stay smaller
LARGEST = 400  # side of a picture on the page
NOTHING = "<p>Draw something first: a digit on each black square, up to four. Or pick some.</p>"

CENTRED = "Assumed: each square holds one digit. It is scaled to 20 pixels and centred, as in MNIST."
FROM_FILE = "from-file"  # class of the pictures of a file, beside which the squares are grey

Column = Sequence[tuple[Tensor, str, str]]  # pictures (C, H, W) from 0 to 1, each with a caption and a file name


def picture_url(picture: Tensor, largest: int | None = None) -> str:
    """Return a picture as a PNG in a data URL.

    Args:
        picture: Picture (C, H, W) from 0 to 1, grey or colour.
        largest: Most pixels of a side, to which a larger picture is reduced; None for any size.
    """
    pixels = (picture.clamp(0, 1) * 255).round().byte().movedim(0, -1).squeeze(-1).numpy()
    image, file = Image.fromarray(pixels), io.BytesIO()
    if largest:
        image.thumbnail((largest, largest))
    image.save(file, "png")
    return data_url(file.getvalue(), "image/png")


def as_digits(layers: Sequence[str]) -> Tensor:
    """Return the digits of layers that are not empty, (M, 1, 28, 28) from 0 to 1.

    A layer is a data URL of a drawing or of a digit as MNIST has it, or "".
    """
    digits = [digit for layer in layers if layer and (digit := as_digit(_pixels(layer))).any()]
    return torch.stack(digits) if digits else torch.zeros(0, *DIGIT_SHAPE)


def _pixels(url: str) -> np.ndarray:
    """Decode the PNG of a data URL to (H, W) from 0 to 255; transparent pixels are black."""
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("L"))


def as_digit(drawing: np.ndarray) -> Tensor:
    """Convert a drawing, (H, W) from 0 to 255, to MNIST's format: (1, 28, 28) from 0 to 1, black if it is empty.

    A drawing of MNIST's size is not moved or scaled.
    """
    if drawing.shape == DIGIT_SHAPE[1:]:
        return torch.from_numpy(drawing / np.float32(255)).unsqueeze(0)
    digit = torch.zeros(DIGIT_SHAPE)
    rows, columns = np.nonzero(drawing > 32)
    if not len(rows):
        return digit
    ink = Image.fromarray(drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    scale = BOX / max(*ink.size, SMALLEST)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BOX)
    pixels = torch.from_numpy(np.asarray(ink) / np.float32(255))
    height, width = pixels.shape
    mass = pixels.sum().clamp(min=1e-6)
    top = round(DIGIT_SHAPE[1] / 2 - float((pixels.sum(1) * torch.arange(0.5, height)).sum() / mass))
    left = round(DIGIT_SHAPE[2] / 2 - float((pixels.sum(0) * torch.arange(0.5, width)).sum() / mass))
    top, left = min(max(top, 0), DIGIT_SHAPE[1] - height), min(max(left, 0), DIGIT_SHAPE[2] - width)
    digit[0, top : top + height, left : left + width] = pixels
    return digit


def digits_apart(model: Separator, digits: Tensor) -> str:
    """Return HTML with a mixture of digits, each estimate above its true source, and scores.

    Args:
        model: Model that separates the mixture.
        digits: Digits (M, 1, 28, 28) from 0 to 1; without any, the page says that nothing was drawn.
    """
    if not len(digits):
        return NOTHING
    there, scale = len(digits), model.source_scale
    mixture = digits.sum(0, keepdim=True) * scale
    found = separate_signals(model.separate, modality_of(model), mixture.clamp(max=model.num_sources))
    sources = with_silence((digits * scale).unsqueeze(0), max(model.num_sources, there))
    estimates = match(found.sources, sources, torch.tensor([there]))
    active = active_slots(estimates, scale, faintest=model.faintest)[0].tolist()
    psnr = qualities(scale)["psnr_paper"](estimates, sources)[0].tolist()
    columns: list[Column] = [[(mixture[0] / mixture.max(), "mixture", "mixture.png")]]
    for number, estimate in enumerate(estimates[0] / scale):
        if number < there:
            quality = f"{psnr[number]:.1f} dB" if active[number] else "not found"
            truth = (digits[number], "truth", f"digit{number + 1}.png")
            columns.append([(estimate, quality, source_name(number)), truth])
        elif active[number]:
            columns.append([(estimate, "not there", source_name(number))])
    mean, confidence = sum(psnr[:there]) / there, float(found.confidence)
    line = f"<b>{sum(active)} found</b>, {there} there; PSNR {mean:.1f} dB (paper's scale), confidence {confidence:.2f}"
    return shown([line, *_too_few(model.num_sources, there)], columns, [CENTRED])


def _too_few(slots: int, there: int) -> list[str]:
    """Return a line if a model has fewer slots than there are digits."""
    return [f"This model has {slots} slots: it cannot hold {there} digits."] if slots < there else []


def file_apart(model: Separator, path: str | Path) -> str:
    """Return HTML with the first picture of a file and the sources that are found in it.

    Args:
        model: Model that separates the picture.
        path: Path of a picture or an array. If it cannot be read, the HTML says why.
    """
    path = Path(path)

    def answer(pictures: Tensor) -> Separation:
        return model.separate(pictures).drop_inactive(pictures)  # as separate.py does

    try:
        modality, assumed, *_ = modality_of_files(model, [path])
        signals = next(modality.read(path)).signals[:1]
        found = separate_signals(answer, modality, signals)[0]
    except ValueError as error:
        return refusal(error, path)
    line = f"<b>{int(found.count)} found</b> in {escape(path.name)}; confidence {float(found.confidence):.2f}"
    brightest = signals.max().clamp(min=1e-6)
    columns: list[Column] = [[(signals[0] / brightest, "mixture", "mixture.png")]]
    sources = enumerate(found.sources[found.active] / brightest)
    columns += [[(source, f"source {number + 1}", source_name(number))] for number, source in sources]
    notes = [escape(note) for note in (assumed, modality.resize_note(signals)) if note]
    return shown([line], columns, notes, FROM_FILE)


def source_name(number: int) -> str:
    """Return the name of the file that holds an estimate, counted from 0."""
    return f"source{number + 1}.png"


def shown(lines: Sequence[str], columns: Sequence[Column], notes: Sequence[str], kind: str = "drawn") -> str:
    """Return HTML of columns of pictures, with lines above and notes below them.

    Args:
        lines: Lines of HTML.
        columns: Columns, each with pictures (C, H, W) from 0 to 1, their captions and their file names.
        notes: Notes in HTML.
        kind: CSS class of the columns.
    """
    media = "".join(f"<div>{''.join(_captioned(*each) for each in column)}</div>" for column in columns)
    return block(lines, media, notes, f' class="{kind}" style="--columns: {max(3, len(columns))}"')


def _captioned(picture: Tensor, caption: str, name: str) -> str:
    image = f'<img src="{picture_url(picture, LARGEST)}" alt="{name.partition(".")[0]}">'
    return f"<figure>{image}<figcaption>{caption} {download(picture_url(picture), name)}</figcaption></figure>"
