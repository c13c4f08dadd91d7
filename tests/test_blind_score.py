"""The blind score: what it says of separators whose quality is known, and that it reads mixtures alone."""

import math
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blind_bench import SIMPLE, digits
from pulses import PulseCorpus, Pulses
from torch import Tensor
from worlds import clouds

import vaebss
from vaebss import blind, evidence
from vaebss.matching import match
from vaebss.metrics.audio import si_sdr
from vaebss.metrics.images import qualities
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator
from vaebss.recording_evidence import RecordingEvidence
from vaebss.separation import Separation

NUMBER = 60


@pytest.fixture(scope="module")
def mixtures() -> Tensor:
    """Pairs of digits from bundled ones, (N, 1, 28, 28)."""
    from vaebss.data.corpora.digits import load_digits

    images = load_digits("bundled", "nowhere").test.float() / 255 * 0.5
    return images[:NUMBER] + images[NUMBER : 2 * NUMBER]


def test_a_good_separator_works_and_trivial_ones_fail(mixtures):
    score = vaebss.evaluate_blind(mixtures, "vae-k2")
    assert score.verdict == "works"
    assert score.gain > 5
    assert score.interval[0] < score.decibels < score.interval[1]
    assert score.each.shape == (NUMBER,)
    assert score.each_source.shape == (NUMBER, 2)
    known = vaebss.load("remix-k2")
    for kind in SIMPLE.values():
        separator = kind(image_shape=known.image_shape, source_scale=known.source_scale)
        assert vaebss.evaluate_blind(mixtures, separator).verdict == "fails"


def test_an_equal_share_gains_nothing_and_its_score_is_known():
    sources = digits(300, 0)
    mixtures = sources.sum(1)
    score = blind.evaluate(SIMPLE["equal"](), Images((1, 28, 28)), mixtures)
    assert score.gain == pytest.approx(0, abs=1e-4)
    half = (mixtures / 2).unsqueeze(1).expand_as(sources)
    true = mean_per_mixture(qualities(0.5)["psnr_paper"], half, sources, torch.full((300,), 2)).mean()
    assert score.decibels == pytest.approx(float(true), abs=0.5)


def test_it_is_the_same_each_time_and_one_line(mixtures):
    first, second = (vaebss.evaluate_blind(mixtures, "vae-k2") for _ in range(2))
    assert repr(first) == repr(second)
    assert "\n" not in repr(first) + first.summary
    assert "works" in repr(first)
    torch.testing.assert_close(first.each, second.each)


