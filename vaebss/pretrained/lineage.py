"""What a model was trained on, as far as its checkpoint or its card says."""

import re
from collections.abc import Mapping
from typing import Any

from vaebss.pretrained.catalogue import available, card

ANCESTORS = re.compile(r"^(?:init|teacher): *(\S+)", re.MULTILINE)  # in a run's options


def knows_mnist(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a model was trained on the training digits of MNIST.

    A shipped model's card says so, and a run's options. A run that began with a shipped model, or had one as its
    teacher, knows what that knew. Of other checkpoints that a run began with nothing is known.

    Args:
        checkpoint: contents of one, as `checkpoints.read` gives them.
    """
    data = checkpoint.get("datamodule_hyper_parameters", {})
    own = checkpoint.get("trained_on") or (None if data.get("mixtures") else data.get("source"))
    ancestors = set(ANCESTORS.findall(str(checkpoint.get("config", "")))) & set(available())
    return own == "mnist" or any(card(name)["trained_on"] == "mnist" for name in ancestors)
