"""Splits of notes: no recording of a font is in two splits."""

# N notes, T samples, G groups of notes, P programs

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from vaebss.seeding import generator

SPLITS = ("train", "val", "test", "unheard")
TEST, VALIDATION = 0.15, 0.05  # shares of notes
MOST_HELD_OUT = 0.4  # of a program's notes: less, and none would know what it sounds like
SPLIT_SEED = 2021
UNHEARD = (19, 25, 42, 57, 71)  # church organ, steel guitar, cello, trombone, clarinet: in no other split


@dataclass(frozen=True)
class NoteSplits:
    """Notes (N, T) float16 of root mean square 1, and what they are: (N, 2), program and pitch of each.

    No recording is in two splits, see `split_notes`. `unheard` are all notes of instruments of which no other split has
    any. Labels serve to check that; separators do not use them.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    unheard: Tensor
    labels: dict[str, Tensor]


def split_notes(sounds: Tensor, labels: Tensor, recordings: Tensor) -> NoteSplits:
    """Split notes so that no recording is in two splits.

    Whole groups of notes that share recordings are held out at random, of the programs first of which least has been
    held out yet. Most notes of every program stay in the training part: one whose notes are all of one recording stays
    there whole. Groups in which an instrument of UNHEARD plays are no part of train, val and test; notes of other
    instruments in such groups are dropped.

    Args:
        sounds: Notes, (N, T).
        labels: Program and pitch of each note, (N, 2).
        recordings: Group of each note, (N,) int64, equal for notes that share a recording, see `groups`.
    """
    programs, program = labels[:, 0].unique(return_inverse=True)
    group = recordings.unique(return_inverse=True)[1]
    counts = torch.zeros(int(group.max()) + 1 if len(group) else 0, len(programs))
    counts.index_put_((group, program), torch.ones(len(group)), accumulate=True)  # of notes, by group and program
    unheard = torch.isin(programs, torch.tensor(UNHEARD))
    split_of = _hold_out(counts, counts[:, unheard].any(1))
    split = split_of[group]
    split[(split == SPLITS.index("unheard")) & ~unheard[program]] = len(SPLITS)  # in none
    places = {name: (split == number).nonzero()[:, 0] for number, name in enumerate(SPLITS)}
    parts = {name: sounds[places[name]] for name in SPLITS}
    return NoteSplits(**parts, labels={name: labels[places[name]] for name in SPLITS})


def _hold_out(counts: Tensor, unheard: Tensor) -> Tensor:
    """Assign each of G groups of notes to a split: indices in SPLITS, (G,).

    Args:
        counts: Number of notes of each group, by program, (G, P).
        unheard: Mask of groups that are always held out as unheard, (G,) bool.
    """
    split = torch.where(unheard, SPLITS.index("unheard"), SPLITS.index("train"))
    order = torch.randperm(len(counts), generator=generator(SPLIT_SEED))
    free = counts * ~unheard.unsqueeze(1)
    size, held = free.sum(0).clamp(min=1), torch.zeros(counts.shape[1])
    for name, share in (("test", TEST), ("val", VALIDATION)):
        own, number = torch.zeros_like(held), SPLITS.index(name)
        while own.sum() < share * free.sum():
            possible = (split == SPLITS.index("train")) & (free.sum(1) > 0)
            possible &= ~((held + free > MOST_HELD_OUT * size) & (free > 0)).any(1)
            if not possible.any():
                break
            already = torch.where(free > 0, own / size, 0).amax(1)  # of a group's programs: the largest share held out
            group = order[torch.where(possible, already, torch.inf)[order].argmin()]
            split[group] = number
            own, held = own + free[group], held + free[group]
    return split


def groups(played: list[set[int]]) -> Tensor:
    """Return the group of each note, (N,) int64: notes that share recordings, also through other notes, have the same.

    Args:
        played: Numbers of the recordings from which each of N notes sounds.
    """
    notes = [note for note, numbers in enumerate(played) for _ in numbers]
    found = [number for numbers in played for number in numbers]
    size = (len(played), 1 + max(found, default=0))
    share: Any = csr_array((np.ones(len(notes)), (notes, found)), shape=size)
    return torch.from_numpy(connected_components(share @ share.T, directed=False)[1]).long()
