"""Windows of long sounds are joined so that each slot goes on with what sounds alike."""

import math
from itertools import pairwise, permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vaebss.modalities import slot_linking, windows
from vaebss.modalities.audio import Audio
from vaebss.modalities.pitch import harmonic_combs, pitches
from vaebss.separation import Separation

RATE, NOTE = 16_000, 4_000  # samples of a note, of which every window holds some
VOICES = {"dull": (1.0, 0.1, 0.01), "bright": (0.3, 1.0, 1.0, 1.0, 1.0)}  # the strength of harmonics


def voice(name: str, notes: int, generator: torch.Generator) -> Tensor:
    """A melody of random pitches of an octave, the same for all voices."""
    time = torch.arange(NOTE) / RATE
    hertz = 220 * 2 ** torch.rand(notes, generator=generator)
    harmonics = [(number + 1, strength) for number, strength in enumerate(VOICES[name])]
    sounds = [
        sum(strength * (2 * math.pi * number * fundamental * time).sin() for number, strength in harmonics)
        for fundamental in hertz
    ]
    return 0.1 * torch.cat(sounds)


@pytest.fixture(scope="module")
def stems() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack([voice(name, 30, generator) for name in VOICES])


def found(stems: Tensor, modality: Audio, silent: int = 0) -> Separation:
    """What a perfect separator finds in each window, in slots of random order."""
    generator = torch.Generator().manual_seed(1)
    parts = torch.stack([modality.split(stem[None]) for stem in stems], 1)
    parts = torch.cat([parts, parts.new_zeros(len(parts), silent, parts.shape[2])], 1)
    shuffled = torch.stack([part[torch.randperm(len(part), generator=generator)] for part in parts])
    return Separation(shuffled, shuffled.abs().amax(2) > 0, torch.ones(len(shuffled)))


@pytest.mark.parametrize("number", [2, 9])
def test_notes_are_clustered_by_timbre_whatever_their_pitch_and_loudness(stems, number):
    notes = stems.unfold(1, NOTE, NOTE)[:, :4] * torch.tensor([1.0, 0.5, 0.25, 0.1]).view(1, 4, 1)
    found = slot_linking.timbres(slot_linking.band_energies(notes, Audio()).mean(3).flatten(0, 1), number)
    dull, bright = (set(part) for part in found.view(2, 4).tolist())
    assert not dull & bright
    assert len(dull) + len(bright) == min(number, 8)


@pytest.mark.parametrize("silent", [0, 1])
def test_each_voice_comes_back_whatever_the_order_of_slots(stems, silent):
    modality = Audio()
    joined = modality.join(found(stems, modality, silent), stems.sum(0, keepdim=True))
    assert joined.sources.shape == (1, 2 + silent, stems.shape[1])
    assert joined.active.tolist() == [[True, True] + [False] * silent]
    order = [0, 1] if (joined.sources[0, 0] - stems[0]).abs().max() < 1e-5 else [1, 0]
    torch.testing.assert_close(joined.sources[0, order], stems, atol=1e-5, rtol=0)
    assert not joined.sources[0, 2:].any()


def test_slots_that_are_voices_stay_as_they_are(stems):
    modality = Audio(voices=True)
    parts = torch.stack([modality.split(stem[None]) for stem in stems], 1)
    parts[1::2] = parts[1::2].flip(1)  # in every other window each sounds like the other
    windows_of = Separation(parts, torch.ones(parts.shape[:2], dtype=torch.bool), torch.ones(len(parts)))
    joined = modality.join(windows_of, stems.sum(0, keepdim=True))
    assert torch.equal(joined.sources, windows.join(parts[None], stems.shape[1]))
    linked = Audio().join(windows_of, stems.sum(0, keepdim=True))
    assert not torch.allclose(joined.sources, linked.sources, atol=1e-3)


def test_what_is_joined_adds_up_also_where_all_sounds_alike(stems):
    modality, same = Audio(), torch.stack([stems[0], stems[0]])
    joined = modality.join(found(same, modality), same.sum(0, keepdim=True))
    torch.testing.assert_close(joined.sources.sum(1)[0], same.sum(0), atol=1e-5, rtol=0)


def test_several_recordings_are_linked_each_by_itself(stems):
    modality = Audio()
    one, other = found(stems, modality), found(stems.flip(0), modality)
    both = Separation.cat([one, other])
    joined = modality.join(both, stems.sum(0).expand(2, -1))
    for sources, alone in zip(joined.sources, (one, other), strict=True):
        torch.testing.assert_close(sources, modality.join(alone, stems.sum(0, keepdim=True)).sources[0])


