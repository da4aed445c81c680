"""A stronger model as Intervener, and as annotator (paper section 3.2, appendices I and J).

Both ask one chat completion per review. The version of the prompt stands in every record, so that results of
different wordings are never mixed up.
"""

from __future__ import annotations

from functools import partial

from calmstorm.grading import is_gradable
from calmstorm.intervener.hint_checks import bare_hint, intervention_at, place, require_usable_hint
from calmstorm.intervener.llm.chat import ChatReviewer
from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.response_parser import locate, parse_review, parse_triggers
from calmstorm.records import Author, Intervention, Problem, Trajectory, Trigger


class LlmIntervener(ChatReviewer):
    """An Intervener that is a chat model; see `calmstorm.intervener.protocol.Intervener`."""

    prompt = "intervener-1"

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Returns the correction of the first flaw that the model finds.

        Raises:
            InputError: The server refuses key, model or request.
            InfrastructureError: The server cannot be reached, or no reply could be used.
        """
        values = {
            "problem": problem.question,
            "ground_truth": str(problem.label) if is_gradable(problem) else "not known",
            "earlier_hints": _earlier_hints(trajectory),
            "response": trajectory.response,
        }
        return Reviewed.of(await self._ask(values, partial(self._read, problem, trajectory)))

    def _read(self, problem: Problem, trajectory: Trajectory, reply: str) -> Intervention | None:
        replacement = parse_review(reply)
        if replacement is None:
            return None
        start, end = locate(replacement.target, trajectory.response)
        start = place(trajectory, start)
        require_usable_hint(replacement.hint, problem)
        return intervention_at(
            trajectory,
            start,
            end,
            replacement.trigger,
            analysis=replacement.analysis,
            words=replacement.hint,
            intervener=self.name,
        )


class LlmAnnotator(ChatReviewer):
    """A chat model that classifies finished responses; it sees no label, as in the paper (appendix J)."""

    prompt = "annotator-1"

    async def annotate(self, question: str, response: str) -> list[Trigger]:
        """Returns the triggers of a response, at most two, in order of appearance; none when it is flawless.

        Raises:
            InputError: The server refuses key, model or request.
            InfrastructureError: The server cannot be reached, or no reply could be used.
        """
        return await self._ask({"problem": question, "response": response}, parse_triggers)


def _earlier_hints(trajectory: Trajectory) -> str:
    hints = [bare_hint(span.text) for span in trajectory.spans if span.author is Author.INTERVENER]
    return "\n".join(f"- {' '.join(hint.split())}" for hint in hints) or "none"
