"""TabM-mini of the package `tabm`, in the loop of its own example."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import tabm
import torch
from sklearn.preprocessing import OrdinalEncoder, QuantileTransformer
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.tables.data import Split
from benchmarks.tables.methods import Asked, Predict

VERSION = version("tabm")
BATCH, PATIENCE, EVALUATED_AT_ONCE = 256, 16, 8096
Part = dict[str, torch.Tensor]


class Encoder:
    """Numbers by their quantiles, as the example has them, missing ones 0 and told; categories as codes."""

    def __init__(self, x: pd.DataFrame) -> None:
        self.codes = [name for name in x if x[name].dtype == "category"]
        self.numbers = [name for name in x if name not in self.codes]
        self.told = [name for name in self.numbers if x[name].isna().any()]
        noise = np.random.default_rng(0).normal(0.0, 1e-5, (len(x), len(self.numbers)))
        quantiles = max(min(len(x) // 30, 1000), 10)
        self.by_quantile = QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", subsample=10**9)
        self.by_code = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        self.by_quantile.fit(x[self.numbers].to_numpy() + noise)
        if self.codes:
            self.by_code.fit(x[self.codes])

    def transform(self, x: pd.DataFrame) -> Part:
        """Return the tensors of a part."""
        scaled = np.nan_to_num(self.by_quantile.transform(x[self.numbers].to_numpy()))
        numbers = np.column_stack([scaled, x[self.told].isna()]).astype(np.float32)
        part = {"x_num": torch.from_numpy(numbers)}
        if self.codes:
            part["x_cat"] = torch.from_numpy(self.by_code.transform(x[self.codes]).astype(np.int64) + 1)
        return part

    @property
    def cardinalities(self) -> list[int]:
        """How many codes each category has."""
        return [len(found) + 1 for found in self.by_code.categories_] if self.codes else []


def outputs(model: torch.nn.Module, part: Part) -> torch.Tensor:
    """Return the mean of the members: of their numbers, or of their probabilities."""
    model.eval()
    with torch.inference_mode():
        rows = torch.arange(len(part["x_num"])).split(EVALUATED_AT_ONCE)
        z = torch.cat([model(**{name: value[chosen] for name, value in part.items()}) for chosen in rows])
    return (z.softmax(-1) if z.shape[-1] > 1 else z).mean(1)


def fit(split: Split, asked: Asked) -> Predict:
    """Fit on batches that all members share."""
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    encoder = Encoder(split.x_train)
    train, validation = encoder.transform(split.x_train), encoder.transform(split.x_validation)
    shift, scale = (0.0, 1.0) if split.classes else (split.y_train.mean(), split.y_train.std())
    y = torch.from_numpy(split.y_train if split.classes else ((split.y_train - shift) / scale).astype(np.float32))
    model = tabm.TabM.make(
        n_num_features=train["x_num"].shape[1],
        cat_cardinalities=encoder.cardinalities,
        d_out=len(split.classes) or 1,
        arch_type="tabm-mini",
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)
    loss_of = cross_entropy if split.classes else lambda z, y: mse_loss(z.squeeze(-1), y)

    def wrong() -> float:
        z = outputs(model, validation).numpy()
        if split.classes:
            return float(np.mean(z.argmax(1) != split.y_validation))
        return float(np.mean((z[:, 0] * scale + shift - split.y_validation) ** 2))

    best, kept, left, epoch = float("inf"), model.state_dict(), PATIENCE, 0
    while left >= 0 if asked.epochs is None else epoch < asked.epochs:
        model.train()
        for rows in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            z = model(**{name: value[rows] for name, value in train.items()})
            loss_of(z.flatten(0, 1), y[rows].repeat_interleave(z.shape[1])).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        epoch, now = epoch + 1, wrong()
        left = PATIENCE if now < best else left - 1
        if now < best:
            best, kept = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)

    def predict(x: pd.DataFrame) -> np.ndarray:
        z = outputs(model, encoder.transform(x)).numpy().astype(np.float64)
        return z if split.classes else z[:, 0] * scale + shift

    return predict


METHODS = {"tabm TabM-mini": fit}
