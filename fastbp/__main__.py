"""``python -m fastbp``: the command line."""

from fastbp.cli import main

if __name__ == "__main__":
    main()
