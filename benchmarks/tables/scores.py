"""How wrong predictions are."""

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score

LEAST = 1e-15  # a probability of 0 counts as this


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of -log p of the class that was right, in nats."""
    p = np.clip(p, LEAST, 1)
    return float(-np.mean(np.log(p[np.arange(len(y)), y] / p.sum(1))))


def tempered(p: np.ndarray, temperature: float, rows: int) -> np.ndarray:
    """Return the probabilities of logits divided by a temperature, with one row in ``rows`` of all classes alike.

    The temperature was chosen on so many rows, which cannot tell of an error that is rarer.
    """
    logits = np.log(np.clip(p, LEAST, 1)) / temperature
    e = np.exp(logits - logits.max(1, keepdims=True))
    return (rows * e / e.sum(1, keepdims=True) + 1 / p.shape[1]) / (rows + 1)


def temperature(p: np.ndarray, y: np.ndarray) -> float:
    """Return the temperature with the least log loss, from 1/20 to 20."""
    found = minimize_scalar(lambda t: log_loss(tempered(p, np.exp(t), len(y)), y), bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))


def of_classes(p: np.ndarray, y: np.ndarray, p_validation: np.ndarray, y_validation: np.ndarray) -> dict[str, float]:
    """Score probabilities, also with the temperature that suits the validation rows."""
    calibrated = tempered(p, temperature(p_validation, y_validation), len(y_validation))
    scores = {
        "error": float(np.mean(p.argmax(1) != y)),
        "log_loss": log_loss(p, y),
        "log_loss_calibrated": log_loss(calibrated, y),
        "validation_error": float(np.mean(p_validation.argmax(1) != y_validation)),
    }
    return scores | ({"auc": float(roc_auc_score(y, p[:, 1]))} if p.shape[1] == 2 else {})


def of_numbers(z: np.ndarray, y: np.ndarray, z_validation: np.ndarray, y_validation: np.ndarray) -> dict[str, float]:
    """Score numbers."""
    rmse = float(np.sqrt(np.mean((z - y) ** 2)))
    return {
        "rmse": rmse,
        "r2": 1 - rmse**2 / float(np.var(y)),
        "validation_rmse": float(np.sqrt(np.mean((z_validation - y_validation) ** 2))),
    }
