"""Networks of any kinds of layers as kernels train them, and the same in PyTorch and NumPy."""

import numpy as np

from fastbp.kernels import entries, losses
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.ops.fill import fill, fill_loss, fill_update
from fastbp.kernels.ops.kinds import DENSE, KINDS
from fastbp.kernels.ops.kinds.embedding import COLUMN, coded_of, embedding_table
from fastbp.kernels.ops.registry import Draw
from fastbp.kernels.run import frame, plan, predict, train

RESIDUAL, ACTIVATION, BLEND, PRELU = (KINDS[name] for name in ("residual", "activation", "blend", "prelu"))
MEMBERS, MEMBER_DENSE = KINDS["members"], KINDS["member_dense"]
# Those that users have a class of
PUBLIC = [kind for kind in KINDS.values() if kind.public]


def dense(ins, outs, activation="identity", bias=True, of=()):
    return plan.Layer(ins, outs, ACTIVATIONS[activation], bias, sources=of)


def of_kind(kind, width, *numbers, bias=None, of=()):
    """A layer of a kind of the table that has a class: its own numbers or the defaults, a bias where there may be."""
    if not numbers:
        numbers = tuple(n.none("f4") if n.default is None else n.default for n in kind.numbers)
    bias = kind.bias if bias is None else bias
    row = plan.Layer(width, width, bias=bias, kind=kind, sources=of, attributes=numbers)
    return row._replace(affine=bias or not kind.affine)


def layer_norm(width, bias=True, of=()):
    return of_kind(KINDS["layer_norm"], width, bias=bias, of=of)


def batch_norm(width, *numbers, bias=True, of=()):
    return of_kind(KINDS["batch_norm"], width, *numbers, bias=bias, of=of)


def dropout(width, p=0.3, of=()):
    return of_kind(KINDS["dropout"], width, p, of=of)


def embedding(features, cardinalities, dims, columns, of=()):
    table = embedding_table(features, cardinalities, dims, columns)
    outs = features - len(columns) + sum(dims)
    return plan.Layer(features, outs, kind=KINDS["embedding"], sources=of, table=table)


def periodic(ins, features, frequencies, outputs, of=()):
    numbers = float(features), float(frequencies)
    return plan.Layer(ins, ins + features * outputs, kind=KINDS["periodic"], sources=of, attributes=numbers)


def members(width, count, of=()):
    return plan.Layer(width, width, kind=MEMBERS, sources=of, attributes=(float(count),))


def member_dense(ins, outs, count, of=()):
    return plan.Layer(ins, outs, kind=MEMBER_DENSE, sources=of, attributes=(float(count),))


def own_of(layer):
    """What a layer has of its own, numbers or integers."""
    return layer.attributes if layer.table is None else layer.table


def residual(width, of, skip):
    return plan.Layer(width, width, kind=RESIDUAL, sources=(of, skip))


def activation(width, name, of=()):
    return plan.Layer(width, width, ACTIVATIONS[name], kind=ACTIVATION, sources=of)


def blend(width, one, two):
    return plan.Layer(width, width, kind=BLEND, sources=(one, two))


def prelu(width, slopes, of=()):
    return plan.Layer(width, width, kind=PRELU, sources=of, table=np.array([slopes]))


def in_torch(torch, kind, width, numbers, bias):
    """Return PyTorch's module of a layer in float64, with the parameters that it begins with."""
    options = {number.name: value for number, value in zip(kind.numbers, numbers, strict=True)}
    if kind.bias:
        options["affine" if kind.affine else "bias"] = bias
    if kind.depth(width):
        options |= {kind.public.features: width, "dtype": torch.float64}
    return getattr(torch.nn if hasattr(torch.nn, kind.public.torch) else torch_modules(), kind.public.torch)(**options)


def torch_modules():
    from fastbp.nn import torch_modules

    return torch_modules


def embedded_in_torch(torch, x, w, table):
    """Return what PyTorch's embeddings make of x, their tables one after the other in w."""
    coded, found = coded_of(table), []
    for column, cardinality, place, dim in coded.tolist():
        weight = w[0, place : place + cardinality * dim].reshape(cardinality, dim)
        found.append(torch.nn.functional.embedding(x[:, column].long(), weight))
    others = sorted(set(range(x.shape[1])) - set(coded[:, COLUMN].tolist()))
    return torch.cat([x[:, others], *found], dim=1)


def waves_in_torch(torch, x, w, n, k):
    """Return what numerical embeddings of n features in k waves make of x, in PyTorch."""
    frequency, phase, rest = w[:k], w[k : 2 * k], w[2 * k :]
    outputs = len(rest) // (k + 1)
    waves = torch.cos(2 * torch.pi * frequency * x[:, None, :n] + phase)
    found = torch.einsum("rqi,qji->rji", waves, rest[:-outputs].reshape(k, outputs, n)) + rest[-outputs:]
    return torch.cat([x, found.reshape(len(x), -1)], dim=1)


