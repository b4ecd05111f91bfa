"""The table of recipes by the names that the command line and the estimators know."""

from collections.abc import Mapping

from fastbp.tables.recipes import plain, realmlp, tabm
from fastbp.tables.recipes.recipe import Recipe

# A recipe for each task
PRESETS: dict[str, Mapping[str, Recipe]] = {
    "plain": plain.PLAIN,
    "realmlp": realmlp.TD,
    "realmlp-td-s": realmlp.TD_S,
    "tabm": tabm.MINI,
}
DEFAULT = "realmlp"  # what `fastbp train` does with a table where no other is asked for
