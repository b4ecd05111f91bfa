"""Products of matrices, and how they are cut into tasks."""
