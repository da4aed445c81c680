"""A stronger model as Intervener, and as annotator (paper section 3.2, appendices I and J).

Both ask one chat completion per review. The version of the prompt stands in every record, so that results of
different wordings are never mixed up.
"""

from __future__ import annotations

import openai

from calmstorm.grading import is_gradable
from calmstorm.intervener.chat import ChatModel, ChatSettings
from calmstorm.intervener.placing import complete_hint, intervention_at, place, require_usable_hint
from calmstorm.intervener.replies import locate, read_correction, read_triggers
from calmstorm.intervener.templates import filled
from calmstorm.records import Author, Intervention, Problem, Trajectory, Trigger

INTERVENER_PROMPT = "intervener-1"
ANNOTATOR_PROMPT = "annotator-1"


class LlmIntervener:
    """An Intervener that is a chat model; see `calmstorm.intervener.protocol.Intervener`."""

    def __init__(
        self,
        model: str,
        temperature: float = 1.0,
        top_p: float = 0.95,
        base_url: str | None = None,
        client: openai.AsyncOpenAI | None = None,
        settings: ChatSettings | None = None,
    ) -> None:
        """Prepares a client; nothing is sent yet. The sampling defaults are the paper's (appendix E).

        Args:
            model: Name the server knows the model by.
            temperature: Sampling temperature.
            top_p: Nucleus sampling.
            base_url: Where the API is; None takes it from CALM_INTERVENER_URL.
            client: A client to use instead; whoever made it closes it.
            settings: Timeouts, retries, concurrency.

        Raises:
            InputError: There is no usable URL.
        """
        self._chat = ChatModel(
            model, temperature=temperature, top_p=top_p, base_url=base_url, client=client, settings=settings
        )

    @property
    def name(self) -> str:
        """Model and version of the prompt ("llm:gemini-2.5-pro@intervener-1")."""
        return f"llm:{self._chat.model}@{INTERVENER_PROMPT}"

    async def review(self, problem: Problem, trajectory: Trajectory) -> Intervention | None:
        """Returns the correction of the first flaw, or None when the model finds none.

        Raises:
            InputError: The server refuses key, model or request.
            InfrastructureError: The server cannot be reached, or no reply could be used.
        """
        prompt = filled(
            INTERVENER_PROMPT,
            {
                "problem": problem.question,
                "ground_truth": str(problem.label) if is_gradable(problem) else "not known",
                "earlier_hints": _earlier_hints(trajectory),
                "response": trajectory.response,
            },
        )
        return await self._chat.ask(prompt, lambda reply: self._read(reply, problem, trajectory))

    def _read(self, reply: str, problem: Problem, trajectory: Trajectory) -> Intervention | None:
        correction = read_correction(reply)
        if correction is None:
            return None
        response = trajectory.response
        start, end = locate(correction.target, response)
        start = place(trajectory, start)
        require_usable_hint(correction.hint, problem)
        return intervention_at(
            trajectory,
            start,
            end,
            correction.trigger,
            analysis=correction.analysis,
            hint=complete_hint(correction.hint, correction.trigger, response[:start]),
            intervener=self.name,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._chat.close()


class LlmAnnotator:
    """A chat model that classifies finished responses; it sees no label, as in the paper (appendix J)."""

    def __init__(
        self,
        model: str,
        temperature: float = 1.0,
        top_p: float = 0.95,
        base_url: str | None = None,
        client: openai.AsyncOpenAI | None = None,
        settings: ChatSettings | None = None,
    ) -> None:
        """Prepares a client; see `LlmIntervener`."""
        self._chat = ChatModel(
            model, temperature=temperature, top_p=top_p, base_url=base_url, client=client, settings=settings
        )

    @property
    def name(self) -> str:
        """Model and version of the prompt ("llm:gemini-2.5-pro@annotator-1")."""
        return f"llm:{self._chat.model}@{ANNOTATOR_PROMPT}"

    async def annotate(self, question: str, response: str) -> list[Trigger]:
        """Returns the triggers of a response, at most two, in order of appearance; none when it is flawless.

        Raises:
            InputError: The server refuses key, model or request.
            InfrastructureError: The server cannot be reached, or no reply could be used.
        """
        prompt = filled(ANNOTATOR_PROMPT, {"problem": question, "response": response})
        return await self._chat.ask(prompt, read_triggers)

    async def close(self) -> None:
        """Closes the connections."""
        await self._chat.close()


def _earlier_hints(trajectory: Trajectory) -> str:
    hints = [
        " ".join(s.text.replace("```python", "").split()) for s in trajectory.spans if s.author is Author.INTERVENER
    ]
    return "\n".join(f"- {hint}" for hint in hints) or "none"
