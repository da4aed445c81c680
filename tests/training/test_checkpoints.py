from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.errors import InputError
from calmstorm.reasoner.prompting import prompt_of_model
from calmstorm.training.checkpoints import (
    completed_updates,
    last_complete,
    mark_complete,
    open_work,
    publish,
    work_dir,
)


def checkpoint(work: Path, step: int, whole: bool) -> Path:
    path = work / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    if whole:
        mark_complete(path)
    return path


def test_the_newest_whole_checkpoint_is_taken_by_number_and_torn_ones_are_removed(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9, whole=True)
    wanted = checkpoint(tmp_path, 10, whole=True)
    torn = checkpoint(tmp_path, 11, whole=False)
    assert last_complete(tmp_path) == wanted
    assert not torn.exists()


def test_nothing_is_completed_when_only_torn_checkpoints_exist(tmp_path: Path) -> None:
    checkpoint(work_dir(tmp_path / "out"), 3, whole=False)
    assert completed_updates(tmp_path / "out") == 0


def test_unfinished_work_is_refused_when_its_settings_changed(tmp_path: Path) -> None:
    open_work(tmp_path / "out", {"settings": "a", "model": "m"})
    assert open_work(tmp_path / "out", {"settings": "a", "model": "m"}).is_dir()
    with pytest.raises(InputError, match="with other settings; it can only be continued unchanged"):
        open_work(tmp_path / "out", {"settings": "b", "model": "m"})


def test_an_existing_model_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="never overwritten"):
        open_work(tmp_path / "out", {})


def test_the_finished_model_takes_its_prompt_name_along_and_leaves_no_work_behind(tmp_path: Path) -> None:
    staged = open_work(tmp_path / "out", {}) / "model"
    staged.mkdir()
    publish(staged, "pocket-1", tmp_path / "out")
    assert prompt_of_model(tmp_path / "out") == "pocket-1"
    assert not work_dir(tmp_path / "out").exists()