@pytest.mark.parametrize("voices", [False, True])
def test_a_remix_has_parts_of_different_mixtures_as_many_as_sources_were_found(voices):
    generator = torch.Generator().manual_seed(0)
    sources, active = torch.rand(30, 3, 1, 4, 4, generator=generator), torch.rand(30, 3, generator=generator) > 0.4
    plan = evidence.remix_plan(Separation(sources, active, torch.ones(30)), voices, 0)
    used = plan[plan >= 0]
    assert len(used) == len(set(used.tolist()))
    loudest = torch.nn.functional.one_hot(sources.flatten(2).square().sum(2).argmax(1), 3).bool()
    assert (active | loudest).flatten()[used].all()
    one_slot = [len({int(part) % 3 for part in parts[parts >= 0]}) == 1 for parts in plan]
    assert sum(one_slot) < len(plan) / 2 if voices else sum(one_slot) >= len(plan) - 2
    if not voices:
        owners = [(parts[parts >= 0] // 3).tolist() for parts, one in zip(plan, one_slot, strict=True) if one]
        assert all(2 <= len(mixtures) == len(set(mixtures)) for mixtures in owners)


def test_too_few_mixtures_and_other_units_are_refused_in_one_line(mixtures):
    with pytest.raises(ValueError, match=r"^a blind score needs 20 mixtures that are not silent, or more, not 19$"):
        vaebss.evaluate_blind(mixtures[:19], "vae-k2")
    lines = PulseCorpus().splits.train
    separator = SIMPLE["equal"](image_shape=(1, 1, 48))
    with pytest.raises(ValueError, match="in dB"):
        blind.evaluate(separator, Pulses(), lines)
    assert "needs 20 mixtures" in blind.summary_of(vaebss.load("vae-k2"), Images((1, 28, 28)), mixtures[:3])


def test_nothing_is_said_of_mixtures_that_hold_single_sources():
    single = digits(NUMBER, 0, 1, 1).sum(1)
    with pytest.raises(ValueError, match=r"^at most one source was found in \d+ of 60 mixtures"):
        vaebss.evaluate_blind(single, "remix-1to4")
    assert blind.gain_of(vaebss.load("remix-1to4"), Images((1, 28, 28)), single) < 0


@pytest.mark.parametrize("name", ["remix-1to4", "remix-k2"])
def test_single_sources_among_pairs_do_not_raise_the_gain(name):
    """Their masks are sharp, which does not make remixes harder than mixtures of several sources."""
    sources = digits(2 * NUMBER, 5)
    pairs = sources.sum(1)
    some = torch.cat([pairs[:NUMBER], sources[NUMBER : 2 * NUMBER - 5, 0]])
    gains = [blind.gain_of(vaebss.load(name), Images((1, 28, 28)), mixtures) for mixtures in (pairs, some)]
    assert abs(gains[1] - gains[0]) < 4


def test_a_third_source_is_noticed_by_a_model_of_two_slots():
    both = {most: digits(100, 6, 2, most).sum(1) for most in (2, 3)}
    scores = {most: vaebss.evaluate_blind(mixtures, "remix-k2") for most, mixtures in both.items()}
    assert (scores[2].crowded, scores[2].verdict) == (False, "works")
    assert (scores[3].crowded, scores[3].verdict) == (True, "partly")
    assert scores[3].gain > blind.WORKS
    assert "more than 2 of them" in scores[3].summary
    assert "works" in scores[2].summary
    spare = vaebss.evaluate_blind(both[3], "remix-1to4")
    assert (spare.crowded, spare.verdict) == (False, "works")


def test_estimates_are_divided_more_where_they_hold_several_sources():
    """The sign is the mean of the division and its rank correlation with energy."""
    separator, images = vaebss.load("vae-k2"), Images((1, 28, 28))
    crowding = [
        blind.evidence_of(separator, images, digits(NUMBER, 7, number, number).sum(1))[0].crowding for number in (2, 4)
    ]
    assert crowding[1] > crowding[0] + 0.05
    equal = blind.evidence_of(SIMPLE["equal"](), images, digits(NUMBER, 7).sum(1))[0]
    assert abs(equal.crowding) < evidence.SHARE_OF_ORDER
    assert not blind.is_crowded(0.15, 6)
    assert blind.is_crowded(0.15, 12)


def test_estimates_whose_pitch_changes_are_melodies_and_others_are_not():
    audio, time = Audio(), torch.arange(16_128) / 16_000
    partials = torch.arange(1, 7).unsqueeze(1)
    low, high = (torch.sin(2 * math.pi * hertz * partials * time).sum(0) for hertz in (300, 400))
    estimates = {"melody": torch.where(time < 0.5, low, high), "note": low, "chord": low + high}
    for name, estimate in estimates.items():
        found = Separation(estimate.expand(9, 2, -1), torch.ones(9, 2).bool(), torch.ones(9))
        assert evidence.Evidence.melodic.fget(SimpleNamespace(found=found, modality=audio)) == (name == "melody")  # type: ignore[misc]
    assert not evidence.Evidence.melodic.fget(SimpleNamespace(modality=Images((1, 28, 28))))  # type: ignore[misc]


def test_a_fifth_pass_is_not_taken_for_melodies(monkeypatch):
    mixtures = digits(100, 6, 2, 3).sum(1)
    monkeypatch.setattr(evidence.Evidence, "melodic", True)
    score = vaebss.evaluate_blind(mixtures, "remix-k2")
    assert (score.crowded, score.verdict) == (False, "works")


def test_of_models_with_few_and_many_slots_the_better_one_is_known():
    best = {}
    for number in (2, 3):
        mixed = digits(NUMBER, 1, number, number).sum(1)
        scores = {name: vaebss.evaluate_blind(mixed, name).decibels for name in ("remix-k2", "remix-1to4")}
        best[number] = max(scores, key=scores.__getitem__)
    assert best == {2: "remix-k2", 3: "remix-1to4"}


def test_sources_that_are_not_active_have_no_score_and_two_of_a_picture_have_the_same(mixtures):
    separator, images = vaebss.load("remix-1to4"), Images((1, 28, 28))
    score, found = blind.evaluate(separator, images, mixtures), separate_signals(separator.separate, images, mixtures)
    assert torch.equal(score.each_source.isnan(), ~found.active)
    pairs = found.count == 2
    assert pairs.sum() > NUMBER / 2
    of_pairs = score.each_source[pairs][found.active[pairs]].view(-1, 2)
    torch.testing.assert_close(of_pairs.mean(1), score.each[pairs])
    assert (of_pairs[:, 0] - of_pairs[:, 1]).abs().median() < 0.1


def test_of_two_sounds_the_fainter_source_has_the_lower_score():
    separator, (low, high) = vaebss.load("vae-notes"), melodies(24)
    audio, windows = modality_of(separator), (low + 0.1 * high).unfold(0, 16_128, 16_128)
    score, found = blind.evaluate(separator, audio, windows), separate_signals(separator.separate, audio, windows)
    both = found.active.all(1)
    assert both.sum() > 10
    louder = found.sources.square().sum(2).argmax(1, keepdim=True)
    scores = score.each_source.gather(1, louder), score.each_source.gather(1, 1 - louder)
    assert (scores[0] > scores[1])[both].float().mean() > 0.8


def test_the_gain_is_that_of_mixtures_where_estimates_differ_more_than_sources_do():
    """Clouds that are cut as digits: their remixes are easy, but the estimates are wrong."""
    sources = clouds(NUMBER, 28, 3)
    separator, images = vaebss.load("vae-k2"), Images((1, 28, 28))
    found = separate_signals(separator.separate, images, sources.sum(1))
    count = torch.full((NUMBER,), 2)
    scores = [
        mean_per_mixture(qualities(0.5)["psnr_paper"], estimates, sources, count).mean()
        for estimates in (found.sources, (sources.sum(1) / 2).unsqueeze(1).expand_as(sources))
    ]
    one, _ = blind.evidence_of(separator, images, sources.sum(1))
    true, in_remixes = float(scores[0] - scores[1]), float(torch.cat([one.gains(each) for each in one.rounds]).mean())
    assert abs(one.gain - true) < abs(in_remixes - true) - 1


def test_black_mixtures_do_not_count(mixtures):
    score = vaebss.evaluate_blind(torch.cat([mixtures, torch.zeros(5, 1, 28, 28)]), "vae-k2")
    assert score.each.shape == (NUMBER + 5,)
    assert torch.isfinite(score.each).all()
    assert score.each_source[NUMBER:].isnan().all()
    assert score.verdict == "works"


def test_sounds_and_long_recordings():
    time = torch.arange(16_128) / 16_000
    random = np.random.default_rng(0)
    tones = [sum(torch.sin(2 * math.pi * hertz * time) for hertz in random.uniform(100, 3_000, 2)) for _ in range(20)]
    sounds = torch.stack(tones).float() * 0.1
    several = vaebss.evaluate_blind(sounds, "vae-notes", sample_rate=16_000)
    assert several.each.shape == (20,)
    assert several.metric.name == "si_sdr"
    one = vaebss.evaluate_blind(sounds.flatten(), "vae-notes", sample_rate=16_000)
    assert one.each.shape == (1,)


class SwappedHalves(SIMPLE["halves"]):
    """Gives the lower half of the bands to either slot, as it happens, which linking of slots puts right."""

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        estimates, ranking = super()._estimate(mixture)
        swapped = (1e4 * mixture.flatten(1).sum(1)).long() % 2 == 1
        return torch.where(swapped.view(-1, 1, 1, 1, 1), estimates.flip(1), estimates), ranking


def melodies(seconds: int) -> Tensor:
    """Two melodies of pure tones, low and high ones of unlike timbre, (2, S) at 16 kHz."""
    time, random = torch.arange(4_000) / 16_000, np.random.default_rng(0)
    pitches = [random.uniform(200, 400, 4 * seconds), random.uniform(2_500, 5_000, 4 * seconds)]
    return torch.stack([torch.cat([0.1 * (2 * math.pi * hertz * time).sin() for hertz in voice]) for voice in pitches])


def rule(kind: type[Separator]) -> Separator:
    """A rule for pictures of sounds."""
    known = vaebss.load("vae-notes")
    sizes = {"image_shape": known.image_shape, "source_scale": known.source_scale, "exponent": known.exponent}
    separator = kind(num_sources=2, **sizes)
    separator.modality = known.modality
    return separator


def test_a_recording_whose_slots_are_free_is_remixed_voice_by_voice():
    """As windows, its remixes hold a voice twice, which no mixture does."""
    separator, stems = vaebss.load("remix-lines"), melodies(12)
    audio = modality_of(separator)
    found = separate_signals(separator.separate, audio, stems.sum(0, keepdim=True))
    true = float(si_sdr(match(found.sources, stems[None], torch.tensor([2])), stems[None]).mean())
    score = blind.evaluate(separator, audio, stems.sum(0, keepdim=True))
    assert score.decibels > true - 2.5
    assert score.verdict == "works"
    assert score.each.tolist() == [pytest.approx(score.decibels)]
    assert float(score.each_source.mean()) == pytest.approx(score.decibels, abs=0.01)
    cut = blind.evaluate(separator, audio, audio.split(stems.sum(0, keepdim=True)))
    assert cut.decibels < true - 5


@pytest.mark.parametrize("kind", [SwappedHalves, SIMPLE["halves"]])
def test_a_rule_that_cuts_a_recording_by_frequency_gains_nothing(kind):
    """It separates remixes of what it has cut, but not two sounds of one voice."""
    separator = rule(kind)
    one = RecordingEvidence(separator, modality_of(separator), melodies(12).sum(0, keepdim=True), si_sdr)
    assert evidence.Evidence.gain.func(one) > 5
    assert one.alone < 0
    assert one.gain <= 0


def test_a_remixed_recording_holds_each_voice_once_moved_in_time():
    known, mixture = vaebss.load("vae-notes"), melodies(12).sum(0, keepdim=True)
    one = RecordingEvidence(known, modality_of(known), mixture, si_sdr)
    shifts = []
    for remixes in one.rounds:
        assert remixes.parts.shape == one.found.sources.shape
        assert torch.equal(remixes.parts[:, 0], one.found.sources[:, 0])
        step = int(
            torch.fft.irfft(
                torch.fft.rfft(remixes.parts[0, 1]) * torch.fft.rfft(one.found.sources[0, 1]).conj()
            ).argmax()
        )
        assert torch.equal(remixes.parts[0, 1], one.found.sources[0, 1].roll(step))
        shifts.append(step)
    assert len(set(shifts)) == len(shifts)
    assert min(shifts) > 2 * 16_000


def test_the_first_recordings_that_are_long_enough_are_evaluated(monkeypatch):
    audio = Audio()
    sounds = [torch.ones(16_000 * seconds) for seconds in (3, 20, 60, 30, 300)]
    assert [len(one) // 16_000 for one in blind.first_recordings(audio, sounds)] == [20, 60]
    assert [len(one) // 16_000 for one in blind.first_recordings(audio, sounds[::-1])] == [300]
    assert blind.first_recordings(audio, [sounds[0], torch.zeros(16_000 * 20)]) == []


def test_a_picture_of_many_tiles_is_evaluated_as_its_tiles_are(mixtures):
    model, picture = (
        vaebss.load("vae-k2"),
        mixtures[:25].view(1, 1, 5, 5, 28, 28).transpose(3, 4).reshape(1, 1, 140, 140),
    )
    tiles = modality_of(model, tiles=True)
    assert len(tiles.split(picture)) == 25
    assert not blind.is_recording(tiles, picture[0])
    score, of_tiles = blind.evaluate(model, tiles, picture), blind.evaluate(model, tiles, tiles.split(picture))
    assert (score.gain, score.decibels) == (of_tiles.gain, of_tiles.decibels)
    assert score.each.tolist() == [pytest.approx(float(of_tiles.each.mean()))]


def test_separate_fills_in_the_scores_where_it_is_asked_to(mixtures, tmp_path):
    whole = vaebss.separate(mixtures, "vae-k2", blind_score=True)
    torch.testing.assert_close(whole.blind_score, vaebss.evaluate_blind(mixtures, "vae-k2").each)
    torch.testing.assert_close(
        whole.source_blind_score, vaebss.evaluate_blind(mixtures, "vae-k2").each_source, equal_nan=True
    )
    plain = vaebss.separate(mixtures, "vae-k2")
    assert (plain.blind_score, plain.source_blind_score) == (None, None)
    np.save(tmp_path / "m.npy", mixtures.numpy())
    torch.testing.assert_close(
        vaebss.separate(tmp_path / "m.npy", "vae-k2", blind_score=True).blind_score, whole.blind_score
    )
    with pytest.raises(ValueError, match="needs 20 mixtures"):
        vaebss.separate(mixtures[0, 0], "vae-k2", blind_score=True)
    time = torch.arange(16_128 * 11) / 16_000
    sweeps = torch.stack([torch.sin(2 * math.pi * hertz * (1 + time / 20) * time) for hertz in (220, 330)])
    sound = 0.1 * sweeps.sum(0)
    one = vaebss.separate(sound, "vae-notes", blind_score=True)
    assert one.blind_score.shape == ()
    assert one.source_blind_score.shape == one.active.shape


def test_a_separation_carries_scores():
    assert "blind_score" in [field.name for field in fields(Separation)]
    scored = Separation(torch.rand(3, 2, 1, 4, 4), torch.ones(3, 2).bool(), torch.rand(3), torch.arange(3.0))
    assert float(scored[1].blind_score) == 1
    assert [float(one.blind_score) for one in scored] == [0, 1, 2]
    assert scored.source_blind_score is None
    sources = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    of_sources = replace(scored, source_blind_score=sources)
    assert of_sources[2].source_blind_score.tolist() == [5, 6]
    assert Separation.cat([of_sources, of_sources]).source_blind_score.shape == (6, 2)
    assert of_sources.in_order(torch.tensor([[1, 0], [0, 1], [1, 0]])).source_blind_score.tolist() == [
        [2, 1],
        [3, 4],
        [6, 5],
    ]
    assert Separation.cat([scored, scored]).blind_score.shape == (6,)
    assert scored.sources_first().to("cpu").blind_score.tolist() == [0, 1, 2]
