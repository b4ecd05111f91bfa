"""Estimators of tables for scikit-learn: the recipes of the command line, for data frames and arrays as they are.

Needs scikit-learn and pyarrow (extras ``sklearn`` and ``data``).
"""

from fastbp.kernels.compile.forks import imports as _imports

with _imports:
    try:
        import pyarrow as _pyarrow  # noqa: F401
        from sklearn.utils.validation import validate_data as _of_version_1_6  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "fastbp.tabular needs scikit-learn and pyarrow: pip install 'fastbp[sklearn,data]'"
        ) from error

    from fastbp.tabular._realmlp import RealMLPClassifier, RealMLPRegressor
    from fastbp.tabular._tabm import TabMClassifier, TabMRegressor

__all__ = ["RealMLPClassifier", "RealMLPRegressor", "TabMClassifier", "TabMRegressor"]
