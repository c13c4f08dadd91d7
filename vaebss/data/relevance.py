"""Which options of the data belong to which kind of data."""

from collections.abc import Mapping
from typing import Any

DIGITS, NOTES, PICTURES, SINGLE_NOTES = "digits", "notes", "single pictures", "single notes"
MIXTURES, RECORDINGS = "mixtures of your own", "recordings"
DRAWN = (DIGITS, NOTES, PICTURES, SINGLE_NOTES)  # kinds that are mixed at random
SOUND = (NOTES, SINGLE_NOTES, RECORDINGS)
KINDS = {  # what an option is for; options that are not here are for every kind
    **dict.fromkeys(("num_mixed", "gains"), DRAWN),
    **dict.fromkeys(("window", "bands", "pooled", "compression", "add", "level", "remix_detune"), SOUND),
    **dict.fromkeys(("soundfont", "unheard"), (NOTES,)),
    **dict.fromkeys(("max_pixels", "invert"), (PICTURES, MIXTURES)),
    "noise": (DIGITS, PICTURES),
    "train_size": (DIGITS, PICTURES),
    "detune": (NOTES, SINGLE_NOTES),
}


def kind_of(source: str, sets: tuple[str, ...], given: bool, sound: bool) -> str:
    """Return the kind of data.

    Args:
        source: what is mixed: the name of a set, or a path.
        sets: the names of sets.
        given: whether mixtures come ready-made.
        sound: whether they are sound.
    """
    if given:
        return RECORDINGS if sound else MIXTURES
    if source in sets:
        return NOTES if sound else DIGITS
    return SINGLE_NOTES if sound else PICTURES


def unused(kind: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Return the names of options that differ from their defaults and have no meaning for a kind of data."""
    typed = [name for name, default in defaults.items() if name in KINDS and options.get(name, default) != default]
    return [name for name in typed if kind not in KINDS[name]]
