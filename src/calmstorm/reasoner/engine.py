"""Continuous batching: one thread that steps all running requests of a local model together.

Requests join and leave at any step. A row that is done stays in its slot, and a later request that goes on from it
(after its code was run, or with a hint) feeds only the new tokens; one that shares a long beginning with any row copies
that part.

Not covered: more than one device, speculative decoding.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from calmstorm.errors import CalmstormError, InfrastructureError
from calmstorm.reasoner.cache import SlotCache
from calmstorm.reasoner.drawing import draw
from calmstorm.reasoner.planning import plan_step
from calmstorm.reasoner.protocol import CompletionStop, Sampling
from calmstorm.reasoner.qwen import QwenStepper
from calmstorm.reasoner.rows import Rows, Tokens
from calmstorm.reasoner.stops import Decode, StopTable

WORTH_COPYING = 16
"""Tokens of a common beginning from which copying beats reading in again."""
GROWTH = 256
"""The cache grows to multiples of this many positions."""


@dataclass(frozen=True)
class EngineSettings:
    """Bounds of the engine."""

    max_rows: int = 128
    """Rows decoded at once."""
    cache_bytes: int = 2 * 2**30
    """Keys and values of all slots together."""
    chunk_tokens: int = 1024
    """Prefix tokens read in per step, all requests together, so that a long prompt does not hold up the others."""
    threads: int | None = 1
    """CPU threads of the engine; None leaves torch's default. More than one is slower for models below about 50M."""


@dataclass
class EngineCounts:
    """What the engine has done since it was made."""

    steps: int = 0
    drawn: int = 0
    """Tokens drawn."""
    forwarded: int = 0
    """Tokens run through the model, drawn ones fed back included, gaps not."""
    reused: int = 0
    """Prefix tokens that did not have to be forwarded because they were still cached."""
    preempted: int = 0
    """Requests set aside for want of cache memory, and resumed later."""


@dataclass(eq=False)
class Drawn:
    """What a request came to."""

    token_ids: list[int]
    """End-of-turn token included."""
    logprobs: list[float]
    stop: CompletionStop


@dataclass(eq=False)
class Request:
    """One `generate` call on its way through the engine."""

    prefix: Tokens
    stop: tuple[str, ...]
    max_tokens: int
    sampling: Sampling
    key: int
    """Random stream."""
    deliver: Callable[[Drawn | CalmstormError], None]
    """Called once, from the engine's thread."""
    cancelled: bool = False
    before: tuple[Tokens, npt.NDArray[np.float32]] | None = field(default=None, repr=False)
    """Tokens and log-probabilities drawn before the request was preempted."""


