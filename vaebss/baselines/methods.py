"""The methods of the paper's Tables II and III by the kind of modality, each a record beside its class."""

from dataclasses import replace
from functools import partial

from pytorch_lightning import seed_everything

from vaebss.baselines import audio_views, ceilings, glo, mcr, mixit, nmf, spectral_nmf, trivial, vae
from vaebss.baselines.method import Estimator, Method, Models, Setting
from vaebss.checkpoints import load
from vaebss.data.mixtures import MNISTMixtures
from vaebss.models.separator import Separator

# Methods of any modality, in the table's order
LEARNED = {"ae": vae.AUTO_ENCODER, "glo": glo.METHOD, "mixit": mixit.METHOD, "vae": vae.VAE}
OF_THE_VAE = {"vae-refined": vae.REFINED, "oracle-latents": ceilings.ORACLE_LATENTS}
OF_ANY = {**trivial.METHODS, **LEARNED, **OF_THE_VAE}

METHODS: dict[str, dict[str, Method]] = {  # kind of modality -> name -> method, in the table's order
    "images": {
        **trivial.METHODS,
        "nmf": nmf.METHOD,
        "mcr": mcr.METHOD,
        **LEARNED,
        **OF_THE_VAE,
        "ideal-binary-mask": ceilings.IDEAL_BINARY,
        "ideal-ratio-mask": ceilings.IDEAL_RATIO,
    },
    "audio": {
        **trivial.METHODS,
        "nmf": spectral_nmf.METHOD,
        **LEARNED,
        "vae-unmasked": vae.UNMASKED,
        **OF_THE_VAE,
        "ideal-binary-mask-bands": replace(ceilings.IDEAL_BINARY, sees=audio_views.magnitudes),
        "ideal-ratio-mask-bands": replace(ceilings.IDEAL_RATIO, sees=audio_views.magnitudes),
        "wiener-mask-bands": replace(ceilings.IDEAL_RATIO, sees=audio_views.energies),
        "ideal-binary-mask-bins": replace(ceilings.IDEAL_BINARY, sees=audio_views.magnitudes_of_bins),
        "ideal-ratio-mask-bins": replace(ceilings.IDEAL_RATIO, sees=audio_views.magnitudes_of_bins),
        "wiener-mask-bins": replace(ceilings.IDEAL_RATIO, sees=audio_views.energies_of_bins),
    },
}


def methods_of(kind: str) -> dict[str, Method]:
    """Return the methods for a kind of modality by name; for a user's own kind, the methods that suit any."""
    return METHODS.get(kind, OF_ANY)


def seen(name: str, setting: Setting) -> Setting:
    """Return the setting with the modality that a method uses.

    Args:
        name: Name of the method, see `methods_of`.
        setting: Setting of the comparison.
    """
    return replace(setting, modality=methods_of(setting.modality.kind)[name].sees(setting.modality))


def estimator(name: str, setting: Setting, models: Models) -> Estimator:
    """Return the function by which a method separates a batch.

    Args:
        name: Name of the method, see `methods_of`.
        setting: Setting of the comparison.
        models: Separators by the names of their methods, for methods that have one.
    """
    answer = methods_of(setting.modality.kind)[name].answer
    return partial(answer, setting, models) if answer else lambda batch: models[name].separate(batch["mixture"])


def trained(name: str, setting: Setting, data: MNISTMixtures) -> Separator | None:
    """Train or load a method's separator; return None if it has none of its own.

    Args:
        name: Name of the method, see `methods_of`.
        setting: Setting of the comparison, which says whether shipped models are loaded.
        data: Mixtures to train on.
    """
    seed_everything(setting.seed, verbose=False)
    learn = methods_of(setting.modality.kind)[name].learn
    if learn and setting.shipped:
        return load(shipped(name, setting.num_sources)).to(setting.device)
    return learn(setting, data) if learn else None


def shipped(name: str, num_sources: int) -> str:
    """Return the name of a method's shipped model, whether or not there is one.

    Args:
        name: Name of the method, such as "vae".
        num_sources: Number K of slots.
    """
    return f"{name}-k{num_sources}"
