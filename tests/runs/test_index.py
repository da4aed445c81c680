"""The index of trajectories: written with them, caught up after a kill, made anew where it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.errors import WorkError
from calmstorm.records import Author, Span, SpanKind, StopReason, Trajectory, Usage, Verdict, VerdictStatus
from calmstorm.runs import Place, RunDirectory


def trajectory(problem: str, sample: int = 0, round_: int = 0, text: str = "x", **changes: object) -> Trajectory:
    verdict = Verdict(correct=True, expected=1.0, got=1.0, tolerance=0.0, status=VerdictStatus.CORRECT)
    parts: dict[str, object] = {
        "problem_id": problem,
        "sample": sample,
        "round": round_,
        "stage": "curation",
        "suite": "süß",
        "spans": (
            Span(author=Author.REASONER, kind=SpanKind.TEXT, text=text, token_ids=(1, 2), logprobs=(-1.0, -2.0)),
        ),
        "stop_reason": StopReason.FINISHED,
        "verdict": verdict,
        "usage": Usage(prompt_tokens=5, completion_tokens=2, seconds=0.25, cost=0.5),
    }
    return Trajectory(**{**parts, **changes})


def filled(path: Path, count: int = 5) -> list[Place]:
    with RunDirectory(path) as run:
        for sample in range(count):
            run.append("trajectories", trajectory("p\u2028", sample, text="line\nbreak \u2028" * (sample + 1)))
        return list(run.places())


def test_a_place_tells_what_came_of_a_trajectory_and_where_it_stands(tmp_path: Path) -> None:
    places = filled(tmp_path)
    with RunDirectory(tmp_path, readonly=True) as run:
        assert list(run.places()) == places
        for place in places:
            found = run.at("trajectories", Trajectory, place.offset)
            assert (found.key, place.key) == (place.key, found.key)
            assert place == Place.of(found, place.offset, place.end)
    assert (places[0].tokens, places[0].sent, places[0].drawn, places[0].cost) == (2, 5, 2, 0.5)


def test_an_index_that_is_absent_is_made_anew(tmp_path: Path) -> None:
    places = filled(tmp_path)
    (tmp_path / "trajectories.idx").unlink()
    with RunDirectory(tmp_path, readonly=True) as run:
        assert list(run.places()) == places
        assert not (tmp_path / "trajectories.idx").exists()  # nothing is written to a run that is only read
    with RunDirectory(tmp_path) as run:
        assert list(run.places()) == places
    assert (tmp_path / "trajectories.idx").read_text().count("\n") == 5


def test_a_kill_at_any_byte_of_both_files_loses_no_finished_line(tmp_path: Path) -> None:
    places = filled(tmp_path / "run", 3)
    lines, index = (tmp_path / "run" / f"trajectories.{end}" for end in ("jsonl", "idx"))
    whole, entries = lines.read_bytes(), index.read_bytes()
    for number, size in enumerate([*range(0, len(entries), 11), len(entries)]):
        index.write_bytes(entries[:size])
        kept = whole[: places[1].end] if number % 2 and entries[:size].count(b"\n") <= 2 else whole
        lines.write_bytes(kept + b'{"torn": "lin')
        count = 2 if kept != whole else 3
        with RunDirectory(tmp_path / "run", readonly=True) as run:
            assert list(run.places()) == places[:count]
        with RunDirectory(tmp_path / "run") as run:
            run.append("trajectories", trajectory("next"))
            found = list(run.places())
            assert found[:count] == places[:count]
            assert [place.problem_id for place in found[count:]] == ["next"]
            assert run.at("trajectories", Trajectory, found[-1].offset).problem_id == "next"


@pytest.mark.parametrize("damage", [b"", b"no index\n", b'["base"]\n', b"[1, 2\n"])
def test_an_index_that_does_not_fit_its_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    filled(tmp_path)
    lines, index = (tmp_path / f"trajectories.{end}" for end in ("jsonl", "idx"))
    lines.write_bytes(b"".join(lines.read_bytes().splitlines(keepends=True)[2:]))  # someone took lines out
    index.write_bytes(index.read_bytes() + damage)
    with RunDirectory(tmp_path) as run:
        assert [place.sample for place in run.places()] == [2, 3, 4]
        run.append("trajectories", trajectory("next"))
        assert [place.sample for place in run.places()] == [2, 3, 4, 0]


def test_damage_in_the_middle_of_an_index_is_said(tmp_path: Path) -> None:
    filled(tmp_path)
    index = tmp_path / "trajectories.idx"
    index.write_text(index.read_text().replace('["curation"', '["nothing"', 1))
    with RunDirectory(tmp_path, readonly=True) as run, pytest.raises(WorkError, match="line 1: is damaged; delete"):
        list(run.places())


def test_log_probabilities_stay_in_memory(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    with RunDirectory(tmp_path, readonly=True) as run:
        assert [span.logprobs for stored in run.trajectories() for span in stored.spans] == [None]


def test_what_our_machinery_failed_is_no_result(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.append("trajectories", trajectory("p", stop_reason=StopReason.INFRASTRUCTURE))
        run.append("trajectories", trajectory("p"))
        assert [place.stop_reason for place in run.places()] == [StopReason.FINISHED]
        assert [found.stop_reason for found in run.trajectories()] == [StopReason.FINISHED]


def test_a_long_file_is_made_anew_whole_or_not_at_all(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    before = (tmp_path / "trajectories.jsonl").read_bytes()

    def killed(run: RunDirectory) -> None:
        with run.rewriting("trajectories") as write:
            write(trajectory("new"))
            raise KeyboardInterrupt

    with RunDirectory(tmp_path) as run:
        with pytest.raises(KeyboardInterrupt):
            killed(run)
        assert (tmp_path / "trajectories.jsonl").read_bytes() == before
        with run.rewriting("golden") as write:
            write(trajectory("new"))
    assert (tmp_path / "golden.jsonl").read_text().count("\n") == 1
    assert not list(tmp_path.glob(".*.tmp"))
