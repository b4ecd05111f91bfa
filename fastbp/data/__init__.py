"""Data files and tables: readers, splits, preprocessing, and the digits that are shipped."""
