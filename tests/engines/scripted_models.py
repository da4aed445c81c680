"""A Reasoner and a reviewing model that follow a script, behind servers: what comes of a curation is known beforehand.

Half of the problems are solved at once. For the others the Reasoner guesses until a hint makes it run code, and for
some of these it guesses once more after that. What it writes follows from the prompt alone, whatever was asked before.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.opening import pocket_directory
from tests.reasoner.completion_server import Call, CompletionServer

ANSWER = 400
"""Of every problem."""
REVIEWER = "reviewer-1"
"""Name of the reviewing model."""
_GUESS = "It must be seventeen, I guess.\n"
_SECOND_GUESS = "Or is it eighteen, I wonder.\n"
_SCRIPT = "from pulp import value\nprint(400)\n```\n"


def write_problems(path: Path, count: int) -> list[str]:
    """Writes problems to a file and returns their ids."""
    ids = [f"chairs-{number:03d}" for number in range(count)]
    lines = [{"id": name, "question": f"Room {name} takes how many chairs?", "answer": ANSWER} for name in ids]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ids


def hints_needed(problem: str) -> int:
    """Returns how many hints a problem takes: 0, 1 or 2."""
    return max(0, hashlib.sha256(problem.encode()).digest()[0] % 6 - 3)


def reasoner_server(model: Path | None = None, *, seconds: float = 0.0) -> CompletionServer:
    """Returns a server of the scripted Reasoner, which speaks in the tokens of a model directory, else of pocket."""
    tokenizer = load_tokenizer(str(model or pocket_directory()))
    return CompletionServer(
        _attempt,
        codec=TokenizerCodec(tokenizer),
        end_of_turn=int(tokenizer.eos_token_id),
        models=("scripted",),
        seconds=seconds,
        keep=False,
    )


def reviewer_server() -> CompletionServer:
    """Returns a server of the scripted reviewing model."""
    return CompletionServer(_review, models=(REVIEWER,), keep=False)


def _attempt(call: Call) -> str:
    question, _, response = call.prompt.rpartition("assistant\n")
    problem = question.rpartition("Room ")[2].partition(" takes")[0]
    if response.rstrip("\n").endswith("```python"):
        return _SCRIPT
    if "```output\n" not in response:
        return _GUESS + "\\boxed{17}" if hints_needed(problem) else "Let me model it.\n```python\n" + _SCRIPT
    if hints_needed(problem) == 2 and "wonder about" not in response:
        return _SECOND_GUESS + "\\boxed{18}"
    return "The printed value makes sense.\n\\boxed{400}"


def _review(call: Call) -> dict[str, Any]:
    asked = call.body["messages"][0]["content"]
    if _GUESS in asked:
        reply = correction(1, _GUESS, "I should not guess. Let me write the model as code and run it.")
    elif _SECOND_GUESS in asked:
        reply = correction(5, _SECOND_GUESS, "There is nothing to wonder about: let me read what was printed.")
    else:
        reply = "<action>NO_INTERVENTION</action>"
    return chat_reply(reply)


def chat_reply(text: str) -> dict[str, Any]:
    """Returns the body of a chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 1000, "completion_tokens": len(text) // 4, "total_tokens": 1000 + len(text) // 4}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": REVIEWER}
    return {**body, "choices": [choice], "usage": usage}


def correction(trigger: int, target: str, hint: str) -> str:
    """Returns a reply that replaces a passage by a hint."""
    return (
        f"<action>REPLACE_AND_CONTINUE</action>\n<trigger_type>Trigger {trigger}</trigger_type>\n"
        f"<analysis>It is a guess.</analysis>\n<target_text>{target.strip()}</target_text>\n"
        f"<hint_to_insert>{hint}</hint_to_insert>"
    )