def test_channels_of_a_slot_stay_together(stems):
    modality = Audio()
    loud = found(stems, modality)
    stereo = Separation(torch.stack([loud.sources, 0.5 * loud.sources], 2), loud.active, loud.confidence)
    joined = modality.join(stereo, stems.sum(0).expand(1, 2, -1))
    torch.testing.assert_close(joined.sources[:, :, 1], 0.5 * joined.sources[:, :, 0])


def test_silence_is_joined_as_it_is():
    order = slot_linking.orders(torch.zeros(3, 2, 1, 16), torch.zeros(3, 2, dtype=torch.bool))
    assert order.tolist() == [[0, 1]] * 3


def test_a_voice_that_pauses_leaves_its_slot_silent():
    """Where one sounds alone, it stays in its slot, whichever it was found in."""
    low, high = torch.tensor([8.0, 4, 2, 1, 0, 0, 0, 0]), torch.tensor([0.0, 0, 0, 0, 1, 2, 4, 8])
    silence = torch.zeros(8)
    energies = torch.stack([torch.stack(pair) for pair in ((low, high), (high, low), (silence, high), (high, silence))])
    ordered = energies.take_along_dim(slot_linking.orders(energies.unsqueeze(2), energies.sum(2) > 0)[..., None], 1)
    place = int(ordered[0, 1, 7] > 0)  # of the high one
    assert (ordered[:, place] == high).all()
    assert (ordered[2:, 1 - place] == 0).all()


@pytest.mark.parametrize("samples", [10, 64, 96, 100, 1000])
def test_windows_that_add_up_are_joined_to_what_adds_up(samples):
    sources = torch.randn(2, 3, samples)
    parts = windows.split(sources.flatten(0, 1), 64).unflatten(0, (2, 3, -1)).transpose(1, 2)
    assert windows.split(sources.sum(1), 64).shape == (2 * parts.shape[1], 64)
    torch.testing.assert_close(windows.join(parts, samples), sources, atol=1e-5, rtol=0)


BANDS = (torch.arange(32) + 0.5) / 32  # of an outline


def spectra(*coefficients: Tensor) -> Tensor:
    """Energies (N, K, H) of bands whose outlines have these first coefficients, (N, K) each."""
    cosines = torch.stack([(math.pi * (n + 1) * BANDS).cos() for n in range(len(coefficients))])
    return (torch.stack(coefficients, -1) @ cosines).exp()


def placed(energies: Tensor, voices: Tensor, active: Tensor | None = None) -> Tensor:
    """Which voice is in each place of each window, (N, K), once slots are linked; `voices` are those of the slots."""
    active = torch.ones(voices.shape, dtype=torch.bool) if active is None else active
    energies = energies if energies.ndim == 4 else energies.unsqueeze(2)
    return voices.gather(1, slot_linking.orders(energies, active))


def alternating(number: int) -> Tensor:
    """Voices 0 and 1 in the slots of windows, (N, 2), in every other window the other way round."""
    return torch.stack([torch.arange(number) % 2, 1 - torch.arange(number) % 2], 1)


@pytest.mark.parametrize(("together", "voices"), [(3, 2), (1, 1)])
def test_voices_are_as_many_as_sources_are_together_in_a_quarter_of_the_windows(together, voices):
    """Of eight windows; in the others each sounds alone, in turn."""
    slots = alternating(8)
    active = torch.tensor([[True, number < together] for number in range(8)])
    order = slot_linking.orders(spectra(2.0 * slots - 1).unsqueeze(2), active)
    alone = list(zip(slots[together:, 0].tolist(), order[together:].argmin(1).tolist(), strict=True))
    assert len({voice for voice, _ in alone}) == 2
    assert len({place for _, place in alone}) == voices
    assert len(set(alone)) == 2  # each voice is in one place


def test_the_louder_slot_of_a_window_says_which_voice_it_is():
    """The fainter one holds a rest of the same voice, which alone sounds even more like it."""
    slots = alternating(9)
    outline = 2.0 * slots - 1
    energies = spectra(outline)
    energies[8] = spectra(torch.tensor([[-0.5, -1.0]]))[0] * torch.tensor([[1.0], [0.02]])
    places = placed(energies, torch.cat([slots[:8], torch.tensor([[0, 1]])]))
    assert (places == places[0]).all()


