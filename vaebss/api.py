"""The call that every user wants first: mixtures as one has them go in, their sources come out."""

# B mixtures, K slots, S the shape of a signal

from typing import TYPE_CHECKING

from torch import Tensor

from vaebss.checkpoints import load
from vaebss.modalities.kinds import modality_of
from vaebss.modalities.modality import through
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.pretrained.catalogue import DEFAULT_MODEL
from vaebss.separation import Separation, check_mixture

if TYPE_CHECKING:
    import numpy as np


def separate(
    signals: "Tensor | np.ndarray",
    model: str | Separator = DEFAULT_MODEL,
    *,
    source_max: float | None = None,
    invert: bool = False,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: int | None = None,
) -> Separation:
    """Take mixtures of any size apart.

    Args:
        signals: a tensor or an array. Pictures (H, W), (B, H, W), (H, W, 3) or (B, C, H, W); whole numbers are divided
            by the largest of their type, so that white is 1. Sounds (T,) or (B, T), for a model of sound.
        model: that separates: a shipped model's name, a checkpoint's path, or what `vaebss.load` gave.
        source_max: brightest value of a single source, white being 1; by default the model's own source_scale.
        invert: for dark sources on a white background.
        refine_steps: gradient steps on each mixture's latents, if the model has any.
        restarts: other starts to refine; the best objective wins.
        sample_rate: of sounds, in samples a second; by default the model's.

    Returns:
        Separation of sources (B, K, *S), or (K, *S) of a single mixture, in the signals' own shape and scale; of an
        inverted picture, its sources are bright on black.

    Raises:
        ValueError: of one line, if the signals or options cannot be.
    """
    separator = model if isinstance(model, Separator) else load(model)
    refinement = {"refine_steps": refine_steps, "restarts": restarts}
    modality = modality_of(separator, source_max, invert)
    taken, restore = modality.taken(signals, sample_rate)
    whole = through(separator.separate, modality, taken, **refinement)
    sources = restore(whole.sources)
    if sources.shape[:2] == whole.active.shape:
        return Separation(sources, whole.active, whole.confidence)
    return Separation(sources, whole.active[0], whole.confidence[0])  # of a single signal


def adapt(
    mixtures: "Tensor | np.ndarray",
    model: str | Separator = "remix-k2",
    *,
    invert: bool = False,
    seed: int = 0,
    steps: int | None = None,
) -> Masker:
    """A separator for mixtures such as these, taught from them alone: no source is ever seen.

    It learns at the mixtures' own size from remixes of what `model` finds in them; two hundred are enough, and take
    some minutes.

    Args:
        mixtures: pictures, ten at least, a tensor or an array as `separate` takes it.
        model: that separates already, though other things: its name, path, or what `vaebss.load` gave. The answer
            has as many slots.
        invert: for dark sources on a white background.
        seed: of all that is random.
        steps: of training, in all; by default what suits their size.

    Returns:
        A model for `vaebss.separate`, whose source_scale is an estimate from the mixtures' brightness.

    Raises:
        ValueError: of one line, if the mixtures cannot be.
    """
    from vaebss.training.adapting import adapt as taught

    teacher = model if isinstance(model, Separator) else load(model)
    images, _ = modality_of(teacher, invert=invert).taken(mixtures, None)
    check_mixture(images, (None, None, None), teacher.num_sources)
    return taught(images, teacher, seed, steps)
