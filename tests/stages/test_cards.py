"""Model cards: what they say of a training, that they follow evaluations, and name nothing of this machine."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

import pytest

from calmstorm.records import (
    Author,
    GoldenTrajectory,
    LabelStatus,
    Problem,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
    Verdict,
    VerdictStatus,
)
from calmstorm.report.model_card import BEGIN, CARD, END, CardFacts, DataPart, Training, card_text
from calmstorm.runs import RunDirectory
from calmstorm.settings import RunConfig
from calmstorm.stages import keep_config
from calmstorm.stages.cards import add_scores, refresh_cards, write_card

HUB_VERSION = "nl4opt/hf2024"
"""A version of labels that the hub publishes, too."""


def problem(name: str, suite: str = "nl4opt", version: str = HUB_VERSION) -> Problem:
    return Problem(
        id=name,
        question=f"How many {name}?",
        answer=1.0,
        status=LabelStatus.OPTIMAL,
        suite=suite,
        label_version=version,
    )


def trajectory(name: str, stage: Stage, correct: bool = True, suite: str = "nl4opt") -> Trajectory:
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="\\boxed{1}", token_ids=(1,))
    status = VerdictStatus.CORRECT if correct else VerdictStatus.WRONG
    verdict = Verdict(correct=correct, expected=1.0, got=1.0, tolerance=1e-3, status=status)
    return Trajectory(
        problem_id=name,
        sample=0,
        stage=stage,
        suite=suite,
        spans=(span,),
        stop_reason=StopReason.FINISHED,
        verdict=verdict,
    )


def golden(name: str) -> GoldenTrajectory:
    return GoldenTrajectory(
        trajectory=trajectory(name, Stage.CURATION), question="?", interventions=(), edited_token_share=0.0
    )


class Case:
    """A run with settings, and what a training leaves in it."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.run = RunDirectory(path)
        self.config = RunConfig.model_validate({"reasoner": "Qwen/Qwen3-4B-Thinking-2507", "seed": 7, **settings})
        keep_config(self.run, self.config)

    def train(self, stage: Stage, start: str | Path, data: Any) -> Path:
        model = self.run.path / "models" / stage
        model.mkdir(parents=True)
        for step in (1, 2, 3):
            self.run.append(stage, {"step": step})
        self.run.append("timing", {"stage": stage, "seconds": 130.0})
        write_card(self.run, self.config, stage, model, start, data)
        return model


@pytest.fixture
def case(tmp_path: Path) -> Case:
    case = Case(tmp_path / "secret-place" / "run", sft={"epochs": 2}, rl={"steps": 3})
    for name in ("a", "b", "c", "t"):
        case.run.append("problems", problem(name))
    return case


def card(model: Path) -> str:
    return (model / CARD).read_text()


def test_a_card_says_base_data_recipe_steps_time_and_version(case: Case) -> None:
    sft = case.train(Stage.SFT, "Qwen/Qwen3-4B-Thinking-2507", [golden("a"), golden("a"), golden("b")])
    text = card(sft)
    front = text.split("---")[1]
    assert 'base_model: "Qwen/Qwen3-4B-Thinking-2507"' in front
    assert 'library_name: "transformers"' in front
    assert 'datasets:\n- "CardinalOperations/NL4OPT"' in front
    assert '- "sft"' in front
    assert "| nl4opt | nl4opt/hf2024 | 2 | 3 |" in text  # two problems, three trajectories
    assert "| epochs \\* | 2 |" in text
    assert "| learning\\_rate | 1e-05 |" in text  # the paper's, named all the same
    assert "| SFT | 3 | 2 min 10 s |" in text
    assert "Prompt `paper-1`, seed 7." in text
    assert "calmstorm 0.1.0, commit " in text
    assert "Not evaluated yet." in text
    assert "None is chosen here." in text
    assert "no evidence about large models" not in text


def test_a_reinforced_model_goes_on_from_the_card_of_the_one_it_began_with(case: Case) -> None:
    sft = case.train(Stage.SFT, "Qwen/Qwen3-4B-Thinking-2507", [golden("a")])
    rl = case.train(Stage.RL, sft, [problem("b"), problem("c")])
    text = card(rl)
    assert 'base_model: "Qwen/Qwen3-4B-Thinking-2507"' in text
    assert "fine-tuned on 1 golden trajectories of 1 problems in 3 steps, then reinforced on 2 problems in 3" in text
    assert "**SFT: settings**" in text
    assert "| objective | grpo |" in text


