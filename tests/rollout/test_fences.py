from __future__ import annotations

import pytest

from calmstorm.rollout.fences import (
    Fence,
    count_code_blocks,
    fences,
    first_closed,
    opened_python,
    script_of,
    unrun_code,
)

CLOSED = "```python\nx = 1\n```\n"


def parts(text: str) -> list[tuple[str, str, bool]]:
    """Language, body and whether it is closed, of each block; every offset is used."""
    return [
        (fence.language, text[fence.body : fence.end if fence.close is None else fence.close], fence.close is not None)
        for fence in fences(text)
    ]


def test_the_offsets_of_a_block_are_those_of_its_lines() -> None:
    text = f"Text.\n{CLOSED}More."
    assert list(fences(text)) == [Fence("python", start=6, body=16, close=22, end=26)]
    assert list(fences("```python\nx = 1")) == [Fence("python", start=0, body=10, close=None, end=15)]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no block", []),
        ("~~~json\n{}\n~~~\n", [("json", "{}\n", True)]),
        ("```Python\nx\n```", [("python", "x\n", True)]),
        ("  ``` py title=a.py\nx\n```\n", [("py", "x\n", True)]),
        ("````python\n```\nx\n````\n", [("python", "```\nx\n", True)]),  # a shorter marker does not close
        ("```python\nx\n````\n", [("python", "x\n", True)]),  # a longer one does
        ("```python\nx\n~~~\n", [("python", "x\n~~~\n", False)]),  # another one does not
        ("```python\n```json\nx\n```\n", [("python", "```json\nx\n", True)]),  # an opening line within a block is text
        ("```\nx\n```\n", [("", "x\n", True)]),
        ("```\nSo:\n```python\nx\n```\n", [("python", "x\n", True)]),  # the bare fence is stray
        ("``` {.x}\n```python\nx\n```\n", [("python", "x\n", True)]),  # so is any other before one of Python
        ("```output\n3\n```python\nx\n```\n", [("python", "x\n", True)]),
        ("````text\n```python\nx\n```\n````\n", [("text", "```python\nx\n```\n", True)]),  # not a longer one
        ("~~~text\n```python\nx\n~~~\n", [("text", "```python\nx\n", True)]),  # nor one of another kind
        ("``` {.x}\n```json\nx\n```\n", [("", "```json\nx\n", True)]),
        ("- ```python\n  x\n  ```\n", [("python", "  x\n", True)]),
        ("12. ~~~py\nx\n~~~\n", [("py", "x\n", True)]),
        ("```python\n- ```\n```\n", [("python", "- ```\n", True)]),  # an item does not close
        ("```\na\n```\n```\nb\n```\n", [("", "a\n", True), ("", "b\n", True)]),
        ("```python", []),  # its line may go on
        ("```python`\nx", []),
        ("``\nx\n``\n", []),
    ],
)
def test_blocks_are_found_by_their_fences(text: str, blocks: list[tuple[str, str, bool]]) -> None:
    assert parts(text) == blocks


@pytest.mark.parametrize(
    "language", ["python", "py", "python3", "PYTHON", "Python ", "python\t", " python", "python\r"]
)
def test_a_block_in_python_is_run_however_python_is_called(language: str) -> None:
    assert unrun_code(f"```{language}\nx = 1\n```\n") == "x = 1\n"
    assert unrun_code(f"~~~{language}\nx = 1\n~~~\n") == "x = 1\n"


@pytest.mark.parametrize("closing", ["``` \n", "```\t\n", "```\r\n", "   ```\n", "````\n", "```\n\n"])
def test_a_block_is_closed_by_any_line_of_its_marker_alone(closing: str) -> None:
    assert unrun_code(f"```python\nx = 1\n{closing}") == "x = 1\n"


@pytest.mark.parametrize(
    ("block", "code"),
    [
        ("   ```python\n   if x:\n       y()\n   ```\n", "if x:\n    y()\n"),
        ("1. ```python\n   if x:\n       y()\n   ```\n", "if x:\n    y()\n"),
        ("  ```python\nif x:\n  y()\n```\n", "if x:\n  y()\n"),  # only its fences are indented
        ("```python\n  s = '''\n \n'''\n```\n", "  s = '''\n \n'''\n"),  # a block that is not is left as it is
    ],
)
def test_an_indented_block_loses_its_indentation(block: str, code: str) -> None:
    assert unrun_code(f"So:\n{block}") == code


def test_the_first_python_block_that_closes_behind_a_position_is_found() -> None:
    text = f"{CLOSED}```json\n```\n{CLOSED}{CLOSED}"
    assert first_closed(text, 0) == next(fences(text))
    second = first_closed(text, len(CLOSED))
    assert second is not None
    assert second.end == len(text) - len(CLOSED)
    assert first_closed(text, len(text)) is None
    assert first_closed("```python\nx", 0) is None


@pytest.mark.parametrize(
    "tail",
    ["", "text", "```python\nx = 1", "```python\nx = 1\n```", "```json\n{}\n```\n", f"{CLOSED}more", f"{CLOSED}```\n"],
)
def test_nothing_is_run_when_the_text_does_not_end_in_a_closed_python_block(tail: str) -> None:
    assert unrun_code(tail) is None


@pytest.mark.parametrize(
    ("tail", "start"),
    [
        ("", None),
        ("text", None),
        (CLOSED, 0),
        (f"text\n{CLOSED}", 5),
        (f"text\n{CLOSED} \n", 5),
        (f"{CLOSED}more", None),
        (f"{CLOSED}more\n```python\ny", 25),
        ("text\n```python\nx = 1", 5),
        ("text\n```json\n{}\n```\n", None),
        ("text\n```json\n{}", None),
    ],
)
def test_the_python_block_that_a_text_ends_in_is_found(tail: str, start: int | None) -> None:
    assert opened_python(tail) == start


def test_the_blocks_of_python_are_counted_and_no_others() -> None:
    assert count_code_blocks("text") == 0
    assert count_code_blocks(f"{CLOSED}```output\n1\n```\n{CLOSED}```json\n{{}}\n```\n```py\nopen") == 3


@pytest.mark.parametrize(
    ("code", "script"),
    [
        (CLOSED, "x = 1"),
        ("```python\n  x = 1 \n\n```", "  x = 1 "),  # only lines are removed, not the indentation
        ("\n ```py \n\nx = 1\n", "x = 1"),
        ("~~~python  \nx = 1\n~~~ \n", "x = 1"),
        ("- ```python\n  x = 1\n  ```\n", "x = 1"),
        ("```\n", ""),
        ("x = '''```'''", "x = '''```'''"),
        ("x = 1\n```\n", "x = 1"),  # a hint has opened the block
        ("x = 1", "x = 1"),
        ("```python\nX = 1 + MAX\n```\n", "X = 1 + MAX"),
        ("```python\ns = '''\n```\n'''\n```\n", "s = '''\n```\n'''"),
    ],
)
def test_the_script_of_a_code_span_is_what_stands_between_its_fences(code: str, script: str) -> None:
    assert script_of(code) == script