def members_in_torch(torch, x, w, layer):
    """Return the members of each row, or what the dense layer of each makes of them, in PyTorch."""
    k, ins = int(layer.attributes[0]), layer.in_features
    if layer.kind is MEMBERS:
        return (x[:, None] * w).reshape(-1, ins)
    found = torch.einsum("rki,kio->rko", x.reshape(-1, k, ins), w[: k * ins].reshape(k, ins, -1)) + w[k * ins :]
    return found.reshape(len(x), -1)


class Network:
    """A network, and all that training it takes: softmax cross-entropy of class labels, SGD or Adam."""

    def __init__(self, layers, dtype, *, batch=32, rng=0, by_rows=None, code=updates.SGD, seed=7, lr=0.1):
        rng, self.layers, self.batch = np.random.default_rng(rng), layers, batch
        self.dtype = dtype = np.dtype(dtype)
        self.plan, self.layout = plan.make_plan(layers, dtype.itemsize, batch, train=True)
        if by_rows is not None and by_rows != self.layout[plan.BY_ROWS]:
            small, plan.SMALL = plan.SMALL, 1 << 40 if by_rows else 0
            self.plan, self.layout = plan.make_plan(layers, dtype.itemsize, batch, train=True)
            plan.SMALL = small
        fill(self.plan, dtype, train=True)
        size = sum(layer.parameters for layer in layers)
        self.params, self.grads = np.zeros(size, dtype), np.full(size, np.nan, dtype)
        self.state = np.zeros(updates.STATE_ARRAYS[code] * size, dtype)
        self.hyper = np.zeros(updates.HYPER_SIZE)
        self.hyper[[updates.FIRST_POWER, updates.SECOND_POWER]] = 1.0
        self.hyper[[updates.LR, updates.FIRST, updates.SECOND, updates.EPS]] = lr, 0.9, 0.99, 1e-3
        self.settings = np.zeros(frame.SETTINGS_SIZE, np.int64)
        self.settings[[frame.LOSS, frame.OPTIMIZER, frame.BATCH, frame.SEED]] = losses.SOFTMAX_LABELS, code, batch, seed
        self.each, self.members = plan.members_of(layers), plan.members_of(layers)[-1]
        self.outs = layers[-1].out_features * self.members
        fill_loss(self.settings, layers[-1].out_features, dtype, members=self.members)
        fill_update(self.settings, dtype, clips=False)
        self.options = np.array([losses.MEAN, -100, 0.0, 1e-6, 0.0])
        # What no step has written must not matter.
        self.work = np.full(self.layout[plan.SIZE], np.nan, dtype)
        self.rows, self.record = np.full((frame.ROWS_OF_LOSS, batch), np.nan), np.zeros((frame.RECORD_ROWS, 1))
        self.labels, self.class_weight = np.zeros(batch, np.int64), np.zeros(0, dtype)
        self.buffers = np.zeros(sum(layer.buffers for layer in layers), np.int64)
        for views in self.buffers_of_layers():
            for value, buffer in views:
                value[...] = buffer.initial if buffer.counts else buffer.initial + 0.3 * rng.random(value.shape)
        plan.place_buffers(self.plan, self.buffers)
        for layer, (w, b) in zip(layers, self.parameters(), strict=True):
            if layer.kind is DENSE:
                w[...] = rng.standard_normal(w.shape) * max(1, layer.in_features) ** -0.5
                b[...] = 0.1 * rng.standard_normal(b.shape)
            else:
                w[...], b[...] = 1 + 0.2 * rng.standard_normal(w.shape), 0.2 * rng.standard_normal(b.shape)
            if layer.kind is MEMBER_DENSE:
                w -= 1
                w *= 5 * layer.in_features**-0.5
            if layer.kind.name == "periodic":
                w[: int(layer.attributes[1])] *= 0.1  # a wave magnifies the rounding of x by its frequency
        self.x = rng.standard_normal((batch, layers[0].in_features)).astype(dtype)
        self.y = rng.integers(0, layers[-1].out_features, batch)
        if layers[0].table is not None:
            for column, cardinality, *_ in coded_of(layers[0].table):
                self.x[:, column] = rng.integers(0, cardinality, batch)
        self.bind()

    def bind(self):
        self.frame = frame.Frame(
            self.plan, self.layout, self.settings, self.hyper, self.options, self.params, self.grads, self.state,
            self.work, self.rows, self.class_weight, self.labels, self.record,
        )  # fmt: skip
        self.addresses = self.frame.addresses()

    def parameters(self, flat=None):
        """Return W, (depth, out), and b of each layer as views of a flat array; empty without."""
        flat, start, found = self.params if flat is None else flat, 0, []
        for layer in self.layers:
            depth, across, *_ = layer.sizes
            size = depth * across
            w, end = flat[start : start + size].reshape(depth, across), start + layer.parameters
            found.append((w, flat[start + size : end]))
            start = end
        return found

    def buffers_of_layers(self):
        """Return the buffers of each layer as views, each beside its entry in the table."""
        start, found = 0, []
        for layer in self.layers:
            cells = self.buffers[start : start + layer.buffers].reshape(-1, layer.out_features)
            start += layer.buffers
            found.append(
                [
                    (cell[:1].reshape(()) if buffer.counts else cell.view(self.dtype)[: layer.out_features], buffer)
                    for cell, buffer in zip(cells, layer.kind.buffers, strict=False)
                ]
            )
        return found

    def step(self, tasks=1, x=None, y=None):
        """Make a step; return the loss before its update."""
        self.settings[frame.TASKS] = tasks
        train.train_on_labels(self.addresses, self.x if x is None else x, self.y if y is None else y)
        return self.record[0, 0]

    def by_hand(self, dout, tasks=1, dx=None):
        """Run the network forward and back from a gradient of its output; return the output."""
        out = np.full((self.batch, self.outs), np.nan, self.dtype)
        entries.forward_batch(self.addresses, self.x, out, tasks)
        self.addresses[frame.DX] = 0 if dx is None else dx.ctypes.data
        entries.backward_batch(self.addresses, self.x, dout, tasks)
        self.addresses[frame.DX] = 0
        return out

    def predict(self, tasks=1):
        table, layout = plan.make_plan(self.layers, self.dtype.itemsize, self.batch, train=False)
        fill(table, self.dtype, train=False)
        plan.place_buffers(table, self.buffers)
        out = np.full((self.batch, self.outs), np.nan, self.dtype)
        work = np.full(layout[plan.SIZE], np.nan, self.dtype)
        predict.predict(table, self.params, work, self.x, out, tasks)
        return out

    def draw(self, i, place=0):
        return Draw(int(self.settings[frame.SEED]), int(self.settings[frame.COUNTER]), i, place)

    def twin(self, training=True):
        """Return the output in float64, by the twins."""
        outputs = {-1: self.x.astype(np.float64)}
        buffers = self.buffers_of_layers()
        for i, (layer, (w, b)) in enumerate(zip(self.layers, self.parameters(), strict=True)):
            inputs = [outputs[s] for s in plan.sources_of(layer, i)]
            w, b = w.astype(np.float64), b.astype(np.float64) if layer.bias else 0.0
            kind = layer.kind
            if training or not (kind.only_training or kind.prediction):
                a = kind.twin(inputs, w, b, own_of(layer), self.draw(i))
            elif kind.only_training:
                a = inputs[0]
            else:
                own = [value.astype(np.float64) for value, _ in buffers[i]]
                a = kind.prediction.twin(inputs, w, b, layer.attributes, own)
            outputs[i] = layer.activation.value(a)
        return outputs[len(self.layers) - 1].reshape(self.batch, self.outs)

    def torch_gradients(self, torch):
        """Return loss, gradients as the network's flat array, and that of x, by PyTorch in float64."""
        F, real = torch.nn.functional, torch.float64
        outputs = {-1: torch.tensor(self.x, dtype=real, requires_grad=True)}
        leaves = []
        for i, (layer, (w, b)) in enumerate(zip(self.layers, self.parameters(), strict=True)):
            w, b = (torch.tensor(v, dtype=real, requires_grad=True) for v in (w, b))
            leaves.append((w, b))
            inputs = [outputs[s] for s in plan.sources_of(layer, i)]
            if layer.kind is DENSE:
                a = inputs[0] @ w + (b if layer.bias else 0)
            elif layer.kind is RESIDUAL:
                a = inputs[0] + inputs[1]
            elif layer.kind is PRELU:
                a = F.prelu(inputs[0], w[0])
            elif layer.table is not None:
                a = embedded_in_torch(torch, inputs[0], w, layer.table)
            elif layer.kind.name == "periodic":
                a = waves_in_torch(torch, inputs[0], w, *map(int, layer.attributes))
            elif layer.kind in (MEMBERS, MEMBER_DENSE):
                a = members_in_torch(torch, inputs[0], w, layer)
            elif layer.kind is BLEND:
                a = w[0] * inputs[0] + (1 - w[0]) * inputs[1]
            elif layer.kind is ACTIVATION:
                a = inputs[0]
            elif layer.kind.draws:
                ones = np.ones((self.batch * self.each[i], layer.out_features))
                mask = layer.kind.twin([ones], None, None, layer.attributes, self.draw(i))
                a = inputs[0] * torch.tensor(mask, dtype=real)
            else:
                module = in_torch(torch, layer.kind, layer.out_features, layer.attributes, layer.bias)
                of_module = {"weight": w[0], "bias": b} if layer.bias else {"weight": w[0]} if w.numel() else {}
                a = torch.func.functional_call(module, of_module, inputs[0])
            activation = getattr(torch.nn, layer.activation.torch)(**layer.activation.torch_options)
            outputs[i] = activation(a)
        loss = F.cross_entropy(outputs[len(self.layers) - 1], torch.tensor(np.repeat(self.y, self.members)))
        loss.backward()
        flat = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for pair in leaves for t in pair]
        dx = outputs[-1].grad
        return loss.item(), np.concatenate([a.reshape(-1) for a in flat]), dx.numpy() if dx is not None else None
