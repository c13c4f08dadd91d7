"""Sounds as files, by soundfile, whose errors become one line."""

# C channels, T samples

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebss.errors import FileError

SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}


def read(path: str | Path) -> tuple[Tensor, int]:
    """The sound of a file, (C, T) float32, and its samples a second.

    Raises:
        FileError: broken, empty, or not finite.
        ImportError: soundfile is not installed.
    """
    soundfile = _soundfile()
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise FileError(f"{path} cannot be read as sound: {_reason(error)}") from error
    sound = torch.from_numpy(samples).T
    if not sound.numel():
        raise FileError(f"{path} is empty")
    if not torch.isfinite(sound).all():
        raise FileError(f"{path} holds NaN or infinity")
    return sound, rate


def write(sound: Tensor, path: str | Path, rate: int) -> None:
    """Sound (T,) or (C, T), float32 -> a file: WAV of 32-bit floats or FLAC of 24 bits, as its suffix says.

    Raises:
        FileError: it cannot be written.
        ImportError: soundfile is not installed.
    """
    soundfile, subtype = _soundfile(), SUBTYPES[Path(path).suffix.lower()]
    if subtype != "FLOAT" and (loudest := float(sound.abs().max())) > 1:
        raise FileError(f"{path} cannot be written: FLAC holds nothing above 1, and this {loudest:.3f}; WAV does")
    try:
        soundfile.write(path, sound.numpy().T, rate, subtype=subtype)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise FileError(f"{path} cannot be written: {_reason(error)}") from error


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("to read and write sound: pip install 'vaebss[audio]'") from error
    return soundfile


def _reason(error: Exception) -> str:
    """The last sentence of an error, which for soundfile is the library's own, in one line."""
    return " ".join(str(getattr(error, "error_string", error)).split())
