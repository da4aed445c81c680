from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from calmstorm.errors import InputError, RunLockedError, SettingsError, WorkError
from calmstorm.records import Author, Problem, Span, SpanKind, StopReason, Trajectory
from calmstorm.runs import RunDirectory, versions
from calmstorm.runs.directory import differing_keys
from calmstorm.settings import Recipe, load_recipe


def trajectory(problem_id: str = "p", sample: int = 0, stage: str = "base", text: str = "so \\boxed{1}") -> Trajectory:
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text=text)
    return Trajectory(problem_id=problem_id, sample=sample, stage=stage, spans=(span,), stop_reason=StopReason.FINISHED)


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as run:
        for sample in range(3):
            run.append("trajectories", trajectory(sample=sample, text="line\nbreak \u2028 and \u00e9"))
        assert [each.sample for each in run.trajectories()] == [0, 1, 2]
    lines = (tmp_path / "run" / "trajectories.jsonl").read_text().split("\n")
    assert json.loads(lines[0])["schema"] == 2
    assert len(lines) == 4


def test_the_keys_of_a_stage_are_known_after_reopening(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.append("trajectories", trajectory("a", 0))
        run.append("trajectories", trajectory("a", 1, "sft"))
    with RunDirectory(tmp_path) as run:
        assert [trajectory.key for trajectory in run.trajectories("base")] == [("base", "a", 0, 0)]
        assert {trajectory.key for trajectory in run.trajectories()} == {("base", "a", 0, 0), ("sft", "a", 1, 0)}


def test_a_torn_last_line_is_dropped_when_the_run_is_resumed(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.append("trajectories", trajectory("whole"))
    path = tmp_path / "trajectories.jsonl"
    path.write_bytes(path.read_bytes() + b'{"schema": 1, "problem_id": "to' + b"x" * 200_000)
    assert [each.problem_id for each in RunDirectory(tmp_path, readonly=True).trajectories()] == ["whole"]
    with RunDirectory(tmp_path) as run:
        run.append("trajectories", trajectory("next"))
        assert [each.problem_id for each in run.trajectories()] == ["whole", "next"]


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / "sft.jsonl").write_bytes(b'{"step": 1')
    with RunDirectory(tmp_path) as run:
        run.append("sft", {"step": 1})
        assert list(run.read_rows("sft")) == [{"step": 1}]


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[1]\n", b'{"schema": 1}\n', b'{"id": "p", "question": "q", "zz": 1}\n']
)
def test_a_whole_line_that_cannot_be_read_is_reported_with_its_number(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "problems.jsonl").write_bytes(b'{"id": "p", "question": "q"}\n' + line)
    with RunDirectory(tmp_path) as run, pytest.raises(WorkError, match=r"problems.jsonl, line 2: ") as caught:
        list(run.read("problems", Problem))
    assert "\n" not in str(caught.value)


def test_a_second_writer_is_refused_in_the_same_process_and_the_first_keeps_its_lock(tmp_path: Path) -> None:
    with RunDirectory(tmp_path):
        for _ in range(2):
            with pytest.raises(RunLockedError, match="this process is writing"):
                RunDirectory(tmp_path)
        code = f"from calmstorm.runs import RunDirectory; RunDirectory({str(tmp_path)!r})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"process {os.getpid()} is writing to this run" in other.stderr
    RunDirectory(tmp_path).close()


