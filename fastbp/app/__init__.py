"""The command line: runs, reports, pictures."""
