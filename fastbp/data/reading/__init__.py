"""Readers of tables: which table does a file hold."""
