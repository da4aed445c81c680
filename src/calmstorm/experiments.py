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
from calmstorm.rollout.spans import make_span


class Experiment(StrEnum):
    """Which of the paper's experiments."""

    PILOT = "pilot"
    ABLATION = "ablation"
    CONTROLLED = "controlled"


def run_experiment(adaptation: Adaptation, experiment: Experiment, codec: TokenCodec, end_of_turn: int) -> None:
    """Runs the arms of an experiment that are missing, the main arm first: all share its base and problems.

    Args:
        adaptation: The main arm.
        experiment: Which experiment.
        codec: The tokenizer of the model, for data that no Reasoner wrote.
        end_of_turn: Token that ends a turn.

    Raises:
        InputError: an arm has nothing to learn from.
    """
    adaptation.execute()
    if experiment is Experiment.ABLATION:
        return
    problems = adaptation.problems()
    golden = adaptation.golden()
    with Interpreter(workers=adaptation.recipe.rollout.workers, tier=adaptation.recipe.rollout.tier) as interpreter:
        if experiment is Experiment.PILOT:
            adaptation.fine_tune(non_reflective(golden, codec, end_of_turn), "pilot")
            adaptation.evaluate("pilot", adaptation.model("pilot"), problems, interpreter)
        else:
            adaptation.fine_tune(unguided(adaptation, golden), "control_sft")
            adaptation.evaluate("control_sft", adaptation.model("control_sft"), problems, interpreter)
            adaptation.reinforce(problems["rl"], interpreter, start="control_sft", name="control_rl")
            adaptation.evaluate("control_rl", adaptation.model("control_rl"), problems, interpreter)
    adaptation.find_flaws(problems)


def unguided(adaptation: Adaptation, golden: Sequence[GoldenTrajectory]) -> list[GoldenTrajectory]:
    """Returns the original attempts at the problems of the golden set, right or wrong, as training data.

    Attempts that did not finish have no end to learn and are left out.
    """
    wanted = {(each.trajectory.problem_id, each.trajectory.sample): each for each in golden}
    found = [
        wanted[t.problem_id, t.sample].model_copy(
            update={"trajectory": t, "interventions": (), "edited_token_share": 0.0}
        )
        for t in adaptation.run.trajectories(Stage.CURATION)
        if t.round == 0 and (t.problem_id, t.sample) in wanted and t.stop_reason is StopReason.FINISHED
    ]
    if not found:
        raise InputError(
            f"{adaptation.run.path}: no unguided attempt at a golden problem finished; curate more problems"
        )
    return found


def non_reflective(golden: Sequence[GoldenTrajectory], codec: TokenCodec, end_of_turn: int) -> list[GoldenTrajectory]:
    """Returns static problem-solution pairs: of each golden trajectory the script that solved it, output and box.

    The paper's pilot uses published datasets of this shape; here the pairs come from the same problems as the main
    arm, so that nothing but their form differs.
    """
    pairs = [
        each.model_copy(update={"trajectory": _script_only(each.trajectory, codec, end_of_turn)}) for each in golden
    ]
    if not pairs:
        raise InputError("the golden set is empty, so there are no solutions to make pairs of; curate more problems")
    return pairs


def _script_only(trajectory: Trajectory, codec: TokenCodec, end_of_turn: int) -> Trajectory:
    outputs = [i for i, span in enumerate(trajectory.spans) if span.author is Author.INTERPRETER]
    output = trajectory.spans[outputs[-1]] if outputs else None
    before = "".join(span.text for span in trajectory.spans[: outputs[-1]]) if outputs else ""
    script = before[before.rfind("```python\n") :] if "```python\n" in before else ""
    box = f"</think>\n\n\\boxed{{{trajectory.answer:g}}}" if isinstance(trajectory.answer, float) else "</think>\n\n"
    spans: list[Span] = []
    if script and output is not None:
        spans = [make_span(Author.REASONER, SpanKind.CODE, script, codec), output]
    final = make_span(Author.REASONER, SpanKind.TEXT, box, codec)
    ended = final.model_copy(update={"token_ids": (*(final.token_ids or ()), end_of_turn)})
    return trajectory.model_copy(update={"spans": (*spans, ended), "executions": trajectory.executions[-1:]})
