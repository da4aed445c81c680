"""From a problem text to the prompt a Reasoner sees (paper appendix I).

Prompts are files in `prompts/`, named with a version, with the marker `[[question]]` where the problem goes. The
question is put in by splitting the file there, once: no formatting language ever sees it, so its braces, dollars and
brackets arrive as written.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_PROMPT = "paper-1"
"""What the paper's template carries (appendix I.1), in words of our own; `docs/prompts.md` compares the prompts."""
MARKER = "[[question]]"
MODEL_SETTINGS = "calmstorm.json"
"""File in a model directory: `{"prompt": "<name>"}` chooses the prompt the model was trained on."""


def prompt_names() -> list[str]:
    """Returns the names of the prompts that ship."""
    return sorted(path.name.removesuffix(".md") for path in files(__package__).joinpath("prompts").iterdir())


def user_message(prompt: str, question: str) -> str:
    """Returns the message that asks `question` with the named prompt.

    Raises:
        InputError: There is no such prompt.
    """
    if prompt not in prompt_names():
        raise InputError(f"prompt is {prompt!r}; it must be one of {', '.join(prompt_names())}: set prompt")
    template = files(__package__).joinpath("prompts", f"{prompt}.md").read_text(encoding="utf-8").rstrip("\n")
    before, _, after = template.partition(MARKER)
    return before + question.strip() + after


def prompt_of_model(directory: Path) -> str:
    """Returns the prompt that a model directory asks for, else the default.

    Raises:
        InputError: The directory's settings cannot be read, or name no prompt.
    """
    path = directory / MODEL_SETTINGS
    if not path.is_file():
        return DEFAULT_PROMPT
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["prompt"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path} is not of the form {{"prompt": "name"}}: correct or remove it') from error
    return str(name)


def chat(tokenizer: PreTrainedTokenizerBase, message: str) -> str:
    """Returns one user message in the tokenizer's chat template, up to where the response begins."""
    conversation = [{"role": "user", "content": message}]
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))


def chatml(message: str) -> str:
    """Returns one user message in ChatML, the template of the Qwen family, for servers without a tokenizer at hand."""
    return f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"