def test_what_slots_without_a_source_hold_says_nothing():
    """Be it as loud as their neighbours."""
    slots, active = alternating(8), torch.ones(8, 2, dtype=torch.bool)
    energies = spectra(2.0 * slots - 1)
    energies[6:] = spectra(torch.tensor([[-0.8, -1.2]]))[0] * torch.tensor([[1.0], [5.0]])
    active[6:, 1] = False
    places = placed(energies, torch.cat([slots[:6], torch.tensor([[0, 1]] * 2)]), active)
    assert (places == places[0]).all()


@pytest.mark.parametrize("seed", [2, 4, 5, 6, 7])  # with others, a window or two gain more the wrong way round
def test_every_coefficient_of_an_outline_tells_as_much(seed):
    """The first varies ten times as much as the second, which alone tells the voices, once they are heard anew."""
    generator = torch.Generator().manual_seed(seed)
    slots = alternating(60)
    places = placed(spectra(torch.randn(60, 2, generator=generator), 0.1 * (2.0 * slots - 1)), slots)
    assert (places == places[0]).all()


def test_fading_is_the_usual_change_of_log_energy():
    """A decay, a steady sound, and a decay that begins again."""
    time = torch.arange(16)
    frames = torch.stack([-0.2 * time, 0.0 * time, -0.2 * (time % 8)]).exp()
    energies = frames[None, :, None] * torch.rand(1, 3, 8, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slot_linking.fading(energies), torch.tensor([[-0.2, 0.0, -0.2]]), atol=0.01, rtol=0)


def test_pictures_of_one_frame_say_nothing_of_fading():
    assert not slot_linking.fading(torch.rand(3, 2, 8, 1)).any()


def test_notes_that_fade_are_told_from_sustained_ones_of_the_same_spectrum():
    slots = alternating(60)
    fading = -0.2 * slots + 0.03 * torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    order = slot_linking.orders(torch.ones(60, 2, 1, 32), torch.ones(60, 2, dtype=torch.bool), faded=fading)
    places = slots.gather(1, order)
    assert (places == places[0]).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_several_starts_is_taken(seed):
    """Both slots of a window share most of their sound. Begun with k-means alone, voices are lost with two seeds."""
    rng, slots = np.random.default_rng(seed), alternating(60).numpy()
    shared = 2.0 * rng.integers(2, size=(60, 1, 3)) - 1 + 0.3 * rng.normal(size=(60, 2, 3))
    sounds = np.concatenate([shared, 0.3 * (2.0 * slots[..., None] - 1)], 2)
    order = slot_linking.assigned(sounds, np.full((60, 2), 0.5), 2).numpy()
    places = np.take_along_axis(slots, order, 1)
    assert (places == places[0]).all()


@pytest.mark.parametrize("seed", range(5))
def test_what_differs_within_a_slot_does_not_tell_voices_apart(seed):
    """The first coefficient depends on the note, of which slots play several. The second, fainter, is the voice's."""
    generator = torch.Generator().manual_seed(seed)
    slots, shape = alternating(60), (60, 2, 3)
    register = torch.randint(2, (60, 2, 1), generator=generator)  # of a slot, in which one note of three is another's
    notes = torch.where(torch.rand(shape, generator=generator) < 1 / 3, 1 - register, register)
    coefficients = 0.03 * torch.randn(8, *shape, generator=generator)
    coefficients[0] += 2.0 * notes - 1
    coefficients[1] += 0.15 * (2.0 * slots - 1).unsqueeze(2)
    places = placed(spectra(*coefficients.flatten(2)).unflatten(1, shape[1:]), slots)
    right = (places[:, 0] == 0).float().mean()
    assert max(right, 1 - right) > 0.95


def test_windows_fade_into_each_other_without_a_jump():
    """From all of the first window to all of the second, by equal steps."""
    parts = torch.stack([torch.ones(1, 64), torch.zeros(1, 64), torch.ones(1, 64)]).unsqueeze(0)
    joined = windows.join(parts, 128)[0, 0]
    falling = torch.linspace(1, 0, 32)
    wanted = torch.cat([torch.ones(32), falling, falling.flip(0), torch.ones(32)])
    torch.testing.assert_close(joined, wanted)


