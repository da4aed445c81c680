"""The paper's experiments as arms beside the main one: same base, problems, seeds and evaluation, other training data.

    pilot       Table 1: what fine-tuning on non-reflective problem-solution pairs does
    ablation    Figure 4: base, after fine-tuning, after reinforcement; the main arm itself
    controlled  Figure 6: reinforcement after fine-tuning on the original unguided trajectories (appendix E.4)

Each arm writes its evaluation under a stage of its own (`pilot`, `control_sft`, `control_rl`), which reports show
beside the main ones. On the pocket Reasoner they demonstrate the design of the experiments; their outcome says
nothing about large models.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from calmstorm.errors import InputError
from calmstorm.interpreter import Interpreter
from calmstorm.pipeline import Adaptation
from calmstorm.reasoner.protocol import TokenCodec
from calmstorm.records import Author, GoldenTrajectory, Span, SpanKind, Stage, StopReason, Trajectory
from calmstorm.rollout.fences import fences
from calmstorm.rollout.spans import make_span
from calmstorm.runs import RunDirectory
from calmstorm.stages import collect_problems, find_flaws, fine_tune, model_path, reinforce


class Experiment(StrEnum):
    """Which of the paper's experiments."""

    PILOT = "pilot"
    ABLATION = "ablation"
    CONTROLLED = "controlled"


def run_experiment(
    adaptation: Adaptation,
    experiment: Experiment,
    codec: TokenCodec,
    end_of_turn: int,
    pairs: Sequence[GoldenTrajectory] | None = None,
) -> None:
    """Runs the arms of an experiment that are missing, the main arm first: all share its base and problems.

    Args:
        adaptation: The main arm.
        experiment: Which experiment.
        codec: The tokenizer of the model, for data that no Reasoner wrote.
        end_of_turn: Token that ends a turn.
        pairs: What the pilot fine-tunes on; None makes pairs of the golden set.

    Raises:
        InputError: the pilot of this run has other pairs, or an arm has nothing to learn from.
    """
    adaptation.execute()
    if experiment is Experiment.ABLATION:
        return
    recipe, run = adaptation.recipe, adaptation.run
    problems = collect_problems(run, recipe)
    golden = adaptation.golden()
    with Interpreter(recipe.rollout.workers, recipe.rollout.tier) as interpreter:
        if experiment is Experiment.PILOT:
            data = non_reflective(golden, codec, end_of_turn) if pairs is None else pairs
            _keep_pairs(run, data)
            fine_tune(run, recipe, adaptation.base, data, Stage.PILOT)
            adaptation.evaluate(Stage.PILOT, problems.test, interpreter)
        else:
            fine_tune(run, recipe, adaptation.base, unguided(run, golden), Stage.CONTROL_SFT)
            adaptation.evaluate(Stage.CONTROL_SFT, problems.test, interpreter)
            start = model_path(run, Stage.CONTROL_SFT)
            reinforce(run, recipe, start, problems.rl, interpreter, Stage.CONTROL_RL, test=problems.test)
            adaptation.evaluate(Stage.CONTROL_RL, problems.test, interpreter)
    find_flaws(run)


def _keep_pairs(run: RunDirectory, pairs: Sequence[GoldenTrajectory]) -> None:
    """Writes what the pilot of a run learns to `pairs.jsonl`, or checks that it is the same when it goes on.

    Raises:
        InputError: It is not.
    """
    kept = list(run.read("pairs", GoldenTrajectory))
    if not kept and not model_path(run, Stage.PILOT).exists():
        with run.rewriting("pairs") as write:
            for pair in pairs:
                write(pair)
    elif kept and [_content(pair) for pair in kept] != [_content(pair) for pair in pairs]:
        raise InputError(
            f"{run.path}: its pilot was trained on other pairs (pairs.jsonl); give the same --pairs or another run"
        )


def _content(pair: GoldenTrajectory) -> tuple[str, str, str]:
    return pair.trajectory.problem_id, pair.question, "".join(span.text for span in pair.trajectory.spans)


def unguided(run: RunDirectory, golden: Sequence[GoldenTrajectory]) -> list[GoldenTrajectory]:
    """Returns the original attempts at the problems of the golden set, right or wrong, as training data.

    Attempts that did not finish have no end to learn and are left out.
    """
    guided = {(record.trajectory.problem_id, record.trajectory.sample): record for record in golden}
    attempts = [
        guided[t.problem_id, t.sample].model_copy(
            update={"trajectory": t, "interventions": (), "edited_token_share": 0.0, "token_modification": 0.0}
        )
        for t in run.trajectories(Stage.CURATION)
        if t.round == 0 and (t.problem_id, t.sample) in guided and t.stop_reason is StopReason.FINISHED
    ]
    if not attempts:
        raise InputError(f"{run.path}: no unguided attempt at a golden problem finished; curate more problems")
    return attempts


def non_reflective(golden: Sequence[GoldenTrajectory], codec: TokenCodec, end_of_turn: int) -> list[GoldenTrajectory]:
    """Returns static problem-solution pairs: of each golden trajectory the script that solved it, output and box.

    The paper's pilot uses published datasets of this shape; here the pairs come from the same problems as the main
    arm, so that nothing but their form differs.
    """
    pairs = [
        record.model_copy(update={"trajectory": _script_only(record.trajectory, codec, end_of_turn)})
        for record in golden
    ]
    if not pairs:
        raise InputError("the golden set is empty, so there are no solutions to make pairs of; curate more problems")
    return pairs


def _script_only(trajectory: Trajectory, codec: TokenCodec, end_of_turn: int) -> Trajectory:
    outputs = [i for i, span in enumerate(trajectory.spans) if span.author is Author.INTERPRETER]
    outputs = outputs[: len(trajectory.executions)]  # one more says that no run is left
    output = trajectory.spans[outputs[-1]] if outputs else None
    before = "".join(span.text for span in trajectory.spans[: outputs[-1]]) if outputs else ""
    opened = [fence for fence in fences(before) if fence.is_python]
    script = before[opened[-1].start :] if opened else ""
    box = f"</think>\n\n\\boxed{{{trajectory.answer:g}}}" if isinstance(trajectory.answer, float) else "</think>\n\n"
    spans: list[Span] = []
    if script and output is not None:
        spans = [make_span(Author.REASONER, SpanKind.CODE, script, codec), output]
    final = make_span(Author.REASONER, SpanKind.TEXT, box, codec)
    ended = final.model_copy(update={"token_ids": (*(final.token_ids or ()), end_of_turn)})
    return trajectory.model_copy(update={"spans": (*spans, ended), "executions": trajectory.executions[-1:]})
