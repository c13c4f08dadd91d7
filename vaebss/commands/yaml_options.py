"""Options in YAML, as files of options and checkpoints have them."""

from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

MAX_VALUES = 10_000  # in a configuration


def configurations(args: list[str]) -> list[Path]:
    """Return the files that `--config` names."""
    named = [second for first, second in pairwise(args) if first == "--config"]
    named += [arg.removeprefix("--config=") for arg in args if arg.startswith("--config=")]
    return [Path(name) for name in named if Path(name).is_file()]


def load_options(text: str, name: str | Path) -> Any:
    """Load a YAML text of plain values.

    Args:
        text: The text.
        name: Name of its file, for the error.

    Raises:
        ValueError: Its anchors would unfold into more than MAX_VALUES values.
    """
    if _size(yaml.compose(text, yaml.SafeLoader), {}) > MAX_VALUES:
        raise ValueError(f"{name} unfolds into more than {MAX_VALUES} values")
    return yaml.safe_load(text)


def _size(node: Any, known: dict[int, int]) -> int:
    """Return the number of values below a YAML node once its anchors are unfolded; `known` has those of other nodes."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES  # for one that holds itself
        known[id(node)] = 1 + sum(_size(part, known) for part in _parts(node))
    return known[id(node)]


def _parts(node: Any) -> list[Any]:
    """Return the nodes in a YAML node: the keys and values of a mapping, the items of a sequence."""
    if isinstance(node, yaml.MappingNode):
        return [*chain(*node.value)]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def flatten(options: dict[str, Any], whole: Iterable[str] = (), prefix: str = "") -> dict[str, Any]:
    """Name nested options in full: {"a": {"b": 1}} -> {"a.b": 1}.

    Args:
        options: Nested options to flatten.
        whole: Full names of options whose values stay as they are, even dicts.
        prefix: Prefix of all names.
    """
    flat: dict[str, Any] = {}
    for name, value in options.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        flat |= flatten(value, whole, key) if isinstance(value, dict) and key not in whole else {key: value}
    return flat


def dumped(parser: ArgumentParser, options: Any, known: Iterable[str]) -> dict[str, Any]:
    """Return parsed options as a checkpoint has them, by their full names, without links between them.

    Args:
        parser: Parser of the options.
        options: Options as parsed.
        known: Full names of the options, whose values are not taken apart further.
    """
    return flatten(yaml.safe_load(parser.dump(options, skip_link_targets=True, skip_validation=True)), known)
