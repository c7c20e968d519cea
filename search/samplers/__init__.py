"""Who proposes trials: a file a kind, all behind the contract of ``base.py``; ``kinds.py`` knows them."""
