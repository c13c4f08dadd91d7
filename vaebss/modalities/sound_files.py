"""Sounds as files, by soundfile, whose errors become one line."""

# C channels, T samples

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebss.errors import FileError
from vaebss.modalities.blocks import BLOCK
from vaebss.modalities.files import check_no_pipe
from vaebss.modalities.sound_arrays import check_samples

STDERR = 2  # its number as a file
SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}
CUT_OFF = re.compile(r"^data : (\d+) \(should be \d+|lacks an end-of-stream bit", re.MULTILINE)  # in libsndfile's log
UNKNOWN = 2**31 - 2**16  # bytes of samples, or more, in the header of a WAV file from a pipe
LARGEST_WAV = 2**32 - 2**16  # bytes of samples; RF64 is a WAV that may be larger


def read(path: str | Path) -> tuple[Tensor, int]:
    """Read the sound of a file, (C, T) float32, and its samples a second.

    Raises:
        FileError: The file is broken or empty, or its sound is not finite.
        ImportError: The package soundfile is not installed.
    """
    return torch.cat([*blocks(path)], 1), rate_of(path)


def rate_of(path: str | Path) -> int:
    """Return the samples a second of a file.

    Raises:
        FileError: The file is broken.
        ImportError: The package soundfile is not installed.
    """
    with _opened(path) as file:
        return file.samplerate


def blocks(path: str | Path) -> Iterator[Tensor]:
    """Read the sound of a file in blocks (C, n) float32; its header need not say how long it is.

    Raises:
        FileError: The file is broken or empty, or its sound is not finite.
        ImportError: The package soundfile is not installed.
    """
    empty = True
    with _opened(path) as file:
        while len(samples := _read(file)):
            sound, empty = torch.from_numpy(samples).T, False
            check_samples(sound)
            yield sound
    if empty:
        raise FileError(f"{path} is empty")


def cut_off(path: str | Path, samples: int) -> str:
    """Return a line about a file that breaks off before the end that it states, and "" of any other.

    Args:
        path: Path of the file.
        samples: Number of samples that the file holds.
    """
    with _opened(path) as file:
        told = CUT_OFF.search(file.extra_info)
        if samples < file.frames < UNKNOWN or (told and int(told[1] or 0) < UNKNOWN):
            return f"breaks off after {samples / file.samplerate:.1f} s, before its end: the file is incomplete"
    return ""


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    soundfile = _soundfile()
    check_no_pipe(path)

    class Stream(soundfile.SoundFile):
        """A file that is read once, from its start to its end, and never sought in: its length may be unknown."""

        def seekable(self) -> bool:
            return False

    try:
        with _no_notes():
            stream = Stream(os.fspath(path))
        with stream as file:
            yield file
    except FileError:
        raise
    except (soundfile.SoundFileError, OSError, MemoryError, ValueError) as error:
        raise FileError(f"{path} cannot be read as sound: {_reason(error)}") from error


def _read(file: Any) -> Any:
    with _no_notes():
        return file.read(BLOCK, dtype="float32", always_2d=True)


@contextmanager
def _no_notes() -> Iterator[None]:
    """Hide what the decoder of MP3 prints about odd files, past Python: what matters of them is an error."""
    try:
        kept = os.dup(STDERR)
    except OSError:  # a program without a terminal may have none
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)


def write(sound: Tensor, path: str | Path, rate: int) -> None:
    """Write sound to a file: WAV of 32-bit floats or FLAC of 24 bits.

    Args:
        sound: Sound (T,) or (C, T), float32.
        path: Path to write to; its suffix determines the format.
        rate: Sample rate in Hz.

    Raises:
        FileError: The file cannot be written, or FLAC would clip the sound.
        ImportError: The package soundfile is not installed.
    """
    write_blocks(iter([torch.atleast_2d(sound).unsqueeze(0)]), [Path(path)], rate, sound.shape[-1])


def write_blocks(sounds: Iterator[Tensor], paths: Sequence[Path], rate: int, samples: int) -> None:
    """Write several sounds at once: a block of each, then the next block of each.

    Args:
        sounds: Blocks (K, C, n) of sounds (K, C, T), float32.
        paths: K files as of `write`; none of them changes unless all of them can be written.
        rate: Sample rate in Hz.
        samples: Number T of samples of each sound.

    Raises:
        FileError: A file cannot be written, or FLAC would clip a sound.
        ImportError: The package soundfile is not installed.
    """
    files: list[_Writer] = []
    try:
        for block in sounds:
            if not files:
                for path in paths:
                    files.append(_Writer(path, rate, block.shape[1], samples))
            for file, sound in zip(files, block, strict=True):
                file.write(sound)
        for file in files:
            file.close()
        for file in files:
            file.keep()
    finally:
        for file in files:
            file.drop()


class _Writer:
    """A file that is written beside its place, and moved there once it is complete."""

    def __init__(self, path: Path, rate: int, channels: int, samples: int):
        self.path, self.part = path, path.with_name(f".{path.name}.part")
        kind = path.suffix.lower()
        container = "RF64" if kind == ".wav" and 4 * channels * samples > LARGEST_WAV else kind[1:].upper()
        self.clips = kind != ".wav"
        with self._told():
            self.file = _soundfile().SoundFile(self.part, "w", rate, channels, SUBTYPES[kind], format=container)

    def write(self, sound: Tensor) -> None:
        """Add a block (C, n)."""
        if self.clips and (loudest := float(sound.abs().max())) > 1:
            raise FileError(f"{self.path} cannot be written: FLAC holds values up to 1, not {loudest:.3f}: use WAV")
        with self._told(full=True):
            self.file.write(sound.numpy().T)

    def close(self) -> None:
        """Write what is still to be written."""
        with self._told(full=True):
            self.file.close()

    def keep(self) -> None:
        """Move the complete file to its place."""
        with self._told():
            self.part.replace(self.path)

    def drop(self) -> None:
        """Delete what is not kept."""
        self.file.close()
        self.part.unlink(missing_ok=True)

    @contextmanager
    def _told(self, full: bool = False) -> Iterator[None]:
        """Turn an error into a FileError, which asks whether the disk is `full` where that is what goes wrong."""
        try:
            yield
        except (_soundfile().SoundFileError, OSError, ValueError) as error:
            reason = f", is the disk full? ({_reason(error)})" if full else f": {_reason(error)}"
            raise FileError(f"{self.path} cannot be written{reason}") from error


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("to read and write sound: pip install 'vaebss[audio]'") from error
    return soundfile


def _reason(error: Exception) -> str:
    """Return the last sentence of an error, which for soundfile is the library's own, in one line."""
    return " ".join(str(getattr(error, "error_string", error)).split())
