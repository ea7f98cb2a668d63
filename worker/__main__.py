"""``python -m worker`` is the same program as ``askrelay``."""

from worker.cli import main

if __name__ == "__main__":
    main()
