"""Counts of notes that sound together, with and without intervals at which the partials of two notes coincide.

python tests/note_counts.py --ckpt remix-notes-1to3 --soundfont FluidR3_GM.sf2

The mixtures are those of `scripts/test.py --data.num_mixed "[1, 3]"`, of the test notes (`--split test`), of the
validation notes (val) or of instruments never heard (unheard). A model that counts has a line for its head, and every
model has lines for thresholds, the share of the energy from which on a slot counts.
"""

import argparse

import torch
from torch import Tensor

import vaebss
from vaebss.data.corpora.notes import Notes, load_notes
from vaebss.data.plans import FIXED_SEED, SILENT, TEST, VAL
from vaebss.separation import active_slots

COINCIDENT = (0, 12, 19)  # semitones between two notes: unison, octave, twelfth
THRESHOLDS = (0.0125, 0.03, 0.05)
SPLITS = ("val", "test", "unheard")


def coincident(pitches: Tensor, plan: Tensor) -> Tensor:
    """Return which mixtures hold two notes at an interval of COINCIDENT, (B,) bool.

    Args:
        pitches: Pitch of each of N notes in semitones, (N,).
        plan: Numbers of the notes of each mixture, (B, M), SILENT beyond its count.
    """
    pitch = torch.where(plan == SILENT, torch.nan, pitches[plan.clamp(min=0)].double())
    first, second = torch.triu_indices(plan.shape[1], plan.shape[1], offset=1)
    distances = (pitch[:, first] - pitch[:, second]).abs()
    return torch.isin(distances, torch.tensor(COINCIDENT, dtype=torch.float64)).any(1)


def report(found: Tensor, true: Tensor, alike: Tensor) -> str:
    """Return the shares of right counts, (B,), of all mixtures and of those without coincident notes, by number."""
    parts = []
    for name, rows in (("all", torch.ones_like(alike)), ("without coincident notes", ~alike)):
        right = found[rows] == true[rows]
        numbers = ", ".join(f"{n}: {100 * right[true[rows] == n].float().mean():.1f}" for n in true.unique().tolist())
        parts.append(f"{name} {100 * right.float().mean():.1f} % ({numbers}; {int(rows.sum())} mixtures)")
    return "; ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", nargs="+", default=["remix-notes-1to3"], help="Checkpoints or shipped models.")
    parser.add_argument("--soundfont", help="SoundFont of the notes; by default that of pretty_midi.")
    parser.add_argument("--root", default="./data", help="Folder for rendered notes.")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=["test", "unheard"], help="Notes that are mixed.")
    parser.add_argument("--mixtures", type=int, default=1_000, help="Mixtures of each split.")
    options = parser.parse_args()
    labels = load_notes(options.root, options.soundfont).labels
    for split, ckpt in ((split, ckpt) for split in options.split for ckpt in options.ckpt):
        model = vaebss.load(ckpt)
        corpus = Notes(options.root, options.soundfont, unheard=split == "unheard")
        part, address = ("val", VAL) if split == "val" else ("test", TEST)
        plan = corpus.plan(part, options.mixtures, (1, 3), FIXED_SEED, address)
        counts: dict[str, list[Tensor]] = {}
        for batch in map(corpus.dataset(part, corpus.seen_by(model)).__getitem__, plan.split(100)):
            found = model.separate(batch["mixture"])
            named = {"head": found.count} if getattr(model, "counting", False) else {}
            for share in THRESHOLDS:
                active = active_slots(found.sources, model.source_scale, model.exponent, share)
                named[f"threshold {100 * share:g} %"] = active.sum(1)
            for name, count in named.items():
                counts.setdefault(name, []).append(count)
        alike = coincident(labels[split][:, 1], plan)
        for name, found in counts.items():
            print(f"{split}, {ckpt}, {name}: {report(torch.cat(found), (plan != SILENT).sum(1), alike)}", flush=True)


if __name__ == "__main__":
    main()
