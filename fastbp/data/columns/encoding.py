"""What an encoder may do in one way or another; networks differ in what they are best told."""

from dataclasses import dataclass

from fastbp.data.columns.roles import MOST_ONE_HOT


@dataclass(frozen=True)
class Encoding:
    """How columns of a table become features, where that is a matter of choice.

    Attributes
    ----------
    most_one_hot : int, optional
        A category of up to so many values becomes a column of 0 and 1 for each, one of more a code of an embedding;
        None: every category becomes columns.
    missing_place : bool
        Whether a missing category is one more value if a training row has it. Else it is told as values are that
        training did not have: 0 in each column, code 0.
    quantiles : bool
        Whether numbers are brought to a normal distribution (`Quantiles`). Else they are scaled (`Scale`).
    scaled_flags : bool
        Whether what is of a fixed size, such as columns of 0 and 1, is scaled by its quartiles as numbers are.
    """

    most_one_hot: int | None = MOST_ONE_HOT
    missing_place: bool = True
    quantiles: bool = False
    scaled_flags: bool = False


USUAL = Encoding()
