"""A model in Keras's words, and the same in fastbp's. Keras itself is not needed.

In Keras:

    model = keras.Sequential([
        keras.Input((64,)),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    stop = keras.callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
    history = model.fit(x, y, epochs=60, batch_size=64, validation_data=(x_val, y_val), callbacks=[stop])
    model.evaluate(x_test, y_test)
    model.predict(x_test)
    model.save("digits.keras")

Word for word: ``Dense(64, ...)`` names its inputs too, ``compile`` is the `Trainer`, a loss of logits says so in its
name, ``learning_rate`` is ``lr``; accuracy is counted without being asked for. Keras's ``kernel`` is the transpose of
``weight``, and its initial weights are ``init="glorot_uniform"``.

    python examples/keras_words.py
"""

import tempfile
from pathlib import Path

import numpy as np

import fastbp


def main(epochs=60):
    """Train, print and return what Keras's lines above would: the history and the figures of the test."""
    digits = fastbp.load_dataset("digits")
    x, x_val, y, y_val = fastbp.train_validation_split(digits.x_train / 16, digits.y_train, fraction=0.1, seed=0)
    x_test, y_test = digits.x_test / 16, digits.y_test

    model = fastbp.Sequential(
        fastbp.Dense(64, 128, activation="relu", init="glorot_uniform", rng=0),
        fastbp.Dense(128, 64, activation="relu", init="glorot_uniform", rng=1),
        fastbp.Dense(64, 10, init="glorot_uniform", rng=2),
    )
    trainer = fastbp.Trainer(model, loss="softmax_cross_entropy", optimizer=fastbp.Adam(lr=3e-3))
    stop = fastbp.EarlyStopping("val_loss", patience=10)
    history = trainer.fit(
        x, y, epochs=epochs, batch_size=64, validation_data=(x_val, y_val), callbacks=[stop], rng=0, progress=False
    )
    figures = trainer.evaluate(x_test, y_test)
    logits = model.predict(x_test)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "digits.safetensors")
        same = np.array_equal(fastbp.load(Path(folder) / "digits.safetensors").predict(x_test), logits)

    print(model.summary())
    print(f"{len(history['loss'])} epochs, val_loss {min(history['val_loss']):.3f} at best")
    print(f"test: loss {figures['loss']:.3f}, accuracy {figures['accuracy']:.1%}")
    return {"history": history, "figures": figures, "logits": logits, "same": same}


if __name__ == "__main__":
    main()