def test_scores_appear_when_a_stage_is_evaluated_and_follow_further_ones(case: Case) -> None:
    sft = case.train(Stage.SFT, "Qwen/Qwen3-4B-Thinking-2507", [golden("a")])
    for stage, right in ((Stage.BASE, False), (Stage.SFT, True)):
        case.run.append("trajectories", trajectory("t", stage, right))
    add_scores(case.run, case.config, Stage.SFT)
    assert "| nl4opt | nl4opt/hf2024 | 1 | 1 | 100.0% \\[21, 100\\] | 0.0% \\[0, 79\\] |" in card(sft)
    case.run.append("trajectories", trajectory("c", Stage.SFT, False))
    refresh_cards(case.run)
    assert "| nl4opt | nl4opt/hf2024 | 2 | 1 | 50.0%" in card(sft)
    assert card(sft).count("**Run run**") == 1


def test_an_evaluation_in_another_run_is_added_to_the_card_of_the_model(case: Case, tmp_path: Path) -> None:
    sft = case.train(Stage.SFT, "Qwen/Qwen3-4B-Thinking-2507", [golden("a")])
    other = Case(tmp_path / "bench-sft", reasoner=str(sft))
    other.run.append("problems", problem("t"))
    other.run.append("trajectories", trajectory("t", Stage.BASE))
    add_scores(other.run, other.config, Stage.BASE)
    assert "**Run bench-sft**" in card(sft)
    other.run.close()


def test_what_a_user_wrote_in_a_card_stays(case: Case) -> None:
    sft = case.train(Stage.SFT, "Qwen/Qwen3-4B-Thinking-2507", [golden("a")])
    own = card(sft).replace("---\n", "---\nlicense: mit\n", 1).replace(END, f"{END}\n\nWritten by me.")
    (sft / CARD).write_text(own)
    case.run.append("trajectories", trajectory("t", Stage.SFT))
    refresh_cards(case.run)
    assert "license: mit" in card(sft)
    assert "Written by me." in card(sft)
    assert "100.0%" in card(sft)
    (sft / CARD).write_text("All mine.")
    refresh_cards(case.run)
    assert card(sft) == "All mine."


def test_a_card_has_no_trace_of_this_machine(tmp_path: Path) -> None:
    place = tmp_path / "secret-place"
    (place / "weights").mkdir(parents=True)
    settings = {
        "reasoner": "http://gpu7.internal:8000/v1",
        "model": "served",
        "base": str(place / "weights"),
        "tokenizer": str(place / "weights"),
        "problems": {"source": str(place)},
        "rl": {"steps": 3, "servers": "http://gpu7.internal:8001", "objective": "carft"},
        "carft": {"annotated": str(place / "golden.jsonl")},
    }
    case = Case(place / "run", **settings)
    sft = case.train(Stage.SFT, place / "weights", [golden("a")])
    rl = case.train(Stage.RL, sft, [problem("b")])
    case.run.append("trajectories", trajectory("t", Stage.RL))
    refresh_cards(case.run)
    for path in (*sft.iterdir(), *rl.iterdir()):
        for trace in (str(tmp_path), "secret-place", "internal", "http://", platform.node()):
            assert trace not in path.read_text(), (path.name, trace)
    assert "weights (a directory, without a hub id)" in json.loads((rl / "card.json").read_text())["base"]
    assert "| carft.coefficient | 0.1 |" in card(rl).replace("\\", "")


def facts(**changes: Any) -> CardFacts:
    hostile = '</td><script>x</script> | [a](http://evil) ``` "\n---\nlicense: stolen\u202e\x1b[31m'
    part = DataPart(suite=hostile, label_version=hostile, problems=1)
    training = Training(stage=Stage.RL, data=(part,), settings={"objective": hostile}, changed=(), steps=1, seconds=1.0)
    fields = {
        "base": hostile,
        "base_model": hostile,
        "pocket": True,
        "prompt": hostile,
        "seed": 1,
        "trainings": (training,),
        "versions": {"calmstorm": hostile},
        "commit": hostile,
    }
    return CardFacts.model_validate(fields | changes)


def test_hostile_text_stays_text_in_front_matter_and_body() -> None:
    yaml = pytest.importorskip("yaml")
    text = card_text(facts())
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    fields = yaml.safe_load(front)
    assert "license" not in fields
    assert fields["base_model"].startswith("</td><script>")
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)[<\]]|(?<!\\)\[(?!\()", body.replace(BEGIN, "").replace(END, ""))
    assert body.count("```") == 2  # the one example
    assert "no evidence about large models" in body


def test_text_that_looks_like_the_marks_does_not_break_the_card() -> None:
    once = card_text(facts(base=f"x {END} y {BEGIN}"))
    again = card_text(facts(base="plain"), once)
    assert again == card_text(facts(base="plain"))