def test_slots_that_sound_alike_are_linked_by_what_windows_share(stems):
    parts = found(stems, Audio()).sources
    energies, active = torch.ones(len(parts), 2, 1, 16), torch.ones(len(parts), 2, dtype=torch.bool)
    order = slot_linking.orders(energies, active, slot_linking.agreement(parts))
    linked = windows.join(parts.gather(1, order[..., None].expand_as(parts))[None], stems.shape[1])[0]
    swapped = int((linked[0] - stems[0]).abs().max() > 1e-5)
    torch.testing.assert_close(linked, stems.flip(0) if swapped else stems, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(2, 256), (3, 2, 256)])
def test_agreement_is_of_the_halves_that_neighbours_share(shape):
    signals = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([windows.split(signal[None], 64) for signal in signals], 1)  # seven windows
    agreement = slot_linking.agreement(parts)
    products = torch.einsum("ni...,nj...->nij", parts[:-1, ..., 32:].double(), parts[1:, ..., :32].double())
    energy = parts[:-1, ..., 32:].double().sum(1).square().flatten(1).sum(1).mean()
    torch.testing.assert_close(agreement, (products / energy).float(), atol=1e-4, rtol=1e-4)


def test_windows_agree_in_what_they_share_wherever_they_begin():
    signals, starts = (
        torch.randn(2, 400, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 4, 60, 200, 264]),
    )
    parts = torch.stack([signals[:, start : start + 64] for start in starts.tolist()])
    found = slot_linking.agreement(parts, starts.diff())
    assert not found[2:].any()  # they share nothing
    expected = [signals[:, 4:64] @ signals[:, 4:64].T, signals[:, 60:68] @ signals[:, 60:68].T]
    energy = sum(each.sum() for each in expected) / 2
    torch.testing.assert_close(found[:2], torch.stack(expected) / energy, atol=1e-4, rtol=1e-4)


def test_windows_that_begin_anywhere_are_linked_by_what_they_share(stems):
    """Each slot is the other with its sign turned, so that both sound alike."""
    starts = torch.tensor([0, 1_000, 9_000, 11_000, 20_000, 20_500])
    ordered = torch.stack([stems[0, start : start + Audio().samples] for start in starts.tolist()])
    ordered = torch.stack([ordered, -ordered], 1)
    parts = ordered.clone()
    parts[1::2] = parts[1::2].flip(1)  # in every other window
    windows_of = Separation(parts, torch.ones(parts.shape[:2], dtype=torch.bool), torch.ones(len(parts)))
    linked = Audio().linked(windows_of, starts.diff()).sources
    assert torch.equal(linked, ordered) or torch.equal(linked, -ordered)


def test_one_window_agrees_with_none():
    assert slot_linking.agreement(torch.randn(1, 2, 64)).shape == (0, 2, 2)


@pytest.mark.parametrize("voices", [1, 2, 3])
def test_the_sequence_of_slots_is_the_best_of_all(voices):
    """An exhaustive search of four windows of three slots is the reference, for two problems at once."""
    rng = np.random.default_rng(voices)
    gains, agreement = rng.normal(size=(2, 4, 3, voices)), rng.normal(size=(3, 3, 3))

    def value(ways: tuple[tuple[int, ...], ...], gains: np.ndarray) -> float:
        own = sum(gain[way, range(voices)].sum() for gain, way in zip(gains, map(list, ways), strict=True))
        return own + sum(
            agreed[list(a), list(b)].sum() for agreed, (a, b) in zip(agreement, pairwise(ways), strict=True)
        )

    every = list(product(permutations(range(3), voices), repeat=4))
    best = [max(every, key=lambda ways: value(ways, own)) for own in gains]
    assert slot_linking.best_sequences(gains, agreement).tolist() == [[list(way) for way in ways] for ways in best]


def tones(midi: Tensor) -> Tensor:
    """Energies (*midi.shape, H, 4) in which ten harmonics of each MIDI pitch have equal energies."""
    hertz = torch.tensor(Audio().spectrogram.hertz)
    harmonics = 440 * 2 ** ((midi - 69) / 12).unsqueeze(-1) * torch.arange(1, 11)  # (*midi.shape, 10)
    bands = (harmonics.unsqueeze(-1) - hertz).abs().argmin(-1)
    return functional.one_hot(bands, len(hertz)).sum(-2).float().unsqueeze(-1).repeat(*[1] * midi.ndim, 1, 4)


