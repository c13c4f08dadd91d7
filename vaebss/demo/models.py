"""The models that the demo offers."""

from typing import Any

from vaebss.pretrained.catalogue import DEFAULT_MODEL, available, card, kind_of


def offered(ckpt: str | None) -> tuple[list[str], list[str]]:
    """Return the names of models of pictures and of sound: `ckpt` or the default first, then shipped models.

    Raises:
        CheckpointError: `ckpt` is not a checkpoint.
        ValueError: There is no model at all.
    """
    cards = {name: card(name) for name in sorted(available(), key=lambda name: name != DEFAULT_MODEL)}
    models = {name: known for name, known in cards.items() if separates(known)}
    if ckpt:
        from vaebss.checkpoints import load, read

        load(ckpt)  # so that a broken checkpoint is refused at once
        models = {ckpt: read(ckpt)} | models
    if not models:
        raise ValueError("this version has no shipped model. Name a checkpoint with --ckpt")
    kinds = {name: kind_of(known) for name, known in models.items()}
    return [name for name in kinds if kinds[name] == "images"], [name for name in kinds if kinds[name] == "audio"]


def separates(card: dict[str, Any]) -> bool:
    """Return whether a model separates. The paper's baseline, a plain auto-encoder, leaves sources mixed."""
    return card["hyper_parameters"].get("variational", True)