def test_a_forked_worker_that_outlives_its_parent_does_not_keep_the_run_locked(tmp_path: Path) -> None:
    code = f"""
        import os, signal, time
        from calmstorm.runs import RunDirectory
        run = RunDirectory({str(tmp_path)!r})
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        print(child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.wait(timeout=30)
    try:
        RunDirectory(tmp_path).close()
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_nothing_finished_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    code = f"""
        from calmstorm.records import Author, Span, SpanKind, StopReason, Trajectory
        from calmstorm.runs import RunDirectory
        span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x" * 40_000)
        with RunDirectory({str(tmp_path)!r}) as run:
            start = len(list(run.trajectories()))
            for sample in range(start, start + 100_000):
                run.append("trajectories", Trajectory(problem_id="p", sample=sample, stage="base", spans=(span,),
                                                      stop_reason=StopReason.FINISHED))
                print(sample, flush=True)
    """
    finished = -1
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        assert first >= finished + 1
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        finished = max([first, *(int(line) for line in process.stdout.read().split("\n")[:-1] if line)])
        process.wait(timeout=30)
        process.stdout.close()
        with RunDirectory(tmp_path) as run:
            samples = [each.sample for each in run.trajectories("base")]
        assert samples == list(range(len(samples)))
        assert len(samples) >= finished + 1


def test_threads_append_whole_lines(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:

        def append(number: int) -> None:
            for step in range(200):
                run.append("rl", {"thread": number, "step": step})

        threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = list(run.read_rows("rl"))
    for n in range(4):
        assert [row["step"] for row in rows if row["thread"] == n] == list(range(200))


def test_a_diverged_loss_is_recorded_as_null(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.append("sft", {"step": 1, "loss": float("nan"), "more": [float("inf")]})
        assert list(run.read_rows("sft")) == [{"step": 1, "loss": None, "more": [None]}]


def test_a_run_resumes_with_the_same_config_and_refuses_another(tmp_path: Path) -> None:
    recipe = load_recipe(None, {"rl.steps": "5"})
    with RunDirectory(tmp_path) as run:
        run.keep_config(recipe)
        run.keep_config(recipe)
        assert Recipe.model_validate(run.config()) == recipe
        with pytest.raises(SettingsError, match=r"rl.steps is 6, but this run was started with 5; leave it as it was"):
            run.keep_config(load_recipe(None, {"rl.steps": "6"}))
        assert (run.config() or {})["rl"]["steps"] == 5


def test_a_setting_that_may_change_is_taken_over_when_a_run_is_resumed(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.keep_config(load_recipe(None, {"rl.steps": "5"}))
        run.keep_config(load_recipe(None, {"rl.steps": "6", "rollout.workers": "4"}), {"rl", "rollout.workers"})
        config = run.config() or {}
        assert (config["rl"]["steps"], config["rollout"]["workers"]) == (6, 4)
        with pytest.raises(SettingsError, match=r"rollout\.executions is 1"):
            run.keep_config(load_recipe(None, {"rl.steps": "6", "rollout.executions": "1"}), {"rl", "rollout.workers"})


def test_none_is_left_out_of_the_config(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.keep_config({"rl": {"steps": 5, "kl": None}, "seed": 1, "none": None})
        assert run.config() == {"rl": {"steps": 5}, "seed": 1}


def test_differences_are_named_by_dotted_key() -> None:
    old = {"seed": 1, "rl": {"steps": 5, "kl": None}, "gone": 1}
    new = {"seed": 1, "rl": {"steps": 6, "kl": None}, "new": 2}
    assert differing_keys(old, new) == [("gone", 1, None), ("new", None, 2), ("rl.steps", 5, 6)]


def test_env_json_names_versions_and_no_paths(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.keep_config({"seed": 1})
        found = run.environment()
    assert found["versions"] == versions()
    assert found["versions"]["pydantic"]
    text = (tmp_path / "env.json").read_text()
    assert str(Path.home()) not in text
    assert str(tmp_path) not in text


def test_a_resume_under_other_versions_is_noted_once(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.keep_config({"seed": 1})
        kept = run.environment()
        kept["versions"]["pydantic"] = "0.1"
        run.write_text("env.json", json.dumps(kept))
        run.keep_config({"seed": 1})
        run.keep_config({"seed": 1})
        assert run.environment()["versions"]["pydantic"] == "0.1"
        assert [each["versions"] for each in run.environment()["resumed_with"]] == [versions()]


def test_stage_times_add_up_over_resumes_and_failures(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        with pytest.raises(KeyboardInterrupt), run.stage("base"):
            raise KeyboardInterrupt
        with run.stage("base"):
            time.sleep(0.02)
        with run.stage("sft"):
            pass
        assert list(run.seconds_by_stage()) == ["base", "sft"]
        assert run.seconds_by_stage()["base"] >= 0.02
        assert len(list(run.read_rows("timing"))) == 3


def test_a_file_is_replaced_whole_and_leaves_no_drafts(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.write_text("report.json", "first")
        with pytest.raises(UnicodeEncodeError):
            run.write_text("report.json", "\ud800")
        assert (tmp_path / "report.json").read_text() == "first"
        run.write_text("report.json", "second")
    assert (tmp_path / "report.json").read_text() == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "report.json"]


@pytest.mark.parametrize("made", [False, True])
def test_reading_what_is_no_run_is_refused(tmp_path: Path, made: bool) -> None:
    path = tmp_path / "absent"
    if made:
        path.mkdir()
    with pytest.raises(InputError, match=r"name (one under runs/|a run directory)"):
        RunDirectory(path, readonly=True)


def test_a_run_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name a directory that can be written"):
        RunDirectory(tmp_path / "file" / "run")


def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is absent")
    (tmp_path / "rl.jsonl").symlink_to("/dev/full")
    with RunDirectory(tmp_path) as run, pytest.raises(WorkError, match="No space left on device; free space"):
        run.append("rl", {"step": 1})


def test_a_record_is_found_again_at_its_offset(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as run:
        for name in ("a", "b é \u2028", "c"):
            run.append("problems", Problem(id=name, question=f"Question {name}?"))
        placed = list(run.placed("problems", Problem))
        run.append("problems", Problem(id="d", question="later"))
        assert [each.id for _, each in placed] == ["a", "b é \u2028", "c"]
        assert [run.at("problems", Problem, offset) for offset, _ in reversed(placed)] == [
            each for _, each in reversed(placed)
        ]
        with pytest.raises(WorkError, match="not a Problem"):
            run.at("problems", Problem, placed[1][0] + 3)
