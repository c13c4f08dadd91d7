"""Worlds to measure on that no shipped model has ever seen: glyphs laid over line-drawn shapes, glyphs over glyphs,
nuclei over filaments, clouds over clouds, spectra."""

# N pairs

import colorsys
import math
import random
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from torch import Tensor

GLYPHS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnpqrstuwxyz"
FINE = 4  # pixels drawn for each side of a pixel shown
BRIGHTNESS = 0.5  # of a source
CORNERS = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}
POINTS = 256  # of a spectrum
WIDTH = 2.0  # of a peak, its standard deviation in points
SHAPES = (*CORNERS, "circle", "star", "zigzag")


@cache
def fonts() -> list[Path]:
    """Those that matplotlib ships and that have letters."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    lettered = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmb", "cmr")
    return sorted(path for path in folder.glob("*.ttf") if path.name.startswith(lettered) and "Disp" not in path.name)


def glyph(size: int, draw: random.Random) -> np.ndarray:
    """A letter of any font, (H, W) from 0 to 1, at most as large as the picture."""
    image = Image.new("L", (size, size))
    font = ImageFont.truetype(str(draw.choice(fonts())), round(size * draw.uniform(0.65, 0.95)))
    place = tuple(size * draw.uniform(0.42, 0.58) for _ in range(2))
    ImageDraw.Draw(image).text(place, draw.choice(GLYPHS), 255, font, anchor="mm")
    return np.asarray(image, np.float32) / 255


def shape(size: int, draw: random.Random) -> np.ndarray:
    """The outline of a shape, turned at random, (H, W) from 0 to 1."""
    kind, radius, turn = draw.choice(SHAPES), size * draw.uniform(0.26, 0.4), draw.uniform(0, 2 * math.pi)
    middle = [size * draw.uniform(0.45, 0.55) for _ in range(2)]
    image, width = Image.new("L", (size * FINE, size * FINE)), round(size * FINE * draw.uniform(0.05, 0.1))
    points = [(FINE * x, FINE * y) for x, y in outline(kind, middle, radius, turn)]
    ImageDraw.Draw(image).line(points, 255, width, joint="curve")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), np.float32) / 255


def outline(kind: str, middle: list[float], radius: float, turn: float) -> list[tuple[float, float]]:
    """The points through which a line draws it, with which it ends a little beyond where it began."""
    if kind == "zigzag":
        across = [(step / 4 - 1, 0.5 * (-1) ** step) for step in range(9)]
        return [turned(radius * x, radius * y, turn, middle) for x, y in across]
    corners = {"circle": 48, "star": 10}.get(kind) or CORNERS[kind]
    radii = [radius * (0.45 if kind == "star" and corner % 2 else 1) for corner in range(corners)]
    closed = [*range(corners), 0, 1]
    angles = [2 * math.pi * corner / corners for corner in closed]
    return [
        turned(radii[n] * math.cos(angle), radii[n] * math.sin(angle), turn, middle)
        for n, angle in zip(closed, angles, strict=True)
    ]


def turned(x: float, y: float, turn: float, middle: list[float]) -> tuple[float, float]:
    cos, sin = math.cos(turn), math.sin(turn)
    return middle[0] + cos * x - sin * y, middle[1] + sin * x + cos * y


def world(number: int, size: int, seed: int, channels: int = 1) -> Tensor:
    """The sources of pairs, (N, 2, C, size, size) from 0 to BRIGHTNESS: a glyph and a shape, whose sum is a mixture.

    Of three channels, each source has one bright colour of its own.
    """
    draw = random.Random(f"{seed} {size} {channels}")
    sources = torch.empty(number, 2, channels, size, size)
    for pair in sources:
        for slot, image in enumerate((glyph(size, draw), shape(size, draw))):
            colour = colorsys.hsv_to_rgb(draw.random(), draw.uniform(0.3, 1), 1)[:channels] if channels > 1 else (1,)
            pair[slot] = BRIGHTNESS * torch.tensor(colour).view(-1, 1, 1) * torch.from_numpy(image)
    return sources


def compounds() -> list[list[tuple[float, float]]]:
    """A library of eight: the place and the height of three to five peaks of each."""
    draw = random.Random("compounds")
    edge = POINTS / 12
    return [
        [(draw.uniform(edge, POINTS - edge), draw.uniform(0.3, 1)) for _ in range(draw.randint(3, 5))] for _ in range(8)
    ]


def spectra(number: int, seed: int, shift: float = 6.0, vary: float = 0.5) -> Tensor:
    """The sources of pairs of lines, (N, 2, 1, 1, POINTS) from 0 to BRIGHTNESS: two compounds, each shifted as a whole
    by up to `shift` points, and each of its peaks higher or lower by up to the share `vary`."""
    draw, at, library = random.Random(f"{seed} spectra"), torch.arange(POINTS), compounds()
    sources = torch.empty(number, 2, 1, 1, POINTS)
    for pair in sources:
        for slot, peaks in enumerate(draw.sample(library, 2)):
            moved = draw.uniform(-shift, shift)
            heights = [height * draw.uniform(1 - vary, 1 + vary) for _, height in peaks]
            places = [(at - place - moved) / WIDTH for place, _ in peaks]
            line = sum(height * (-(away**2) / 2).exp() for height, away in zip(heights, places, strict=True))
            pair[slot] = BRIGHTNESS * draw.uniform(0.6, 1) * line / line.max()
    return sources


def glyphs(number: int, size: int, seed: int) -> Tensor:
    """The sources of pairs of letters, (N, 2, 1, size, size) from 0 to BRIGHTNESS."""
    draw = random.Random(f"{seed} {size} glyphs")
    pictures = [torch.from_numpy(glyph(size, draw)) for _ in range(2 * number)]
    return BRIGHTNESS * torch.stack(pictures).view(number, 2, 1, size, size)


def clouds(number: int, size: int, seed: int) -> Tensor:
    """The sources of pairs of smooth random pictures, (N, 2, 1, size, size), which nothing tells apart."""
    noise = np.random.default_rng([seed, size]).normal(size=(2 * number, size, size))
    smooth = gaussian_filter(noise, (0, size / 14, size / 14))
    scaled = np.clip(0.5 + smooth / (4 * smooth.std()), 0, 1).astype(np.float32)
    return BRIGHTNESS * torch.from_numpy(scaled).view(number, 2, 1, size, size)


def nuclei(size: int, rng: np.random.Generator) -> np.ndarray:
    """Three to six soft blobs, (H, W) from 0 to 1, as wide in 64 pixels as nuclei under a microscope."""
    unit, picture = size / 64, np.zeros((size, size))
    y, x = np.mgrid[:size, :size] / unit
    for _ in range(rng.integers(3, 7)):
        (cy, cx), (a, b), turn = rng.uniform(6, 58, 2), rng.uniform(4, 7.5, 2), rng.uniform(0, np.pi)
        u, v = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn), (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        blob = np.clip(1.6 - 1.2 * ((u / a) ** 2 + (v / b) ** 2), 0, 1)
        picture = np.maximum(picture, rng.uniform(0.55, 1) * blob)
    return gaussian_filter(picture, unit)


def filaments(size: int, rng: np.random.Generator) -> np.ndarray:
    """Four to seven curved lines, (H, W) from 0 to 1."""
    unit, picture = size / 64, np.zeros((size, size))
    for _ in range(rng.integers(4, 8)):
        place, angle, bends = rng.uniform(0, 64, 2), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.03, 140)
        angles = angle + np.cumsum(np.convolve(bends, 0.9 ** np.arange(140))[:140])
        walk = place + 0.6 * np.cumsum([np.sin(angles), np.cos(angles)], axis=1).T
        rows, columns = np.round(walk * unit).astype(int).T
        seen = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        line = np.zeros((size, size))
        line[rows[seen], columns[seen]] = 1
        picture = np.maximum(picture, rng.uniform(0.5, 1) * np.clip(2.6 * gaussian_filter(line, 0.9 * unit), 0, 1))
    return picture


def cells(number: int, size: int, seed: int) -> Tensor:
    """The sources of pairs of nuclei and filaments, (N, 2, 1, size, size) from 0 to BRIGHTNESS."""
    rng = np.random.default_rng([seed, size])
    pairs = np.array([(nuclei(size, rng), filaments(size, rng)) for _ in range(number)], np.float32)
    return BRIGHTNESS * torch.from_numpy(pairs).unsqueeze(2)
