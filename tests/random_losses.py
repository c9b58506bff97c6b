"""Random losses: of single samples, and others that lean on the batch in random ways."""

import keras
import numpy as np
from hypothesis import strategies as st

from tests.models import L

ops = keras.ops
MISSING = -9.0
N = 12


def _kept(y):
    return ops.cast(y > MISSING + 1, "float32")


ELEMENTWISE = {
    "square": lambda y, p: (y - p) ** 2,
    "absolute": lambda y, p: ops.abs(y - p),
    "log cosh": lambda y, p: ops.softplus(2 * (p - y)) - (p - y),
    "hinge": lambda y, p: ops.relu(1 - ops.sign(y) * p),
    "cubic": lambda y, p: ops.abs(p - y) ** 3 + 0.1,
    "masked": lambda y, p: ops.where(y > MISSING + 1, (y - p) ** 2, 0.0),
    "weighted by the target": lambda y, p: (1 + ops.abs(y)) * ops.abs(p - ops.cos(y)),
}


def per_sample(draw, rank):
    """A function of `(b, ...)` targets and outputs of so many dimensions with values `(b, ...)` of some rank."""
    name = draw(st.sampled_from(sorted(ELEMENTWISE)))
    each = ELEMENTWISE[name]
    last = draw(st.integers(0 if rank > 1 else 1, rank - 1)) if rank > 1 else 0  # how many of the last axes are reduced
    how = draw(st.sampled_from(["mean", "sum", "max", "mean of the known", "root"]))
    axes = tuple(range(rank - last, rank))

    def values(y, p):
        losses = each(y, p)
        if not axes:
            return losses
        if how == "mean of the known":
            return ops.sum(losses * _kept(y), axes) / ops.maximum(ops.sum(_kept(y), axes), 1.0)
        if how == "root":
            return ops.sqrt(ops.mean(losses, axes) + 0.01)
        return {"mean": ops.mean, "sum": ops.sum, "max": ops.max}[how](losses, axes)

    values.name = f"{name}, the {how} over {last} axes"
    return values


def _flat(values):
    """`(b,)`"""
    return ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)


def _back(values, one):
    """`(b,)` in the rank of values."""
    return ops.reshape(one, (-1, *[1] * (len(values.shape) - 1)))


def _pairs(p):
    p = ops.reshape(p, (ops.shape(p)[0], -1))
    return ops.mean((p[:, None] - p[None]) ** 2, axis=-1)


# name: (values, y, p) to values that lean on the batch
LEANING = {
    "plus a mean": lambda v, y, p: v + 0.01 * ops.mean(v),
    "minus the least": lambda v, y, p: v - ops.min(v),
    "by the largest": lambda v, y, p: v / (ops.max(ops.abs(v)) + 0.1),
    "by the known of the batch": lambda v, y, p: v * 12 / ops.maximum(ops.sum(ops.cast(y > 0, "float32")), 1.0),
    "the hardest half": lambda v, y, p: v * ops.cast(v >= ops.median(v), v.dtype),
    "softmax over the batch": lambda v, y, p: v * _back(v, ops.softmax(_flat(v))),
    "nearest other": lambda v, y, p: v + 0.1 * _back(v, ops.min(_pairs(p) + 1e3 * ops.eye(ops.shape(p)[0]), axis=1)),
    "furthest of like targets": lambda v, y, p: v + _back(v, ops.softplus(ops.max(_pairs(p) * ops.exp(-_pairs(y)), axis=1))),
    "centred outputs": lambda v, y, p: v * _back(v, _flat((p - ops.mean(p, axis=0, keepdims=True)) ** 2)),
    "centred targets": lambda v, y, p: v * _back(v, _flat((y - ops.mean(y, axis=0, keepdims=True)) ** 2)),
    "the neighbour": lambda v, y, p: v + 0.2 * ops.roll(v, 1, axis=0),
    "risk set": lambda v, y, p: (
        v + _back(v, ops.logsumexp(_flat(p)[None] - 1e3 * ops.cast(_flat(y)[None] < _flat(y)[:, None], "float32"), axis=1))
    ),
}


