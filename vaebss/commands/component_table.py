"""Tables that separate.py writes: the spectrum of each component of lines, and its amount in each mixture."""

from functools import partial
from typing import TYPE_CHECKING, Any

from vaebss.commands.output_folder import AMOUNTS, SPECTRA, OutputFolder
from vaebss.paths import encodable

if TYPE_CHECKING:
    from vaebss.modalities.part import Part
    from vaebss.separation import Separation


class ComponentTable:
    """The sources of all lines, from which the components are found, see `vaebss.components`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.found: list[Separation] = []
        self.layout: Any = None

    def add(self, names: list[str], part: "Part", found: "Separation") -> None:
        """Keep the separation of a part if it holds lines; the first table determines the axis.

        Args:
            names: Names of the part's mixtures.
            part: The part.
            found: Separation of its mixtures.
        """
        if part.signals.ndim == 4 and tuple(part.signals.shape[1:3]) == (1, 1):
            self.names += map(encodable, names)
            self.found.append(found)
            self.layout = self.layout or part.table

    def save(self, output: OutputFolder) -> str:
        """Write both tables; return one line that says how many components there are, or why there are none."""
        from vaebss.components import find_components
        from vaebss.modalities.tables import Table, write_table
        from vaebss.separation import Separation

        try:
            if len({found.sources.shape[1:] for found in self.found}) != 1:
                raise ValueError("components need lines of one length")
            found = find_components(Separation.cat(self.found))
        except ValueError as error:
            return f"No components: {error}"
        titles = [f"component{number + 1}" for number in range(len(found.spectra))]
        axis = self.layout.axis if self.layout and self.layout.axis else [*map(str, range(found.spectra.shape[1]))]
        corner = (self.layout.corner if self.layout else "") or "point"
        tables = {
            SPECTRA: (Table(True, axis, titles, corner, ",", False), found.spectra),
            AMOUNTS: (Table(True, self.names, titles, "mixture", ",", False), found.amounts.T),
        }
        for name, (table, values) in tables.items():
            output.save_of_all(name, partial(write_table, table=table, values=values.numpy()))
        return f"{found.summary}: {', '.join(tables)}"
