"""22,000 tokens in a vocabulary of 151,936 go through fine-tuning on a CPU, and what that takes is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from calmstorm.reasoner.codec import TokenizerCodec
from calmstorm.records import Author, GoldenTrajectory, SpanKind, StopReason, Trajectory
from calmstorm.rollout.spans import make_span
from calmstorm.settings import SftSettings
from calmstorm.training.sft import SftStep, train_sft
from tests.engines.qwen_model import VOCABULARY, save_random_model

pytestmark = [pytest.mark.engines, pytest.mark.timeout(6000)]
TOKENS = 22_000
LOGITS = TOKENS * VOCABULARY * 4
"""Bytes that the logits of one sequence would take."""


def lesson(tokenizer: PreTrainedTokenizerFast) -> GoldenTrajectory:
    """A trajectory of a little less than `TOKENS` tokens, half of them execution output."""
    codec = TokenizerCodec(tokenizer)
    text = make_span(Author.REASONER, SpanKind.TEXT, "Let x be 3. " * 1550, codec)
    output = make_span(Author.INTERPRETER, SpanKind.OUTPUT, "```output\n" + "1 " * 5000 + "\n```\n", codec)
    end = text.model_copy(update={"token_ids": (*(text.token_ids or ()), int(tokenizer.eos_token_id))})
    trajectory = Trajectory(
        problem_id="p", sample=0, stage="curation", spans=(output, end), stop_reason=StopReason.FINISHED
    )
    return GoldenTrajectory(trajectory=trajectory, question="?", interventions=(), edited_token_share=0.0)


def test_a_sequence_of_22000_tokens_is_learned_without_its_logits_in_memory(
    qwen_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_random_model(qwen_tokenizer, tmp_path / "model")
    item = lesson(qwen_tokenizer)
    (tmp_path / "lesson.json").write_text(item.model_dump_json())
    words = [sys.executable, "-m", "tests.engines.test_long_fine_tuning", str(model), str(tmp_path)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\n22,000 tokens: {result}")
    assert result["left_out"] == 0
    assert 20_000 < result["tokens"] <= TOKENS
    assert 0 < result["loss"] < 100
    assert result["peak_bytes"] - result["before_bytes"] < LOGITS / 2


def main(model: Path, folder: Path) -> None:
    """Fine-tunes for one step and prints what it took."""
    item = GoldenTrajectory.model_validate_json((folder / "lesson.json").read_text())
    steps: list[SftStep] = []
    before = _status("VmRSS")
    settings = SftSettings(batch=1, epochs=1)
    result = train_sft(model, [item], folder / "out", settings, prompt="paper-1", on_log=steps.append)
    tokens = sum(len(span.token_ids or ()) for span in item.trajectory.spans)
    (step,) = steps
    figures = {"tokens": tokens, "loss": step.loss, "seconds": step.seconds, "left_out": result.left_out}
    print(json.dumps(figures | {"before_bytes": before, "peak_bytes": _status("VmHWM")}))


def _status(name: str) -> int:
    """Bytes that the system counts for this process."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