class Own(keras.Model):
    """A `compute_loss` of the user's own, with weights `(b,)` or `(b, 1)`."""

    def of(self, values, reduction, column):
        self.values, self.reduction, self.column = values, reduction, column
        return self

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = _flat(self.values(y, y_pred))
        each = each[:, None] if self.column else each
        each = each if sample_weight is None else each * sample_weight
        return ops.sum(each) if self.reduction == "sum" else ops.mean(each)


def shape_of(draw):
    return draw(st.sampled_from([(1,), (3,), (4, 2), (3, 4, 2), (2, 3, 2, 2)]))


def targets(draw, kind, shape, rng):
    """Targets that may say nothing in the rows that are looked at first."""
    y = rng.normal(size=(N, *shape))
    if kind == "missing":
        y[: draw(st.integers(1, N))] = MISSING
    elif kind == "zero":
        y[:] = 0
    elif kind == "classes":
        y = rng.integers(0, 2, (N, *shape))
    return y.astype("float32")


def heads(shapes):
    """A model with an output of each shape."""
    inputs = keras.Input((4,))
    outputs = {f"o{i}": L.Reshape(s, name=f"o{i}")(L.Dense(int(np.prod(s)))(inputs)) for i, s in enumerate(shapes)}
    return inputs, outputs


@st.composite
def problems(draw, leaning):
    """Makes a compiled model and data whose loss is of single samples, or leans on the batch."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    way = draw(st.sampled_from(["function", "object", "compute_loss", "several outputs"]))
    shapes = [shape_of(draw) for _ in range(draw(st.integers(2, 3)) if way == "several outputs" else 1)]
    reduction = (
        draw(st.sampled_from(["sum_over_batch_size", "sum"])) if way in ("object", "compute_loss") else "sum_over_batch_size"
    )
    functions = [per_sample(draw, len(shape) + 1) for shape in shapes]
    if leaning:
        at = draw(st.integers(0, len(shapes) - 1))
        functions[at] = _leaning(draw(st.sampled_from(sorted(LEANING))), functions[at])
    column = draw(st.booleans())
    kinds = [draw(st.sampled_from(["normal", "missing", "zero", "classes"])) for _ in shapes]
    y = {f"o{i}": targets(draw, kind, shape, rng) for i, (kind, shape) in enumerate(zip(kinds, shapes))}
    weights = draw(st.sampled_from([None, {name: draw(st.floats(0.2, 3.0)) for name in y}]))

    def make():
        inputs, outputs = heads(shapes)
        one = outputs["o0"]
        model = Own(inputs, one).of(functions[0], reduction, column) if way == "compute_loss" else keras.Model(inputs, one)
        model = keras.Model(inputs, outputs) if way == "several outputs" else model
        loss = {
            "function": functions[0],
            "object": _Object(functions[0], reduction),
            "compute_loss": None,
            "several outputs": dict(zip(outputs, functions)),
        }[way]
        model.compile(keras.optimizers.SGD(0.0), loss, loss_weights=weights if way == "several outputs" else None)
        return model, rng.normal(size=(N, 4)).astype("float32"), y if way == "several outputs" else y["o0"]

    make.name = f"{way} {reduction} of {[(f.name, s) for f, s in zip(functions, shapes)]}, targets {kinds}"
    return make


def _leaning(name, values):
    leaning = lambda y, p: LEANING[name](values(y, p), y, p)  # noqa: E731
    leaning.name = f"{values.name}, {name}"
    return leaning


class _Object(keras.losses.Loss):
    def __init__(self, values, reduction):
        super().__init__(reduction=reduction)
        self.values = values

    def call(self, y_true, y_pred):
        return self.values(y_true, y_pred)
