"""Continuous batching: one thread that steps all running requests of a local model together.

Requests join and leave at any step. A sequence whose request is done stays in its slot, and a later request that goes
on from it (after its code was run, or with a hint) computes only the new tokens; one that shares a long beginning with
any cached sequence copies that part.

Not covered: more than one device, speculative decoding.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from calmstorm.errors import InfrastructureError
from calmstorm.reasoner.engine.batch import plan_batch
from calmstorm.reasoner.engine.kv_cache import KVCache
from calmstorm.reasoner.engine.memory import USUAL_BYTES
from calmstorm.reasoner.engine.qwen3 import Qwen3Runner
from calmstorm.reasoner.engine.requests import EngineCounts, Request, RequestOutput
from calmstorm.reasoner.engine.sampler import Truncation, sample
from calmstorm.reasoner.engine.sequences import Sequences, Tokens
from calmstorm.reasoner.engine.stops import Decode, StopStrings
from calmstorm.reasoner.protocol import CompletionStop

MIN_COPIED_TOKENS = 16
"""Tokens of a common beginning from which copying is faster than computing them again."""
CAPACITY_STEP = 256
"""The cache grows to multiples of this many positions."""
FIRST_SLOTS = 16
"""Slots of the cache before more are needed."""


@dataclass(frozen=True)
class EngineSettings:
    """Bounds of the engine."""

    max_sequences: int = 128
    """Sequences decoded at once."""
    cache_bytes: int = USUAL_BYTES
    """Keys and values of all slots together; taken as sequences need it."""
    longest_bytes: int = 0
    """Keys and values of a single sequence that needs more than `cache_bytes`: then it runs alone."""
    prefill_tokens: int = 1024
    """Prefix tokens computed per step, all requests together, so that a long prompt does not hold up the others."""
    threads: int | None = 1
    """CPU threads of the engine; None leaves torch's default. More than one is slower for models below about 50M."""


