"""What is wrong with a configuration: one line for each variable, argument or option, noted by all who read it."""

from typing import Dict, List


class Problems:
    """The lines to say, in the order in which they were found."""

    def __init__(self) -> None:
        self._lines: Dict[str, str] = {}

    def add(self, about: str, line: str, *depends_on: str) -> None:
        """Note the line about a variable, argument or option, unless it has one.

        `depends_on` names others whose values led to the line. It is not noted when one of them is wrong itself.
        """
        if not self._lines.keys() & {about, *depends_on}:
            self._lines[about] = line

    @property
    def lines(self) -> List[str]:
        """The lines; none when nothing is wrong."""
        return list(self._lines.values())
