"""How columns are written, as plain data and back."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fastbp.data.columns.dates import ORDERS, TimeForm
from fastbp.data.columns.labels import LabelForm
from fastbp.data.columns.numbers import THOUSANDS, NumberForm

Form = NumberForm | LabelForm | TimeForm
_FORMS: dict[str, type[Form]] = {"number": NumberForm, "label": LabelForm, "time": TimeForm}
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "decimal": (".", ","),
    "thousands": ("", *THOUSANDS),
    "words": ("text", "number", "boolean"),
    "order": tuple(ORDERS),
}
_LATER = {"unit"}  # what forms in files of earlier versions do not have


def form_from(state: Mapping[str, Any], *kinds: type[Form]) -> Any:
    """Make the form of one of these kinds that its `to_dict` described; ValueError if it is none."""
    values = dict(state)
    kind = _FORMS.get(str(values.pop("form", "")))
    names = {field.name for field in fields(kind)} if kind else set()
    if kind not in kinds or kind is None or not names - _LATER <= values.keys() <= names:
        raise ValueError(f"no form of a column: {dict(state)}")
    for name, value in values.items():
        right = type(value) is bool if name == "lenient" else value in _ALLOWED.get(name, (value,))
        if not right or (name != "lenient" and type(value) is not str):
            raise ValueError(f"no {name} of a column: {value!r}")
    return kind(**values)
