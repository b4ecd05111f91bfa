"""scikit-learn's MLPClassifier and MLPRegressor with fastbp's compiled steps: change the import, keep the program.

They are subclasses of scikit-learn's classes, whose parameters, methods and fitted attributes they have, and draw the
same initial weights and the same orders from `random_state`. Needs scikit-learn 1.9 (extra ``sklearn``).
"""

from fastbp.kernels.compile.forks import imports as _imports

with _imports:
    try:
        from sklearn.callback import CallbackSupportMixin as _of_version_1_9  # noqa: F401
    except ImportError as error:
        raise ImportError("fastbp.sklearn needs scikit-learn 1.9: pip install 'fastbp[sklearn]'") from error

    from fastbp.sklearn._classifier import MLPClassifier
    from fastbp.sklearn._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
