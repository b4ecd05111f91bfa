"""What stands with each number of a column and says what it counts: "$" of "$1", "%" of "5 %"."""

import re
from typing import TYPE_CHECKING

from fastbp.data.columns.column import Column

if TYPE_CHECKING:
    import pyarrow

SIGNS = "$€£¥₹₩₽₺₫฿₴₦₱₪₡₲₵₸₼₾₿¢%‰°"  # may touch a number, and stand before it, as no letter may: "A1" is a code
_WITH_UNIT = re.compile(rf"[+-]?\s?([{SIGNS}])?\s?[+-]?[\d.,'’\s]*\d[.,]?(\s[^\W\d_][^\d,;:]{{0,15}}|\s?[{SIGNS}])?")


def find_unit(texts: "Column[pyarrow.Array]") -> str:
    """Return what stands with each of some texts beside a number, the same with all; ``""`` if nothing does.

    It is looked for in the first one: a sign such as those of money at either end, or a word behind a blank at the end.
    """
    first = next((block[0].as_py() for block in texts if len(block)), "")
    found = _WITH_UNIT.fullmatch(first)
    before, behind = found.groups(default="") if found else ("", "")
    unit = (before or behind).strip()
    if not unit or (before and behind):
        return ""
    return unit if all(without_unit(block, unit).null_count == 0 for block in texts) else ""


def without_unit(texts: "pyarrow.Array", unit: str) -> "pyarrow.Array":
    """Return texts without their unit; null where they have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    has_one = pc.ends_with(texts, unit if unit in SIGNS else f" {unit}")
    if unit in SIGNS:
        has_one = pc.or_(has_one, pc.match_substring_regex(texts, rf"^[+-]?\s?{re.escape(unit)}"))
    bare = pc.utf8_trim_whitespace(pc.replace_substring(texts, unit, "", max_replacements=1))
    return pc.if_else(has_one, bare, pa.scalar(None, texts.type))
