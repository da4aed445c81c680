"""Real engines, started once for all suites of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from calmstorm.reasoner.opening import pocket_directory
from tests.engines.qwen_tokenizer import build_tokenizer, vocabulary_file
from tests.engines.vllm_server import VllmServer, vllm_python


@pytest.fixture(scope="session")
def vllm_interpreter() -> Path:
    python = vllm_python()
    if python is None:
        pytest.skip("vLLM is not installed: run make vllm, or name its Python in CALM_VLLM_PYTHON")
    return python


@pytest.fixture(scope="session")
def vllm(vllm_interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The pocket model on vLLM: float32 weights that share nothing between input and output, as it ships."""
    with VllmServer(vllm_interpreter, pocket_directory(), tmp_path_factory.mktemp("vllm") / "server.log") as server:
        yield server


@pytest.fixture(scope="session")
def qwen_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = vocabulary_file()
    if vocabulary is None:
        pytest.skip("the Qwen vocabulary is not installed: run make test-engines, or pip install --no-deps dashscope")
    return build_tokenizer(vocabulary)
