"""The engine: lets Keras's own `fit` train on chosen samples and tells the sampler what they lost.

`Model.fit` calls `model.train_function(iterator)` for every step. The engine puts a function of its own there, which gets the
samples of the step, runs the model's own `train_step`, and gives the losses to the sampler.

There are two engines. `DrawingEngine`, in a file of its own, lets a sampler draw the samples, and `fit` iterates over nothing but
a look at their shapes. Who runs it calls `close`, also after an exception, so its function stays in place for a whole `fit`. The
callback `ImportanceSampling` chooses the samples out of the batch that `fit` brings. Nobody tells it of an exception, so its
function goes into place just before each step, and the first that it does is to put back what was there.
"""

import dataclasses
import functools
import time
from abc import ABC, abstractmethod

import keras

from importance_sampling.data.structures import form_of, take
from importance_sampling.fit.logs import DrawLogs, check_metrics
from importance_sampling.fit.resuming import Resuming
from importance_sampling.fit.waiting import said_if_slow
from importance_sampling.fit.weights import unweighted, weights_of_sum
from importance_sampling.importance.oracle import Oracle
from importance_sampling.model.finite import not_finite
from importance_sampling.model.replicas import check_divisible, in_scope, out_of_scope, replicas_of


class Engine(keras.callbacks.Callback, ABC):
    """Puts a train function of its own in place of the model's. A subclass says when, and where the draws come from.

    Args:
        hooks: `Hooks`.
        batch_size: b.
        logs: whether logs have what `DrawLogs` tells.

    Attributes:
        resuming: `Resuming` of the `fit` that runs.
        seconds: where the steps spent their time: dictionary of `"draw"`, `"read"`, `"step"` and `"update"`.
    """

    def __init__(self, hooks, batch_size, logs=False):
        super().__init__()
        self.seconds = {"draw": 0.0, "read": 0.0, "step": 0.0, "update": 0.0}
        self._hooks = hooks
        self._batch_size = batch_size
        self._with_logs, self._logs = logs, None
        self._found = None  # the train function that was there before
        self._sampler = self._step = None
        self._learn = None  # `update` of the sampler, out of scope
        self._due = False  # between the beginning of a batch and its step
        self._fit = self.resuming = None

    @property
    def sampler(self):
        """What chooses the samples; None where it is not made yet."""
        return self._sampler

    @abstractmethod
    def _draw(self, iterator):
        """The `Draw` of the next step; `iterator` is that of `fit`."""

    @abstractmethod
    def _passed(self, iterator):
        """Leaves out what the next step would be given, since that was done before a kill. Returns `(x, y)` of the same form.

        Raises:
            StopIteration: there is no more.
        """

    @abstractmethod
    def _train_function(self, iterator):
        """Stands in for the train function of the model. Returns the logs of the last step."""

    def on_train_begin(self, logs=None):
        left = getattr(self.model.train_function, "__self__", None)
        if isinstance(left, Engine) and left._due:  # by an exception in another callback, just before a step of an earlier `fit`
            left._restore()
        self._replicas = replicas_of(self.model)
        check_divisible(self._batch_size, self._replicas)
        self._scoped = in_scope()
        self._logs = DrawLogs() if self._with_logs else None
        self._said_before = self._shown = 0  # of the sentences about what the importance decided, in this fit and not shown yet
        if type(self.model).make_train_function is not keras.Model.make_train_function:
            raise ValueError(
                "`model.make_train_function` must be that of Keras, whose steps this library makes its own. "
                f"Received: one of {type(self.model).__name__}"
            )

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.train_function is None:
            raise ValueError("`model.compile` must not be called while `fit` runs. Received: a model compiled since it began")
        self._swap()
        self._due = True
        self._fit = getattr(self.model, "history", None)  # another object in every `fit`

    def on_epoch_begin(self, epoch, logs=None):
        self.resuming.begin_epoch(epoch)

    def on_train_batch_end(self, batch, logs=None):
        self.resuming.end_step()

    def on_epoch_end(self, epoch, logs=None):
        self.resuming.end_epoch()
        said = self._decisions[self._shown :]
        self._shown += len(said)
        for sentence in said if (self.params or {}).get("verbose") else ():
            print(sentence)

    def on_train_end(self, logs=None):
        if self._decisions != ():  # of an importance that decides
            self.model.history.decisions = list(self._decisions[self._said_before :])
        self.resuming.end()
        self.close()

    @property
    def _decisions(self):
        """What the importance has decided, sentences."""
        return self._sampler.importance.decisions

    def close(self):
        """Leaves the model as it was found. Also called when training ends by an exception."""
        self._restore()
        if self.resuming is not None:
            self.resuming.leave_as_found()

    def _swap(self):
        found = self.model.train_function
        other = getattr(found, "__self__", None)
        if other is self:
            return
        if isinstance(other, Engine) and other._due:
            raise ValueError("`callbacks` must have one ImportanceSampling. Received: a model that another one trains")
        self._found = found
        self.model.train_function = self._train_function

    def _restore(self):
        self._due = False
        if getattr(self.model and self.model.train_function, "__self__", None) is self:  # else it was compiled since
            self.model.train_function = self._found
        self._found = None

    def _outside(self, function):
        """The function, out of the scope of a strategy, if `fit` was called in one."""
        return functools.partial(out_of_scope, function) if self._scoped else function

    def _train(self, iterator, steps):
        """Runs the steps of one execution, fewer where the epoch ends. Returns the logs of the last."""
        logs = None
        for _ in range(steps):
            start = time.perf_counter()
            try:
                if self.resuming.passes_over:
                    logs = {**self.resuming.pass_over(*self._passed(iterator)), **(self._logs.last if self._logs else {})}
                    continue
                draw = self._draw(iterator)
            except StopIteration:
                self.resuming.check_end()
                if logs is None:
                    raise
                break
            try:
                logs = self._train_on(draw, start)
            except StopIteration as error:  # which would be taken for the end of the data
                raise RuntimeError("A step was ended by StopIteration, from a function of the model or of yours") from error
        return logs

    def _train_on(self, draw, start):
        """Runs the step of a draw, which was begun at `start`. Returns its logs."""
        drawn = time.perf_counter()
        batch = self._read(draw, self._sampler.steps_done)
        read = time.perf_counter()
        measured = draw.measured and self._sampler.importance.quantity is not None
        weights = weights_of_sum(draw) if self._step.sums else draw.weights
        alpha = weights if measured or weights is not draw.weights else None  # plain fit has none
        logs, (losses, gnorms) = self._step(*batch, alpha)
        losses = unweighted(losses, weights)
        trained = time.perf_counter()
        if measured:
            self._learn(draw, losses, None if gnorms is None else unweighted(gnorms, weights))
        if self._logs is not None:
            if self._replicas > 1:  # else means over replicas would be the logs of the epoch, since there are keys of ours
                of_epoch = self.model.get_metrics_result()
                logs = {name: of_epoch.get(name, value) for name, value in logs.items()}
            logs = self._logs.added_to(logs, draw, self._sampler.variance_ratio)
        spent = (drawn - start, read - drawn, trained - read, time.perf_counter() - trained)
        for name, duration in zip(self.seconds, spent):
            self.seconds[name] += duration
        if self._hooks.on_step is not None:  # without the pool, which a draw that is kept would keep alive
            self._hooks.on_step(dataclasses.replace(draw, read=lambda: batch), losses)
        self.resuming.stepped()
        return logs

    def _resume(self, get_state, set_state):
        """Goes on with a backup, where a callback asks for backups and there is one."""

        def states():
            logs = {"logs": self._logs.get_state()} if self._logs else {}
            return {"sampler": get_state(), "first": self._said_before, "shown": self._shown, **logs}

        def go_on(state):
            set_state(state["sampler"])
            self._said_before, self._shown = state["first"], state["shown"]
            if self._logs and "logs" in state:
                self._logs.set_state(state["logs"])

        self._said_before = self._shown = len(self._decisions)
        self.resuming = Resuming(self, self._batch_size, states, go_on)
        self.resuming.restore()

    def _read(self, draw, step):
        """The samples of a draw as they are trained on."""
        batch = draw.read()
        return batch if self._hooks.map is None else self._hooks.map(batch, self._sampler.map_seeds.rng(step))

    def _prepare_step(self, x, y, own):
        """Looks at a batch before the first step, and at the names of the metrics."""
        with said_if_slow("Looking whether the loss is one of single samples, and compiling the step ...", self.params):
            self._step.prepare(x, y, own, self._sampler.sizes(self._batch_size))
        if self._logs is not None:
            check_metrics(self.model)

    def _prepare_sampler(self, pool_size):
        """Lets the sampler compile what it needs."""
        with said_if_slow("Compiling what chooses the samples ...", self.params):
            self._sampler.prepare(pool_size, self._batch_size)

    def _check_finite(self, batch, places):
        """Refuses targets of a batch as it is read that are not finite and that the loss does not mask."""
        rows = not_finite(batch[1])
        if len(rows):
            x, y, _ = self._hooks.looked_at(take(batch, rows))
            self._outside(self._step.check_finite)(x, y, places[rows])

    def _example(self, batch, held_out=False):
        """A batch as the model will see it, before the first step.

        Raises:
            ValueError: `map` makes of it what the importance cannot score, or another form than held-out samples have.
        """
        example, oracle = self._hooks.looked_at(batch), isinstance(self._sampler.importance, Oracle)
        without = (
            "for an importance that scores by the model, which sees" if oracle else "with `validation_split`, which holds back"
        )
        if self._hooks.map and (oracle or held_out) and form_of(example[0]) != form_of(batch[0]):
            raise ValueError(
                f"`map` must keep the shape and type of x {without} the samples without it. "
                f"Received: {form_of(example[0])} for {form_of(batch[0])}"
            )
        return example
