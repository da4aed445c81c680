"""A stronger model as Intervener, and as annotator (paper section 3.2, appendices I and J).

Both ask one chat completion per review. The version of the prompt stands in every record, so that results of
different wordings are never mixed up.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from calmstorm.errors import InfrastructureError
from calmstorm.grading import TOLERANCE, is_gradable
from calmstorm.intervener.hint_checks import bare_hint, intervention_at, place, require_usable_hint
from calmstorm.intervener.llm.chat import ChatReviewer
from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.response_parser import locate, parse_review, parse_triggers
from calmstorm.reasoner.prompting import user_message
from calmstorm.records import Author, Intervention, Problem, ReviewOutcome, Trajectory, Trigger
from calmstorm.settings import IntervenerSettings


class LlmIntervener(ChatReviewer):
    """An Intervener that is a chat model; see `calmstorm.intervener.protocol.Intervener`."""

    prompt = "intervener-2"

    def __init__(
        self,
        settings: IntervenerSettings | None = None,
        base_url: str | None = None,
        *,
        reasoner_prompt: str | None = None,
        cache: Path | None = None,
    ) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            settings: The model, its sampling, time-outs and retries.
            base_url: Where the API is; None takes it from CALM_INTERVENER_URL.
            reasoner_prompt: Name of the prompt that the Reasoner is asked with, so that its instructions are shown as
                it was given them; None shows the bare question.
            cache: File in which replies are kept by content; None keeps none.

        Raises:
            InputError: There is no URL, URL or key cannot be used, or there is no such prompt.
        """
        super().__init__(settings, base_url, cache=cache)
        self._reasoner_prompt = reasoner_prompt
        self._task("")  # a prompt that is not there is found out now

    def _task(self, question: str) -> str:
        return question if self._reasoner_prompt is None else user_message(self._reasoner_prompt, question)

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Returns the correction of the first flaw that the model finds; a failed review where it gives none.

        Raises:
            InputError: The server refuses key, model or every request.
            InfrastructureError: The server cannot be reached or keeps failing.
        """
        values = {
            "task": self._task(problem.question),
            "ground_truth": str(problem.label) if is_gradable(problem) else "not known",
            "tolerance": f"{100 * (TOLERANCE if problem.tolerance is None else problem.tolerance):g} %",
            "earlier_hints": _earlier_hints(trajectory),
            "response": trajectory.response,
        }
        about = f"{problem.id}, sample {trajectory.sample}, round {trajectory.round}"
        asked = await self._ask(values, partial(self._read, problem, trajectory), about)
        if asked.failure:
            return Reviewed(outcome=ReviewOutcome.FAILED, reason=asked.failure, usage=asked.usage)
        return Reviewed.of(asked.value, asked.usage)

    def _read(self, problem: Problem, trajectory: Trajectory, reply: str) -> Intervention | None:
        replacement = parse_review(reply)
        if replacement is None:
            return None
        start, end = locate(replacement.target, trajectory.response)
        start = place(trajectory, start)
        require_usable_hint(replacement.hint, problem, trajectory, start)
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

    prompt = "annotator-2"

    async def annotate(self, question: str, response: str, *, reasoner_prompt: str | None = None) -> list[Trigger]:
        """Returns the triggers of a response, at most two, in order of appearance; none when it is flawless.

        Args:
            question: The problem's text.
            response: The response.
            reasoner_prompt: Name of the prompt that it answers, where that is known; its instructions are shown too.

        Raises:
            InputError: The server refuses key, model or every request, or there is no such prompt.
            InfrastructureError: The server cannot be reached or keeps failing, or no reply could be used.
        """
        task = question if reasoner_prompt is None else user_message(reasoner_prompt, question)
        asked = await self._ask({"task": task, "response": response}, parse_triggers)
        if asked.value is None:
            raise InfrastructureError(asked.failure)
        return asked.value


def _earlier_hints(trajectory: Trajectory) -> str:
    hints = [bare_hint(span.text) for span in trajectory.spans if span.author is Author.INTERVENER]
    return "\n".join(f"- {' '.join(hint.split())}" for hint in hints) or "none"
