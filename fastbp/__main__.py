"""``python -m fastbp``: the command line."""

from fastbp.app.cli import main

if __name__ == "__main__":
    main()
