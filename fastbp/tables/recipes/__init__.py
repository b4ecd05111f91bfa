"""Recipes: how columns are encoded, a network of their features made, and trained."""