def test_pitches_are_those_whose_harmonics_are_heard():
    combs, midi = harmonic_combs(Audio().spectrogram.hertz), torch.arange(48.0, 84).view(18, 2)
    torch.testing.assert_close(pitches(tones(midi), combs), midi)
    energies = tones(midi)
    energies[..., 2:] = 3 * tones(midi - 4)[..., 2:]  # later frames are three times as loud
    torch.testing.assert_close(pitches(energies, combs), midi - 3)


def test_silence_has_a_pitch_of_zero():
    combs = harmonic_combs(Audio().spectrogram.hertz)
    assert not pitches(torch.zeros(1, 2, Audio().shape[1], 4), combs).any()


def test_steps_are_of_windows_that_share_something():
    pitch, agreed = torch.tensor([[60.0, 72], [62, 60], [60, 60]]), torch.zeros(2, 2, 2)
    agreed[0, 0, 1] = -0.1
    assert slot_linking.steps(pitch, agreed).tolist() == [[[2, 0], [10, 12]], [[0, 0], [0, 0]]]


def test_slots_of_overlapping_windows_agree_less_with_each_semitone_between_them(monkeypatch):
    """The lines of two voices, whose pitches change from window to window."""
    modality, time = Audio(), torch.arange(Audio().samples) / RATE
    midi = torch.tensor([[50, 69], [52, 67], [53, 67]])
    hertz = 440 * 2 ** ((midi - 69) / 12).unsqueeze(-1)
    parts = torch.stack([(2 * math.pi * number * hertz * time).sin() for number in range(1, 6)]).sum(0)
    monkeypatch.setattr(slot_linking, "orders", lambda spectra, active, agreed, fading: agreed)
    active, bands = torch.ones(midi.shape, dtype=torch.bool), modality.spectrogram.hertz
    shifts = torch.tensor([8_064, modality.samples])  # the last window overlaps none
    found = slot_linking.orders_of([parts[:2], parts[2:]], active, modality, bands, shifts)
    semitones = torch.tensor([[[2.0, 17], [17, 2]], [[0, 0], [0, 0]]])
    expected = slot_linking.agreement(parts, shifts) - slot_linking.SEMITONE * semitones
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("share", "swapped"), [(1.2, True), (1.5, False)])
@pytest.mark.parametrize("known", ["outlines", "outlines of moments", "fading"])
def test_what_windows_share_counts_as_much_whatever_is_known_of_their_sounds(known, share, swapped):
    """In one of sixty windows slots sound swapped, and share most with the slots of the same number beside them.

    Features have a mean square sum of 4, so that voices are 4 apart. Swapped slots, each of half the weight, lose 16 by
    how they sound, and gain 3 x 2 `share` with each of two neighbours: the sound decides below a share of 4/3.
    """
    voices = torch.tensor([0, 1]).repeat(60, 1)
    voices[30] = voices[30].flip(0)
    outlines = torch.stack([1 + voices - 0.5] * 4).unsqueeze(3).repeat(1, 1, 1, 3)  # the same in each of three moments
    noise = torch.randn(8, 60, 2, 3, generator=torch.Generator().manual_seed(0))
    outlines = torch.cat([outlines, torch.zeros_like(outlines)]) + (
        0.02 * noise if known == "outlines of moments" else 0
    )
    energies = functional.normalize(spectra(*outlines.flatten(2)), p=1, dim=-1).unflatten(1, (2, 3))  # as loud
    agreed, faded = share * torch.eye(2).expand(59, -1, -1), -0.7 + 0.2 * voices if known == "fading" else None
    order = slot_linking.orders(energies, torch.ones(60, 2, dtype=torch.bool), agreed, faded)
    assert (order[torch.arange(60) != 30] == order[0]).all()
    assert bool((order[30] != order[0]).all()) == swapped


@pytest.mark.parametrize("seed", range(12, 16))
def test_slots_are_handed_out_until_no_window_gains_by_another_order(seed):
    """Of noise voices are found by and by. An exhaustive search of each window is the reference."""
    sounds = np.random.default_rng(seed).normal(size=(40, 3, 4))
    order = slot_linking.assigned(sounds, np.full((40, 3), 1 / 3), 3).numpy()
    ordered = np.take_along_axis(sounds, order[..., None], 1)
    ways = np.array(list(permutations(range(3))))
    errors = ((ordered[:, ways] - ordered.mean(0)) ** 2).sum((2, 3))  # (N, P), the first of which is as handed out
    assert (errors[:, 0] <= errors.min(1) + 1e-9).all()
