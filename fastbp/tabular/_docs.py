"""What docstrings of estimators say of parameters and attributes that all of them have."""

from typing import TypeVar

T = TypeVar("T")

# The numbers of a recipe; after them come those of its own
NUMBERS = """hidden : sequence of int, optional
        Sizes of the hidden layers. It and the following are the preset's where they are None.
    activation : str, optional
        Of the hidden layers.
    lr, weight_decay, dropout : float, optional
        Learning rate, weight decay, and the probability with which a number of a hidden layer is dropped.
    epochs, batch_size : int, optional
        How often to go through the rows, and rows of a step.
    patience : int, optional
        Stop after so many epochs without a better one; without it never.
    validation_fraction : float, default 0.2
        The part of the rows that is held out, of each class the same: the network ends with the parameters of the epoch
        that is best there, by the accuracy or the mean squared error. With 0 it ends with those of the last epoch."""

SHARED = """categorical, numeric, drop : sequence of str, optional
        Columns of a data frame that are categories, numbers, or left out, where the rules of ``fastbp describe`` should
        not decide.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.
    n_jobs : int, optional
        How many threads to use, -1 for all; without it as many as `fastbp.get_num_threads` says. It changes no result.
    callbacks : iterable of Callback, optional
        As of `fastbp.Trainer.fit`.
    verbose : bool, default False
        Whether to show progress, as `fastbp.Trainer.fit` does.
    random_state : int or numpy.random.RandomState, optional
        Of the rows held out, first parameters, orders and dropout: the same number gives the same bits."""

ATTRIBUTES = """model_ : TableModel
        Encoder, network and answers; ``model_.save(path)`` writes a file that `fastbp.TableModel.load` predicts from.
    history_ : History
        The figures of each epoch.
    best_epoch_, n_iter_ : int
        The epoch whose parameters the network has, counted from 1, and how many were made.
    n_features_in_, feature_names_in_
        As in scikit-learn; the latter of a data frame."""


def with_shared(cls: T) -> T:
    """Put these texts where the docstring of a class has their names in braces."""
    if cls.__doc__:  # none under -OO
        for name, text in (("numbers", NUMBERS), ("shared", SHARED), ("attributes", ATTRIBUTES)):
            cls.__doc__ = cls.__doc__.replace(f"{{{name}}}", text)
    return cls
