"""The mixtures that separate.py keeps for an estimate of the quality are few enough for memory."""

import torch

from vaebss.blind import MOST
from vaebss.commands.separate import FileSeparator, Notes, SeenMixtures
from vaebss.modalities import image_files
from vaebss.modalities.images import Images


def separator():
    return FileSeparator(None, Images((1, 8, 8)), {}, None, Notes())


def kept(seen, one):
    return sum(map(len, seen.kept[one]))


def test_large_pictures_are_kept_up_to_a_part_and_one_at_least(monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST_PART", 5 * 64)
    seen, one = SeenMixtures(), separator()
    for _ in range(9):
        seen.add(one, torch.rand(2, 1, 8, 8))
    assert kept(seen, one) == 5
    seen.add(huge := separator(), torch.rand(3, 1, 80, 80))
    assert kept(seen, huge) == 1


def test_mixtures_of_another_size_and_more_than_are_evaluated_are_left_out():
    seen, one, other = SeenMixtures(), separator(), separator()
    seen.add(one, torch.rand(MOST - 1, 1, 8, 8))
    seen.add(one, torch.rand(3, 1, 9, 8))
    assert kept(seen, one) == MOST - 1
    seen.add(one, torch.rand(3, 1, 8, 8))
    seen.add(other, torch.rand(3, 1, 9, 8))
    assert (kept(seen, one), kept(seen, other)) == (MOST, 3)
