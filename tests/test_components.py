"""Components of lines: how many there are, how each looks and how much of it a mixture holds."""

import pytest
import torch
from worlds import spectra

from vaebss.components import correlations, find_components, moved
from vaebss.separation import Separation


def separation(sources, active=None):
    active = torch.ones(sources.shape[:2], dtype=torch.bool) if active is None else active
    return Separation(sources, active, torch.ones(len(sources)))


@pytest.mark.parametrize("shift", [0.0, 1.0, 6.0])
def test_eight_compounds_are_found_and_explain_their_sources(shift):
    sources = spectra(60, 0, shift, 0.0)
    found = find_components(separation(sources))
    assert found.summary == "8 components, at most 2 together"
    lines = sources.flatten(2)
    for own, labels, amounts in zip(lines, found.labels, found.amounts, strict=True):
        assert len(set(labels.tolist())) == 2
        for line, label in zip(own, labels, strict=True):
            move = int(correlations(line[None], found.spectra[label][None], 8)[1])
            explained = amounts[label] * moved(found.spectra[label], move)
            assert (line - explained).norm() < 0.35 * line.norm()  # moves are whole points, and shifts are not
    assert torch.equal(found.amounts > 0, torch.zeros(60, 8).scatter(1, found.labels, 1) > 0)


def test_errors_of_a_separation_are_no_components():
    """Estimates that hold a fifth of the other source in every tenth mixture."""
    sources = spectra(100, 0, 1.0, 0.0)
    sources[::10] = 0.8 * sources[::10] + 0.2 * sources[::10].flip(1)
    assert len(find_components(separation(sources)).spectra) == 8


def test_a_number_may_be_stated_and_inactive_slots_belong_to_none():
    sources, active = spectra(40, 0, 0.0, 0.0), torch.ones(40, 2, dtype=torch.bool)
    active[3, 1] = False
    found = find_components(separation(sources, active), 5)
    assert found.spectra.shape == (5, 256)
    assert found.labels[3, 1] == -1
    assert (found.labels == -1).sum() == 1
    assert found.amounts[3].count_nonzero() == 1


@pytest.mark.parametrize(
    ("sources", "number", "words"),
    [
        (torch.rand(5, 2, 30), None, "components need 20 sources or more, not 10"),
        (torch.rand(15, 2, 30), 31, "components need 31 sources or more, not 30"),
        (torch.rand(50, 2, 30), -1, "number must be 1 or more, not -1"),
        (torch.rand(50, 2, 1, 8, 8), None, "components need sources of lines"),
        (torch.rand(2, 30), None, "components need sources of lines"),
    ],
    ids=["few", "fewer than components", "number", "pictures", "one mixture"],
)
def test_what_has_no_components_is_refused(sources, number, words):
    with pytest.raises(ValueError, match=words):
        find_components(separation(sources), number)


def test_sources_that_are_all_alike_are_one_component():
    found = find_components(separation(torch.ones(20, 1, 40)))
    assert found.summary == "1 component, at most 1 together"
    torch.testing.assert_close(found.amounts, torch.ones(20, 1))
