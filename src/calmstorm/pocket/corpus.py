"""The pre-training corpus: an endless, reproducible stream of tokenised problems with traces.

The stream comes in chunks; chunk `i` depends on the seed and on `i` alone, so that training can stop anywhere and go
on. Every script in a trace is really run, by CBC, and a problem is dropped when the faithful script does not
reproduce the optimum found by HiGHS: the two solvers have to agree.

The scripts are our own, so they run in this process; model-written code never does.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import random
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calmstorm.pocket.flaws import FLAW_RATES, NO_FLAWS
from calmstorm.pocket.plan import plan_of
from calmstorm.pocket.traces import Trace, read_result, write_trace
from calmstorm.problems.generator import FAMILIES, Side, draw, side_of
from calmstorm.records import Author, Execution, ExecutionStatus, agrees
from calmstorm.rollout.output_block import output_block
from calmstorm.settings import RolloutLimits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 240
"""Problems drawn for a chunk."""
TRACES = 2
"""Traces written for each problem."""
PROMPT_WEIGHT = 0.1
"""Loss weight of prompt tokens; a little of it teaches the language of problems."""
MAX_TOKENS = 900
"""Longer documents are left out."""
HINTED_SHARE = 0.45
"""Share of traces with hints."""
EXERCISES = 160
"""Copying exercises in each of the first `EXERCISE_CHUNKS` chunks."""
EXERCISE_CHUNKS = 36


@dataclass(frozen=True)
class Document:
    """A tokenised problem with its trace."""

    token_ids: NDArray[np.int64]
    """Shape (T,)."""
    weights: NDArray[np.float32]
    """Loss weight of each token as a target, shape (T,): 0 for execution output and hints."""


def run_in_process(script: str) -> str:
    """Runs a script of our own and returns its output block, exactly as the rollout loop would show it."""
    stdout = io.StringIO()
    status, stderr = ExecutionStatus.OK, ""
    try:
        with contextlib.redirect_stdout(stdout), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(script, "script.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text, see above
    except Exception as error:
        status = ExecutionStatus.ERROR
        stderr = "".join(
            traceback.format_exception(type(error), error, error.__traceback__.tb_next if error.__traceback__ else None)
        )
    execution = Execution(status=status, stdout=stdout.getvalue(), stderr=stderr, wall_seconds=0.0, tier="unsafe")
    return output_block(execution, RolloutLimits().output_characters)


def traces(seed: int, chunk: int, sizes: tuple[int, ...]) -> Iterator[tuple[str, Trace]]:
    """Yields the problem texts and traces of a chunk."""
    rng = random.Random(f"corpus/{seed}/{chunk}")
    families = list(FAMILIES)
    for index in range(CHUNK):
        family = families[index % len(families)]
        case, optimum = draw(rng, family, rng.choice(sizes))
        if side_of(case.question) is not Side.PRETRAIN:
            continue
        run = functools.cache(run_in_process)  # the traces of a problem share most of their scripts
        status, value = read_result(run(plan_of(case).script()))
        if status != "Optimal" or value is None or not agrees(value, optimum, 1e-4):
            continue
        for _ in range(TRACES):
            hints = rng.choice((0.4, 0.6, 0.9)) if rng.random() < HINTED_SHARE else 0.0
            rates = NO_FLAWS if rng.random() < 0.04 else FLAW_RATES[family]
            yield case.question, write_trace(rng, case, optimum, rates, run, hints=hints)


def encode(tokenizer: PreTrainedTokenizerBase, trace: Trace, *, prompt: str) -> Document:
    """Tokenises a document part by part, so that the boundaries are those of a rollout.

    Args:
        tokenizer: A Hugging Face tokenizer.
        trace: The response.
        prompt: The rendered prompt.
    """
    ids: list[int] = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    weights = [PROMPT_WEIGHT] * len(ids)
    for author, text in trace.segments:
        part = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += part
        weights += [1.0 if author is Author.REASONER else 0.0] * len(part)
    ids.append(tokenizer.eos_token_id)
    weights.append(1.0)
    return Document(np.array(ids, dtype=np.int64), np.array(weights, dtype=np.float32))


def copying_exercise(rng: random.Random, vocabulary: int, digits: list[int], reserved: int) -> Document:
    """Returns a random token sequence that is repeated, learnt from its first repetition on.

    Solving is mostly copying the right number. A model this small learns to copy (look for what followed last time)
    much sooner when some documents hold nothing else.

    Args:
        rng: Draws everything.
        vocabulary: Number of tokens.
        digits: Ids of the digits; every other token is one.
        reserved: Ids below this are special and not used.
    """
    length = rng.randint(12, 60)
    once = [rng.choice(digits) if rng.random() < 0.5 else rng.randrange(reserved, vocabulary) for _ in range(length)]
    times = rng.choice((2, 3, 4))
    weights = [0.0] * length + [1.0] * (length * (times - 1))
    return Document(np.array(once * times, dtype=np.int64), np.array(weights, dtype=np.float32))


def chunk_documents(tokenizer_path: str, seed: int, chunk: int, sizes: tuple[int, ...]) -> list[Document]:
    """Returns the tokenised documents of a chunk; runs in a worker process."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    documents = []
    if chunk < EXERCISE_CHUNKS:
        rng = random.Random(f"exercises/{seed}/{chunk}")
        digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
        assert isinstance(digits, list)  # noqa: S101 - a list goes in, a list comes out
        reserved = len(tokenizer.all_special_ids) + 3
        documents = [copying_exercise(rng, len(tokenizer), digits, reserved) for _ in range(EXERCISES)]
    for question, trace in traces(seed, chunk, sizes):
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        document = encode(tokenizer, trace, prompt=str(prompt))
        if len(document.token_ids) <= MAX_TOKENS:
            documents.append(document)
    return documents


def sizes_of(chunk: int) -> tuple[int, ...]:
    """Returns the problem sizes of a chunk: small ones first, then all, large ones a little more often."""
    if chunk < 12:
        return (2, 3)
    return (2, 3, 2, 3, 4) if chunk < 30 else (2, 3, 2, 3, 4, 5, 6)


def stream(tokenizer_path: str, seed: int, first_chunk: int, *, ahead: int = 3) -> Iterator[tuple[int, list[Document]]]:
    """Yields (chunk, documents) from `first_chunk` on, drawn ahead in one worker process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = {}
        chunk = first_chunk
        while True:
            for index in range(chunk, chunk + ahead):
                if index not in pending:
                    pending[index] = pool.submit(chunk_documents, tokenizer_path, seed, index, sizes_of(index))
            yield chunk, pending.pop(chunk).result()
            chunk += 1