class Engine:
    """The scheduler. `submit` may be called from any thread; everything else happens in the engine's own."""

    def __init__(self, stepper: QwenStepper, decode: Decode, eos_ids: frozenset[int], settings: EngineSettings) -> None:
        self._stepper = stepper
        self._settings = settings
        self._shape = stepper.cache_shape()
        per_slot = self._shape.bytes_per_position
        self.max_length = min(stepper.max_positions, settings.cache_bytes // per_slot - 1)
        self._stops = StopTable(decode, stepper.vocabulary)
        self._is_eos = np.zeros(stepper.vocabulary, np.bool_)
        self._is_eos[list(eos_ids)] = True
        capacity = min(2 * GROWTH, self.max_length)
        self._rows = Rows(self._slots_for(capacity), capacity)
        self._cache: SlotCache | None = None
        self._owners: dict[int, Request] = {}
        self._fresh: deque[Request] = deque()
        self._resuming: deque[Request] = deque()
        self._wake = threading.Condition()
        self._inbox: list[Request] = []
        self._forget = False
        self._closed = False
        self._failure: str | None = None
        self._thread: threading.Thread | None = None
        self.counts = EngineCounts()

    # ---------------------------------------------------------------- any thread

    def submit(self, request: Request) -> None:
        """Hands a request in.

        Raises:
            InfrastructureError: the engine has stopped.
        """
        with self._wake:
            if self._closed or self._failure:
                raise InfrastructureError(self._failure or "the local engine is closed: open the Reasoner again")
            self._inbox.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="calmstorm-engine", daemon=True)
                self._thread.start()
            self._wake.notify()

    def forget(self) -> None:
        """Drops everything cached, because the weights have changed; running requests go on with the new weights."""
        with self._wake:
            self._forget = True
            self._wake.notify()

    def close(self) -> None:
        """Stops the thread; requests still running fail."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._cache = None

    # ---------------------------------------------------------------- the engine's thread

    def _run(self) -> None:
        if self._settings.threads is not None:
            torch.set_num_threads(self._settings.threads)
        with torch.inference_mode():
            try:
                while self._receive():
                    self._admit()
                    self._step()
            except Exception as error:  # a failed step must not leave callers waiting for ever
                self._failure = f"the local engine stopped: {type(error).__name__}: {error}"
        self._abandon(self._failure or "the local engine was closed while the request was running")

    def _abandon(self, reason: str) -> None:
        with self._wake:
            left = [*self._owners.values(), *self._resuming, *self._fresh, *self._inbox]
            self._inbox.clear()
        self._owners.clear()
        self._resuming.clear()
        self._fresh.clear()
        for request in left:
            request.deliver(InfrastructureError(reason))

    def _receive(self) -> bool:
        """Takes in new requests, waiting when there is nothing to do; False when the engine is to stop."""
        with self._wake:
            while not (self._inbox or self._owners or self._resuming or self._fresh or self._closed or self._forget):
                self._wake.wait()
            arrived, self._inbox = self._inbox, []
            forget, self._forget = self._forget, False
            if self._closed:
                return False
        if forget:
            self._rows.cached[:] = 0
        for request in arrived:
            going_on = (self._rows.match(request.prefix, self._rows.known) == self._rows.known) & ~self._rows.active
            queue = self._resuming if (going_on & (self._rows.cached > 0)).any() else self._fresh
            queue.append(request)
        for slot, request in list(self._owners.items()):
            if request.cancelled:
                self._release(slot)
        return True

    # ---------------------------------------------------------------- admission

    def _admit(self) -> None:
        """Gives slots to waiting requests, those that go on from a retained row first."""
        places = min(self._settings.max_rows, self._rows.slots) - len(self._owners)
        if places > 1:
            # Neighbouring slots are attended to up to the longest of them, so neighbours should be alike.
            together = sorted((self._fresh.popleft() for _ in range(min(places, len(self._fresh)))), key=_length)
            self._fresh.extendleft(reversed(together))
        for queue in (self._resuming, self._fresh):
            deferred = []
            while queue and len(self._owners) < min(self._settings.max_rows, self._rows.slots):
                request = queue.popleft()
                if not request.cancelled and not self._place(request):
                    deferred.append(request)
                    if len(deferred) > self._settings.max_rows:
                        break
            queue.extendleft(reversed(deferred))

    def _place(self, request: Request) -> bool:
        """Finds a slot for one request; False when there is none, or a row is just reading in the same beginning."""
        sequence = request.prefix if request.before is None else np.concatenate((request.prefix, request.before[0]))
        if len(sequence) > self._rows.tokens.shape[1]:
            self._grow(len(sequence))
        rows = self._rows
        shared = rows.match(sequence, rows.known)
        reusable = np.minimum(np.minimum(shared, rows.cached), len(sequence) - 1)
        best = int(reusable.argmax())
        reuse = int(reusable[best])
        coming = int(np.where(rows.active, np.minimum(shared, len(sequence) - 1), 0).max())
        if coming - reuse >= WORTH_COPYING:
            return False
        goes_on = shared[best] == rows.known[best]
        if reuse and not rows.active[best] and (goes_on or (rows.spent[best] and 2 * reuse >= rows.cached[best])):
            slot = best
        else:
            copied = reuse >= WORTH_COPYING
            slot = rows.free_slot(keep=best if copied else -1)
            if slot < 0:  # only the row to copy from is left, or none at all
                slot, reuse = (best, reuse) if copied and not rows.active[best] else (-1, 0)
            elif copied:
                self._keys_and_values().copy(best, slot, reuse)
            else:
                reuse = 0
        if slot < 0:
            return False
        self._occupy(slot, request, sequence, reuse)
        return True

    def _occupy(self, slot: int, request: Request, sequence: Tokens, reuse: int) -> None:
        rows = self._rows
        rows.tokens[slot, : len(sequence)] = sequence
        rows.known[slot] = len(sequence)
        rows.cached[slot] = reuse
        rows.start[slot] = len(request.prefix)
        rows.end[slot] = len(request.prefix) + request.max_tokens
        rows.active[slot] = True
        rows.spent[slot] = False
        rows.touched[slot] = self.counts.steps
        rows.key[slot] = request.key
        rows.temperature[slot] = request.sampling.temperature
        rows.top_p[slot] = request.sampling.top_p
        rows.stop_set[slot] = self._stops.index(request.stop)
        if request.before is not None:
            rows.logprobs[slot, len(request.prefix) : len(sequence)] = request.before[1]
        self._owners[slot] = request
        self.counts.reused += reuse

    # ---------------------------------------------------------------- memory

    def _slots_for(self, capacity: int) -> int:
        """Slots that the memory allows at this capacity; twice the rows, so that as many wait with their cache kept."""
        affordable = self._settings.cache_bytes // ((capacity + 1) * self._shape.bytes_per_position)
        return max(1, min(2 * self._settings.max_rows, affordable))

    def _keys_and_values(self) -> SlotCache:
        if self._cache is None:
            self._cache = SlotCache(self._shape, self._rows.slots, self._rows.tokens.shape[1])
        return self._cache

    def _grow(self, length: int) -> None:
        """Makes room for sequences of `length` tokens, giving up slots where memory is short."""
        wanted = max(length, self._rows.tokens.shape[1] * 3 // 2)
        capacity = min(-(-wanted // GROWTH) * GROWTH, self.max_length)
        slots = self._slots_for(capacity)
        if slots < self._rows.slots:
            self._gather(sorted(self._owners, key=lambda slot: (-int(self._rows.known[slot]), slot)))
            for slot in [slot for slot in self._owners if slot >= slots]:
                self._preempt(slot)
        used = np.flatnonzero(self._rows.cached)
        self._keys_and_values().resize(slots, capacity, int(used.max(initial=-1)) + 1)
        self._rows = self._rows.resized(slots, capacity)

    def _preempt(self, slot: int) -> None:
        request = self._owners.pop(slot)
        rows = self._rows
        drawn = slice(int(rows.start[slot]), int(rows.known[slot]))
        request.before = (rows.tokens[slot, drawn].copy(), rows.logprobs[slot, drawn].copy())
        rows.active[slot] = False
        self._resuming.append(request)
        self.counts.preempted += 1

    def _gather(self, order: list[int]) -> None:
        """Moves the given slots to the front, in this order."""
        where = {slot: slot for slot in order}
        at = {slot: slot for slot in order}
        for target, origin in enumerate(order):
            source = where[origin]
            if source != target:
                self._swap(source, target)
                displaced = at.pop(target, None)
                at.pop(source, None)
                if displaced is not None:
                    where[displaced] = source
                    at[source] = displaced
            at[target] = origin

    def _swap(self, a: int, b: int) -> None:
        rows = self._rows
        self._keys_and_values().swap(a, b, int(max(rows.cached[a], rows.cached[b])))
        rows.swap(a, b)
        owners = self._owners.pop(a, None), self._owners.pop(b, None)
        if owners[0] is not None:
            self._owners[b] = owners[0]
        if owners[1] is not None:
            self._owners[a] = owners[1]

    def _compact(self) -> None:
        """Closes the gaps between active rows when they cost more than moving does."""
        active = np.flatnonzero(self._rows.active)
        count = len(active)
        if not count or active[-1] + 1 - count <= max(4, count // 8):
            return
        gaps = np.flatnonzero(~self._rows.active[:count])
        for gap, slot in zip(gaps, active[::-1], strict=False):
            self._swap(int(slot), int(gap))

    # ---------------------------------------------------------------- stepping

    def _step(self) -> None:
        if not self._owners:
            return
        rows = self._rows
        longest = int(rows.known[rows.active].max())
        if longest >= rows.tokens.shape[1]:
            self._grow(longest + 1)
            rows = self._rows
        self._compact()
        plan = plan_step(rows, self._shape, self._settings.chunk_tokens)
        logits = self._stepper.forward(plan.step, self._keys_and_values())
        self.counts.steps += 1
        self.counts.forwarded += int(plan.advance.sum())
        rows.cached[plan.fed] += plan.advance
        rows.touched[plan.fed] = self.counts.steps
        if plan.drawing.size:
            self._draw(plan.drawing, logits)

    def _draw(self, slots: npt.NDArray[np.int64], logits: torch.Tensor) -> None:
        """Draws a token for each of these slots and finishes the rows that are done."""
        rows = self._rows
        counters = rows.known[slots] - rows.start[slots]
        tokens, logprobs = draw(logits, rows.temperature[slots], rows.top_p[slots], rows.key[slots], counters)
        self.counts.drawn += len(slots)
        rows.tokens[slots, rows.known[slots]] = tokens
        rows.logprobs[slots, rows.known[slots]] = logprobs
        rows.known[slots] += 1
        ended = self._is_eos[tokens]
        full = rows.known[slots] >= rows.end[slots]
        broken = ~np.isfinite(logprobs)
        maybe = self._stops.candidates(rows.stop_set[slots], tokens)
        for index in np.flatnonzero(ended | full | broken | maybe):
            slot = int(slots[index])
            if broken[index]:
                error = InfrastructureError("the model gave logits that are not numbers: check its weights")
                self._release(slot).deliver(error)
            elif ended[index]:
                self._finish(slot, CompletionStop.END_OF_TURN)
            elif maybe[index] and self._stopped(slot):
                self._finish(slot, CompletionStop.STOP_STRING)
            elif full[index]:
                self._finish(slot, CompletionStop.LENGTH)

    def _stopped(self, slot: int) -> bool:
        rows = self._rows
        number, known = int(rows.stop_set[slot]), int(rows.known[slot])
        first = max(int(rows.start[slot]), known - self._stops.window(number))
        return self._stops.completed(number, rows.tokens[slot, first:known].tolist())

    def _finish(self, slot: int, stop: CompletionStop) -> None:
        rows = self._rows
        drawn = slice(int(rows.start[slot]), int(rows.known[slot]))
        result = Drawn(rows.tokens[slot, drawn].tolist(), rows.logprobs[slot, drawn].tolist(), stop)
        rows.spent[slot] = stop is not CompletionStop.STOP_STRING
        self._release(slot).deliver(result)

    def _release(self, slot: int) -> Request:
        """Ends a row's use; its cache is kept until the slot is needed."""
        self._rows.active[slot] = False
        return self._owners.pop(slot)


def _length(request: Request) -> int:
    return len(request.prefix)
