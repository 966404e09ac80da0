"""Checks of a machine, and the commands that fix the faults: small functions of plain facts.

No module here imports a library that may be missing, so that a missing library can be reported.
"""

from dataclasses import dataclass

OK, NOTE, WRONG = "ok", "note", "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis: level (OK, NOTE or WRONG), what was checked, and what was found.

    `remedy` is the command or change that fixes the fault, "" if there is none.
    """

    level: str
    what: str
    value: str
    remedy: str = ""

    def line(self) -> str:
        """Return the finding as one line of text."""
        return f"{self.level:<5}  {self.what:<9}  {self.value}" + (
            f"  -> {self.remedy}" if self.remedy else ""
        )
