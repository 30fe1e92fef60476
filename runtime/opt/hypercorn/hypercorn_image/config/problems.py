# SPDX-License-Identifier: MIT
"""Collects what is wrong with a configuration: one line for each variable, argument or option."""

from typing import Dict, List


class Problems:
    """The lines, in the order in which they were found."""

    def __init__(self) -> None:
        self._lines: Dict[str, str] = {}

    def add(self, about: str, line: str, *depends_on: str) -> None:
        """Add the line about a variable, argument or option, unless it has one.

        `depends_on` names others that the line is about too. If one of them is wrong itself, the line is left out.
        """
        if not self._lines.keys() & {about, *depends_on}:
            self._lines[about] = line

    @property
    def lines(self) -> List[str]:
        """The lines; none when nothing is wrong."""
        return list(self._lines.values())
