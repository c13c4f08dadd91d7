"""Options of fit.py with which remix.py trains a teacher."""

from pathlib import Path
from typing import Any, NoReturn

from vaebss.commands.fit import FitCLI
from vaebss.commands.train import TrainParser
from vaebss.data.corpus import Corpus
from vaebss.errors import first_line


def is_config_file(teacher: str | None) -> bool:
    """Return whether the teacher has to be trained with a file of options."""
    return teacher is not None and teacher.endswith((".yaml", ".yml"))


def resolve_path(config: str, files: list[Path]) -> str:
    """Return the path of a teacher's file of options.

    Args:
        config: Path as it was given.
        files: Files of options of the command. If there is no file at `config`, it is looked for in their folders, the
            last one first.
    """
    beside = [path for file in files if (path := file.parent / config).is_file()]
    return config if Path(config).is_file() or not beside else str(beside[-1])


class TeacherParser(TrainParser):
    """A parser that raises a ValueError, so that its caller can name the file."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ValueError(" ".join(message.split())) from ex


class TeacherCLI(FitCLI):
    """Options of fit.py, as if these arguments had been typed there; no model, data or trainer is built.

    Args:
        path: File of options, or None.
        corpus: Corpus of the training mixtures.
        typed: Further arguments.

    Raises:
        ValueError: The file is broken, or fit.py has no such options.
    """

    parser_type = TeacherParser

    def __init__(self, path: str | None, corpus: Corpus, *typed: str):
        self.shared, file = corpus, ["--config", path] if path else []
        try:
            super().__init__([*file, *typed, "--seed_everything=false"])  # the run itself has set the seed
        except ValueError as error:
            raise ValueError(f"{path}: {first_line(error)}" if path else first_line(error)) from error

    def opened(self, options: Any) -> Corpus:
        return self.shared

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...
