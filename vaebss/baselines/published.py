"""The scores that Neri et al. 2021 published."""

import json
from pathlib import Path

MIXED = 2  # M of both tables

# kind of modality -> method -> K -> score: Table II, mixed pairs of MNIST digits, and Table III, of notes of MUMS. The
# VAE is masked, their VAEM, but for "vae-unmasked".
PUBLISHED: dict[str, dict[str, dict[str, dict[str, float]]]] = json.loads(
    Path(__file__).with_name("published.json").read_text()
)
ABOUT = {  # kind of modality -> note on the figures of a table
    "images": "PSNR in dB; the paper's scale has sources in [0, 0.5], the other digits in [0, 1]. "
    "Published: Neri et al. 2021, Table II.",
    "audio": "SI-SDR, SI-SIR and SI-SAR in dB. NMF sees nothing but the mixture that it separates. "
    "Published: Neri et al. 2021, Table III, whose notes are other notes, of MUMS, and whose ideal masks of bins "
    "beside ours tell how comparable they are.",
}


def published_slots(kind: str) -> list[int]:
    """Return the numbers of slots K that were published; [2] where nothing was."""
    return sorted({int(slots) for figures in PUBLISHED.get(kind, {}).values() for slots in figures}) or [MIXED]


def published(kind: str, method: str, num_sources: int, num_mixed: int) -> dict[str, float]:
    """Return the published scores of a method by metric; empty if there are none.

    Args:
        kind: Kind of the modality, such as "images".
        method: Name of the method.
        num_sources: Number of slots K of the method.
        num_mixed: Number of sources M of each mixture.
    """
    return PUBLISHED.get(kind, {}).get(method, {}).get(str(num_sources), {}) if num_mixed == MIXED else {}
