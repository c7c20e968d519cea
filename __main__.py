"""``python -m loratune`` is ``tune``."""

from .cli import main

if __name__ == "__main__":
    main()
