"""What a cell of chaos came to: counts from outside, and whether the trouble really happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.judge import Judgement

#: The judge's broken promises, sorted into the columns of the table.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "lost": ("never_posted", "missing_replies"),
    "double posts": ("double_posts",),
    "split contacts": ("split_contacts",),
    "second reply ids": ("second_reply_ids", "differing_replies"),
    "out of order": ("out_of_order",),
    "wrong answers": ("wrong_answers",),
}


@dataclass(slots=True)
class Outcome:
    """One row of the table."""

    group: str
    cell: str
    #: How often the trouble was seen to happen; a cell that was not hit proves nothing.
    hits: int
    judgement: Judgement
    #: Broken promises that only this cell looks at, in words.
    other: list[str] = field(default_factory=list)
    #: Figures worth a look.
    note: str = ""
    duration_s: float = 0.0

    def counts(self) -> dict[str, int]:
        """Return the columns of broken promises."""
        return {
            column: sum(len(getattr(self.judgement, name)) for name in names)
            for column, names in COLUMNS.items()
        }

    @property
    def is_good(self) -> bool:
        """Whether the trouble was there and every promise was kept."""
        return self.hits > 0 and not self.judgement.broken() and not self.other

    def complaints(self) -> list[str]:
        """Return what is wrong, in words."""
        found = [f"{name}: {', '.join(who[:8])}" for name, who in self.judgement.broken().items()]
        return [*([] if self.hits else ["the trouble never happened"]), *found, *self.other]
