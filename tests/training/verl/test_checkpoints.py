from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.training.verl.checkpoints import TRACKER, keep_only, resume_step, whole_steps


def write_checkpoint(folder: Path, step: int, tracked: bool = True, whole: bool = True) -> None:
    actor = folder / f"global_step_{step}" / "actor"
    actor.mkdir(parents=True)
    (actor / "model_world_size_1_rank_0.pt").touch()
    if whole:
        (actor.parent / "data.pt").touch()
    if tracked:
        (folder / TRACKER).write_text(str(step))


@pytest.mark.parametrize(("logged", "resumed"), [(9, 4), (4, 4), (3, 2), (1, 0)])
def test_a_training_goes_on_after_the_newest_whole_checkpoint_that_is_logged(
    tmp_path: Path, logged: int, resumed: int
) -> None:
    for step in (2, 4):
        write_checkpoint(tmp_path, step)
    assert resume_step(tmp_path, logged) == resumed


def test_a_checkpoint_that_is_not_tracked_yet_does_not_count(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 2)
    write_checkpoint(tmp_path, 4, tracked=False)
    assert whole_steps(tmp_path) == [2]


def test_a_tracker_that_was_cut_short_is_made_up_for_by_what_lies_there(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 2)
    write_checkpoint(tmp_path, 4)
    write_checkpoint(tmp_path, 6, tracked=False, whole=False)
    (tmp_path / TRACKER).write_text("")
    assert whole_steps(tmp_path) == [2, 4]


def test_nothing_is_resumed_where_there_is_nothing(tmp_path: Path) -> None:
    assert resume_step(tmp_path / "checkpoints", 5) == 0


def test_other_checkpoints_are_removed(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step)
    keep_only(tmp_path, {4})
    assert [path.name for path in tmp_path.glob("global_step_*")] == ["global_step_4"]