class Scheduler:
    """Decides what runs. `submit` may be called from any thread; everything else happens in the scheduler's own."""

    def __init__(self, runner: Qwen3Runner, decode: Decode, eos_ids: frozenset[int], settings: EngineSettings) -> None:
        self.counts = EngineCounts()
        self._runner = runner
        self._decode = decode
        self._settings = settings
        self._spec = runner.cache_spec()
        self.bytes_per_position = self._spec.bytes_per_position
        self.memory = max(settings.cache_bytes, settings.longest_bytes)
        """Bytes that a single sequence may take."""
        self.max_length = min(runner.max_positions, self.memory // self.bytes_per_position - 1)
        self._is_eos = np.zeros(runner.vocabulary, np.bool_)
        self._is_eos[list(eos_ids)] = True
        self._stop_strings: dict[tuple[str, ...], StopStrings] = {}
        capacity = max(1, min(2 * CAPACITY_STEP, self.max_length))
        self._sequences = Sequences(min(FIRST_SLOTS, self._affordable_slots(capacity)), capacity)
        self._allocated: KVCache | None = None
        self._running: dict[int, Request] = {}
        """Requests by slot."""
        self._waiting: deque[Request] = deque()
        self._resuming: deque[Request] = deque()
        """Waiting requests whose beginning is cached or that were preempted: first to get a slot."""
        self._wake = threading.Condition()
        self._inbox: list[Request] = []
        self._cache_is_stale = False
        self._closed = False
        self._failure: str | None = None
        self._thread: threading.Thread | None = None

    # ---------------------------------------------------------------- any thread

    def submit(self, request: Request) -> None:
        """Hands a request in.

        Raises:
            InfrastructureError: The engine has stopped.
        """
        with self._wake:
            if self._closed or self._failure:
                raise InfrastructureError(self._failure or "the local engine is closed: open the Reasoner again")
            self._inbox.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="calmstorm-engine", daemon=True)
                self._thread.start()
            self._wake.notify()

    def reset_cache(self) -> None:
        """Drops everything cached, because the weights have changed; running requests go on with the new weights."""
        with self._wake:
            self._cache_is_stale = True
            self._wake.notify()

    def close(self) -> None:
        """Stops the thread; requests still running fail."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._allocated = None

    # ---------------------------------------------------------------- the scheduler's thread

    def _run(self) -> None:
        if self._settings.threads is not None:
            torch.set_num_threads(self._settings.threads)
        with torch.inference_mode():
            try:
                while self._receive():
                    self._admit()
                    self._step()
            except torch.OutOfMemoryError:
                self._failure = "the local engine ran out of GPU memory: set local.cache_gib or local.sequences lower"
            except Exception as error:  # a failed step must not leave callers waiting for ever
                self._failure = f"the local engine stopped: {type(error).__name__}: {error}"
        self._abandon(self._failure or "the local engine was closed while the request was running")

    def _abandon(self, reason: str) -> None:
        with self._wake:
            abandoned = [*self._running.values(), *self._resuming, *self._waiting, *self._inbox]
            for requests in (self._running, self._resuming, self._waiting, self._inbox):
                requests.clear()
        for request in abandoned:
            request.deliver(InfrastructureError(reason))

    def _receive(self) -> bool:
        """Takes in new requests, pausing when there is nothing to do; False when the engine is to stop."""
        with self._wake:
            while not (self._inbox or self._has_requests() or self._closed or self._cache_is_stale):
                self._wake.wait()
            arrived, self._inbox = self._inbox, []
            stale, self._cache_is_stale = self._cache_is_stale, False
            if self._closed:
                return False
        sequences = self._sequences
        if stale:
            sequences.cached[:] = 0
        for request in arrived:
            goes_on = (sequences.shared_prefix(request.prefix) == sequences.length) & ~sequences.running
            queue = self._resuming if (goes_on & (sequences.cached > 0)).any() else self._waiting
            queue.append(request)
        for slot, request in list(self._running.items()):
            if request.cancelled:
                self._release(slot)
        return True

    # ---------------------------------------------------------------- admission

    def _has_requests(self) -> bool:
        return bool(self._running or self._resuming or self._waiting)

    def _places(self) -> int:
        """Returns how many more requests may run."""
        slots = self._affordable_slots(self._sequences.capacity)
        return min(self._settings.max_sequences, slots) - len(self._running)

    def _admit(self) -> None:
        """Gives slots to waiting requests, those that go on from a retained sequence first."""
        places = self._places()
        if places > 1:
            # Neighbouring slots are attended to up to the longest of them, so neighbours should be of like length.
            first = [self._waiting.popleft() for _ in range(min(places, len(self._waiting)))]
            self._waiting.extendleft(sorted(first, key=lambda request: len(request.prefix))[::-1])
        for queue in (self._resuming, self._waiting):
            deferred = []
            while queue and self._places() > 0:
                request = queue.popleft()
                if not request.cancelled and not self._place(request):
                    deferred.append(request)
                    if len(deferred) > self._settings.max_sequences:
                        break
            queue.extendleft(reversed(deferred))

    def _place(self, request: Request) -> bool:
        """Finds a slot for a request; False when there is none, or another request is computing the same beginning."""
        tokens = request.prefix
        if request.drawn_before is not None:
            tokens = np.concatenate((tokens, request.drawn_before[0]))
        if len(tokens) > self._sequences.capacity:
            self._grow(len(tokens))
        sequences = self._sequences
        shared = sequences.shared_prefix(tokens)
        reusable = np.minimum(np.minimum(shared, sequences.cached), len(tokens) - 1)
        best = int(reusable.argmax())
        reuse = int(reusable[best])
        being_computed = int(np.where(sequences.running, np.minimum(shared, len(tokens) - 1), 0).max())
        if being_computed - reuse >= MIN_COPIED_TOKENS:
            return False
        retained = not sequences.running[best]
        goes_on = shared[best] == sequences.length[best]
        slot: int | None
        if reuse and retained and (goes_on or (sequences.ended[best] and 2 * reuse >= sequences.cached[best])):
            slot = best
        elif reuse < MIN_COPIED_TOKENS:
            slot, reuse = self._free_slot(), 0
        else:
            slot = self._free_slot(keep=best)
            if slot is not None:
                self._cache().copy(best, slot, reuse)
            elif retained:  # the sequence to copy from is the only one that can be given away
                slot = best
        if slot is None:
            return False
        self._occupy(slot, request, tokens, reuse)
        return True

    def _occupy(self, slot: int, request: Request, tokens: Tokens, reuse: int) -> None:
        sequences = self._sequences
        sequences.tokens[slot, : len(tokens)] = tokens
        sequences.length[slot] = len(tokens)
        sequences.cached[slot] = reuse
        sequences.prefix_length[slot] = len(request.prefix)
        sequences.max_length[slot] = len(request.prefix) + request.max_tokens
        sequences.running[slot] = True
        sequences.ended[slot] = False
        sequences.last_step[slot] = self.counts.steps
        sequences.stream[slot] = request.stream
        sequences.temperature[slot] = request.sampling.temperature
        sequences.top_p[slot] = request.sampling.top_p
        sequences.top_k[slot] = request.sampling.top_k
        sequences.min_p[slot] = request.sampling.min_p
        if request.drawn_before is not None:
            sequences.logprobs[slot, len(request.prefix) : len(tokens)] = request.drawn_before[1]
        self._stop_strings.setdefault(request.stop, StopStrings(request.stop, self._decode))
        self._running[slot] = request
        self.counts.reused += reuse

    # ---------------------------------------------------------------- memory

    def _affordable_slots(self, capacity: int) -> int:
        """Slots that the memory allows; twice the running ones, so that as many may be retained."""
        affordable = self._settings.cache_bytes // ((capacity + 1) * self._spec.bytes_per_position)
        return max(1, min(2 * self._settings.max_sequences, affordable))

    def _free_slot(self, keep: int | None = None) -> int | None:
        """Returns a slot to give away; new ones are made, where the memory allows them, before a retained one is lost.

        Args:
            keep: As for `Sequences.free_slot`.
        """
        sequences = self._sequences
        if not sequences.has_empty_slot():
            affordable = self._affordable_slots(sequences.capacity)
            if affordable > sequences.slots:
                slots = min(2 * sequences.slots, affordable)
                self._resize(slots, sequences.capacity, list(range(sequences.slots)))
        return self._sequences.free_slot(keep)

    def _cache(self) -> KVCache:
        if self._allocated is None:
            self._allocated = KVCache(self._spec, self._sequences.slots, self._sequences.capacity)
        return self._allocated

    def _grow(self, length: int) -> None:
        """Makes room for sequences of `length` tokens, giving up slots where memory is short."""
        sequences = self._sequences
        wanted = max(length, sequences.capacity * 3 // 2)
        capacity = min(-(-wanted // CAPACITY_STEP) * CAPACITY_STEP, self.max_length)
        slots = min(sequences.slots, self._affordable_slots(capacity))
        order = list(range(sequences.slots))
        if slots < sequences.slots:  # the longest running sequences stay, then retained ones as there is room
            order.sort(key=lambda slot: (not sequences.running[slot], -int(sequences.length[slot]), slot))
            for slot in order[slots:]:
                if slot in self._running:
                    self._preempt(slot)
            order = order[:slots]
        self._resize(slots, capacity, order)

    def _resize(self, slots: int, capacity: int, order: list[int]) -> None:
        """Changes the extents of the cache; slot `i` takes over what slot `order[i]` held."""
        sequences = self._sequences
        lengths = [min(int(sequences.cached[slot]), capacity) for slot in order]
        self._cache().resize(slots, capacity, zip(order, lengths, strict=True))
        self._sequences = sequences.resized(slots, capacity, order)
        self._running = {new: self._running[old] for new, old in enumerate(order) if old in self._running}

    def _preempt(self, slot: int) -> None:
        sequences = self._sequences
        drawn = sequences.drawn(slot)
        request = self._release(slot)
        request.drawn_before = (sequences.tokens[slot, drawn].copy(), sequences.logprobs[slot, drawn].copy())
        self._resuming.append(request)
        self.counts.preempted += 1

    def _close_gaps(self) -> None:
        """Moves running sequences into gaps between them when the gaps cost more than moving does."""
        running = np.flatnonzero(self._sequences.running)
        count = len(running)
        if running[-1] + 1 - count <= max(4, count // 8):
            return
        gaps = np.flatnonzero(~self._sequences.running[:count])
        for gap, slot in zip(gaps.tolist(), running[::-1].tolist(), strict=False):
            self._cache().swap(slot, gap, int(max(self._sequences.cached[[slot, gap]])))
            self._sequences.swap(slot, gap)
            self._running[gap] = self._running.pop(slot)

    # ---------------------------------------------------------------- stepping

    def _step(self) -> None:
        if not self._running:
            return
        longest = int(self._sequences.length[self._sequences.running].max())
        if longest >= self._sequences.capacity:
            self._grow(longest + 1)
        self._close_gaps()
        sequences = self._sequences
        batch = plan_batch(sequences, self._spec, self._settings.prefill_tokens)
        logits = self._runner.forward(batch, self._cache())
        self.counts.steps += 1
        self.counts.computed += int(batch.advance.sum())
        sequences.cached[batch.advancing] += batch.advance
        sequences.last_step[batch.advancing] = self.counts.steps
        if batch.sampled.size:
            self._sample(batch.sampled, logits)

    def _sample(self, slots: npt.NDArray[np.int64], logits: torch.Tensor) -> None:
        """Draws a token for each of these slots and finishes the requests that are done."""
        sequences = self._sequences
        counters = sequences.length[slots] - sequences.prefix_length[slots]
        tokens, logprobs = sample(
            logits,
            Truncation(sequences.top_p[slots], sequences.top_k[slots], sequences.min_p[slots]),
            sequences.temperature[slots],
            sequences.stream[slots],
            counters,
        )
        sequences.tokens[slots, sequences.length[slots]] = tokens
        sequences.logprobs[slots, sequences.length[slots]] = logprobs
        sequences.length[slots] += 1
        ended = self._is_eos[tokens]
        full = sequences.length[slots] >= sequences.max_length[slots]
        broken = ~np.isfinite(logprobs)
        for index, (slot, token) in enumerate(zip(slots.tolist(), tokens.tolist(), strict=True)):
            if broken[index]:
                error = InfrastructureError("the model gave logits that are not numbers: check its weights")
                self._release(slot).deliver(error)
            elif ended[index]:
                self._finish(slot, CompletionStop.END_OF_TURN)
            elif self._at_stop_string(slot, token):
                self._finish(slot, CompletionStop.STOP_STRING)
            elif full[index]:
                self._finish(slot, CompletionStop.LENGTH)

    def _at_stop_string(self, slot: int, token: int) -> bool:
        stops = self._stop_strings[self._running[slot].stop]
        if not stops.may_complete(token):
            return False
        drawn = self._sequences.drawn(slot)
        first = max(drawn.start, drawn.stop - stops.window)
        return stops.occur_in(self._sequences.tokens[slot, first : drawn.stop].tolist())

    def _finish(self, slot: int, stop: CompletionStop) -> None:
        sequences = self._sequences
        drawn = sequences.drawn(slot)
        output = RequestOutput(sequences.tokens[slot, drawn].tolist(), sequences.logprobs[slot, drawn].tolist(), stop)
        sequences.ended[slot] = stop is not CompletionStop.STOP_STRING
        self._release(slot).deliver(output)

    def _release(self, slot: int) -> Request:
        """Takes the request off its slot; what is cached there is kept until the slot is needed."""
        self._sequences.running[slot] = False
        return self._running.pop(slot)
