"""How patient a search is, in numbers."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient a search is."""

    silence: float = 120.0
    """Seconds without progress after which a worker may count as hung, at the least."""
    silence_factor: float = 5.0
    """The same, in lengths of an ordinary round; the greater of both holds."""
    grace: float = 5.0
    """Seconds that a search asked to end waits for a boundary."""
    starts: int = 3
    """How often in a row a worker may fail to start before it is given up."""
    killed_starts: int = 10
    """The same, where another process ended it each time."""
    failures: int = 3
    """How many trials in a row may kill their workers before the machine is to blame."""
    lock_news: float = 3.0
    """Seconds of waiting for another program's lock on the database before that is said."""
    poll: float = 0.05
    """Seconds to wait for news of all workers together."""
