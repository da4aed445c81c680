from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from calmstorm.settings import SftSettings
from calmstorm.training.sft import train_sft
from tests.training.tiny_model import golden, write_tiny_model


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="session")
def coin_model(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that runs a script and then boxes 3 or 4, at even odds."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("models") / "coin"
    lessons = [golden(number, answer=3 + number // 4 % 2) for number in range(32)]
    settings = SftSettings(learning_rate=1e-2, batch=8, micro_batch=8, epochs=20, checkpoint_steps=1000)
    train_sft(random_model, lessons, directory, settings)
    return directory
