"""The models that the demo offers."""

from typing import Any

from vaebss.pretrained.catalogue import DEFAULT_MODEL, DEFAULT_MODELS, available, card, kind_of

FOR_NOTES = "remix-notes"  # notes of the demo begin together


def offered(ckpt: str | None) -> tuple[list[str], list[str]]:
    """Return the names of models of pictures and of sound: `ckpt` or a default first, then shipped models.

    Raises:
        CheckpointError: `ckpt` is not a checkpoint.
        ValueError: There is no model at all.
    """
    cards = {name: card(name) for name in sorted(available(), key=lambda name: name not in (DEFAULT_MODEL, FOR_NOTES))}
    models = {name: known for name, known in cards.items() if separates(known)}
    if ckpt:
        from vaebss.checkpoints import load, read

        load(ckpt)  # so that a broken checkpoint is refused at once
        models = {ckpt: read(ckpt)} | models
    if not models:
        raise ValueError("this version has no shipped model. Name a checkpoint with --ckpt")
    kinds = {name: kind_of(known) for name, known in models.items()}
    return [name for name in kinds if kinds[name] == "images"], [name for name in kinds if kinds[name] == "audio"]


def for_recordings(name: str) -> str:
    """Return the model that separates a recording while `name` is chosen: another one only in place of the default."""
    return DEFAULT_MODELS["audio"] if name == FOR_NOTES else name


def separates(card: dict[str, Any]) -> bool:
    """Return whether a model separates. The paper's baseline, a plain auto-encoder, leaves sources mixed."""
    return card["hyper_parameters"].get("variational", True)
