"""Results of separate.py about all mixtures: the contact sheet, the estimated quality and the components."""

from functools import partial
from typing import TYPE_CHECKING

from vaebss.commands.component_table import ComponentTable
from vaebss.commands.output_folder import SHEET, OutputFolder
from vaebss.commands.seen_mixtures import SeenMixtures
from vaebss.commands.terminal import say
from vaebss.figures.contact_sheet import ContactSheet

if TYPE_CHECKING:
    from vaebss.commands.file_separator import FileSeparator
    from vaebss.modalities.part import Part
    from vaebss.separation import Separation


class AllMixtures:
    """A contact sheet of all mixtures, an estimate of their quality, and tables of their components.

    Args:
        drawn: Whether there is a contact sheet.
        components: Whether there are tables of components.
    """

    def __init__(self, drawn: bool, components: bool):
        self.seen = SeenMixtures()
        self.sheet = ContactSheet() if drawn else None
        self.table = ComponentTable() if components else None

    def add(self, separator: "FileSeparator", names: list[str], part: "Part", found: "Separation") -> None:
        """Add the mixtures of a part of a file.

        Args:
            separator: Separator of the file, whose modality draws the mixtures.
            names: Names of the mixtures.
            part: The part.
            found: Separation of its mixtures, active sources first unless slots are classes.
        """
        if self.sheet:
            word = "class" if separator.classes else "source"
            self.sheet.draw_with(separator.modality.figure, separator.modality.columns_per_page, word)
            self.sheet.add(names, part.signals, found.sources, found.count.clamp(min=separator.classes))
        self.seen.add(separator.model, separator.modality, names, part.scored, part.complete)
        if self.table:
            self.table.add(names, part, found)

    def save(self, output: OutputFolder) -> None:
        """Estimate the quality, which goes on the list, and write the other files."""
        self.seen.evaluate()
        scores, of_sources = self.seen.scores, self.seen.source_scores
        output.add_scores(scores, of_sources)
        if self.sheet and self.sheet.seen:
            output.save_of_all(SHEET, partial(self.sheet.save, scores=scores, of_sources=of_sources))
        if self.table:
            say(self.table.save(output))
