"""Options of the data as a command parsed them, for `open_corpus`."""

from typing import Any

from jsonargparse import ArgumentParser

from vaebss.data.corpora.open import OPTIONS
from vaebss.data.corpus import Corpus


def corpus_options(data: Any) -> dict[str, Any]:
    """Return the options of the corpus among those of a data module; a class that `source` names is instantiated."""
    parser = ArgumentParser()
    parser.add_argument("--source", type=Corpus | str)
    made: Any = parser.instantiate_classes(parser.parse_object({"source": data.source}))
    return {name: data[name] for name in OPTIONS} | {"source": made.source}
