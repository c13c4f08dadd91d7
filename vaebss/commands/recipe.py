"""Options of fit.py by which another command trains a VAE."""

from pathlib import Path
from typing import Any, NoReturn

from vaebss.commands.fit import FitCLI
from vaebss.commands.train import TrainParser
from vaebss.data.corpus import Corpus
from vaebss.errors import first_line


def is_recipe(teacher: str | None) -> bool:
    """Whether the teacher is to be trained by a file of options."""
    return teacher is not None and teacher.endswith((".yaml", ".yml"))


def found(recipe: str, files: list[Path]) -> str:
    """Where the recipe lies: at its path, or else beside the last of the files of options that has one of its name."""
    beside = [path for file in files if (path := file.parent / recipe).is_file()]
    return recipe if Path(recipe).is_file() or not beside else str(beside[-1])


class RecipeParser(TrainParser):
    """What is wrong with a file is told by whoever reads it."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ValueError(" ".join(message.split())) from ex


class Recipe(FitCLI):
    """Options of fit.py, as if these arguments had been typed there; nothing is made of them.

    Args:
        path: a file of options, or None.
        corpus: what is mixed.
        typed: arguments beside it.

    Raises:
        ValueError: the file is broken, or fit.py has no such options.
    """

    parser_type = RecipeParser

    def __init__(self, path: str | None, corpus: Corpus, *typed: str):
        self.shared, file = corpus, ["--config", path] if path else []
        try:
            super().__init__([*file, *typed, "--seed_everything=false"])  # whose run it is has seeded already
        except ValueError as error:
            raise ValueError(f"{path}: {first_line(error)}" if path else first_line(error)) from error

    def opened(self, options: Any) -> Corpus:
        return self.shared

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...
