"""The training data of a model, as far as its checkpoint or its card tells."""

import re
from collections.abc import Mapping
from typing import Any

from vaebss.pretrained.catalogue import available, card

ANCESTORS = re.compile(r"^(?:init|teacher): *(\S+)", re.MULTILINE)  # in a run's options


def knows_mnist(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a model was trained on the training digits of MNIST.

    A shipped model's card and a run's options tell. A run that started from a shipped model, or had one as its teacher,
    counts as trained on that model's data too. The data of other checkpoints that a run started from are unknown.

    Args:
        checkpoint: Contents of a checkpoint, see `checkpoints.read`.
    """
    data = checkpoint.get("datamodule_hyper_parameters", {})
    own = checkpoint.get("trained_on") or (None if data.get("mixtures") else data.get("source"))
    ancestors = set(ANCESTORS.findall(str(checkpoint.get("config", "")))) & set(available())
    return own == "mnist" or any(card(name)["trained_on"] == "mnist" for name in ancestors)
