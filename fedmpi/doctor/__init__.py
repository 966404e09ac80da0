"""What can be wrong with a machine, and the command that mends it: small functions of plain facts.

Nothing here imports a library that may be missing, so that it can be told.
"""

from dataclasses import dataclass

OK, NOTE, WRONG = "ok", "note", "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis: level (OK, NOTE or WRONG), what was looked at, what was found.

    remedy is the command or the change that mends it, empty where nothing is to mend.
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
