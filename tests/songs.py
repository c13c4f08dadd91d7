"""Scores models of recordings on eight recorded songs: the guitar against the rest of the band.

python tests/songs.py --folder /usr/share/games/fretsonfire/data/songs --ckpt remix-lines

Debian has the songs as fretsonfire-songs-sectoid and fretsonfire-songs-muldjord (MIT-style and CC BY-SA 3.0). Each has
the stems guitar.ogg and song.ogg, whose sum is the mixture. SI-SDR is the mean of both stems, mono at the model's rate;
the mixture itself has 0 dB in the mean. The ideal ratio mask knows the stems.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vaebss import load
from vaebss.baselines.ceilings import ideal_ratio_mask
from vaebss.matching import match
from vaebss.metrics.audio import si_sdr
from vaebss.modalities.audio import Audio
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator
from vaebss.separation import Separation


def stems_of(song: Path, audio: Audio) -> Tensor:
    """Return the guitar and the rest of a song, (2, T), mono and as long as the shorter file."""
    sounds = [audio.sound(song / name).mean(0) for name in ("guitar.ogg", "song.ogg")]
    length = min(map(len, sounds))
    return torch.stack([sound[:length] for sound in sounds])


def quality(found: Tensor, stems: Tensor) -> float:
    """Return the mean SI-SDR in dB of estimates (1, K, T), each matched to a stem (2, T)."""
    return float(si_sdr(match(found, stems[None], torch.tensor([2])), stems[None]).mean())


def separated(model: Separator, stems: Tensor) -> Tensor:
    """Return what a model finds in the sum of the stems (2, T), (1, K, T)."""
    return separate_signals(model.separate, modality_of(model), stems.sum(0, keepdim=True)).sources


def ideal(modality: Audio, stems: Tensor) -> Tensor:
    """Return the estimates of an ideal ratio mask with the pictures of a model, (1, 2, T)."""
    modality = replace(modality, voices=True)
    mixture, parts = stems.sum(0, keepdim=True), modality.split(stems).unflatten(0, (2, -1)).transpose(0, 1)
    picture = modality.picture(modality.split(mixture))
    sources = modality.picture(parts.flatten(0, 1)).unflatten(0, parts.shape[:2])
    masked = ideal_ratio_mask(picture, sources, modality.exponent)
    answer = Separation(masked, torch.ones(parts.shape[:2], dtype=torch.bool), torch.ones(len(parts)))
    signals = modality.to_signals(answer, picture, modality.split(mixture))
    return modality.join(Separation(signals, answer.active, answer.confidence), mixture).sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="Folder that holds the songs, at any depth.")
    parser.add_argument("--ckpt", nargs="+", default=["remix-lines"], help="Checkpoints or shipped models.")
    parser.add_argument("--ideal", action="store_true", help="Scores of the ideal ratio mask too.")
    options = parser.parse_args()
    songs = sorted(path.parent for path in options.folder.rglob("guitar.ogg"))
    with torch.inference_mode():
        for ckpt in options.ckpt:
            model = load(ckpt)
            modality = modality_of(model)
            rows = []
            for song in songs:
                stems = stems_of(song, modality)
                values = [quality(separated(model, stems), stems), quality(stems.sum(0).expand(1, 2, -1), stems)]
                rows.append(values + ([quality(ideal(modality, stems), stems)] if options.ideal else []))
                print(song.name, ckpt, *(f"{value:.2f}" for value in rows[-1]), flush=True)
            print("mean", ckpt, *(f"{value:.2f}" for value in torch.tensor(rows).mean(0).tolist()))


if __name__ == "__main__":
    main()
