from __future__ import annotations

import random
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.grading import extract_answer, grade
from calmstorm.grading.boxes import find_boxes
from calmstorm.records import LabelStatus, Problem


def boxed(content: str) -> str:
    return f"The optimum is\n\\boxed{{{content}}}\nand that is it."


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("15", 15.0),
        ("15 dollars in total", 15.0),
        (r"\$1,234.50", 1234.5),
        ("1.25e+06", 1.25e6),
        (r"1.2 \times 10^{6}", 1.2e6),
        (r"-\frac{3}{4}", -0.75),
        (r"1\frac{1}{2}", 1.5),
        ("3/4", 0.75),
        (r"Z^* = 25", 25.0),
        (r"\text{Total cost is \$1234.0}", 1234.0),
        (r"15\text{ m}^2", 15.0),
        (r"12.5\%", 12.5),
        ("1 234 567", 1234567.0),
        ("1{,}234", 1234.0),
        ("2.5 million", 2.5e6),
        ("\u22125", -5.0),
        ("-$5", -5.0),
        ("x_1 = 3", 3.0),
        ("3*5 = 15", 15.0),
        ("40 tons of CO2", 40.0),
        (r"\approx 15.2", 15.2),
        (r"\mathbf{\text{15}}", 15.0),
        ("0", 0.0),
        ("1e-9", 1e-9),
        ("1000000000000", 1e12),
    ],
)
def test_the_number_is_read_however_it_is_written(content: str, value: float) -> None:
    assert extract_answer(boxed(content)).value == value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        # spacing and separators of LaTeX
        (r"15\;000", 15000.0),
        (r"15\:000", 15000.0),
        (r"15,\!000", 15000.0),
        (r"\$\,15{,}000.00", 15000.0),
        ("4\u2019200", 4200.0),
        # colours, sizes, fonts, packages
        (r"\color{blue}{42}", 42.0),
        (r"\textcolor{red}{42}", 42.0),
        (r"\large 42", 42.0),
        (r"\underline{\mathbf{42}}", 42.0),
        (r"\num{42}", 42.0),
        (r"\SI{42}{kg}", 42.0),
        (r"\{42\}", 42.0),
        ("42\\\\", 42.0),
        ("**42**", 42.0),
        ("__42__", 42.0),
        # signs
        ("\u201042", -42.0),
        ("\u201142", -42.0),
        ("minus $42", -42.0),
        ("negative 42", -42.0),
        ("-(42)", -42.0),
        (r"-\left(42\right)", -42.0),
        ("(42)", 42.0),
        # powers and scales
        ("4.2\u00d710⁶", 4.2e6),
        ("10⁻⁹", 1e-9),
        ("4.2*10**6", 4.2e6),
        ("$42K", 42000.0),
        ("$4.2M", 4.2e6),
        ("4.2 m", 4.2),
        ("4.2 bn", 4.2e9),
        ("42 hundred", 4200.0),
        ("3 crore", 3e7),
        # about
        (r"\sim 42.5", 42.5),
        ("33.33...", 33.33),
        (r"33.33\ldots", 33.33),
        (r"\frac{127}{3} \approx 42.3", 42.3),
        # equations
        ("x = 5", 5.0),
        (r"\text{Max } Z = 42", 42.0),
        ("f(3, 4) = 42", 42.0),
        (r"\sum_{i=1}^{3} c_i x_i = 42", 42.0),
        ("Z = 10(3) + 20(4) = 110", 110.0),
        ("Z = 3 x_1 + 2 x_2 = 12", 12.0),
        ("Total for 3 days = 42", 42.0),
        ("42 tons of co2", 42.0),
    ],
)
def test_the_number_is_read_in_ways_that_models_really_write(content: str, value: float) -> None:
    got = extract_answer(boxed(content))
    assert got.value == value
    assert not got.protocol_ok


@pytest.mark.parametrize(
    "response",
    [
        "$$\n\\boxed{42}\n$$",
        "\\[\n\\boxed{42}\n\\]",
        "\\begin{align}Z&=\\boxed{42}\\end{align}",
        "**\\boxed{42}**",
        "$\\boxed{42}$.",
        "\\boxed {42}",
        "\\boxed{\n42\n}",
    ],
)
def test_what_stands_around_the_box_does_not_matter(response: str) -> None:
    got = extract_answer(response)
    assert (got.value, got.protocol_ok) == (42.0, True)


@pytest.mark.parametrize(
    "content",
    [
        # a number that belongs to something else
        "Z = 42 at x = 3",
        "42 when x = 3",
        "42 with chairs = 3",
        "42 (x = 3)",
        "x=3 y=4",
        r"x_1=3\quad x_2=4",
        "x=3~y=4",
        # a number that is part of an expression
        "2³",
        "3½",
        "√16",
        "sqrt(16)",
        "log(42)",
        "±42",
        "≠ 42",
        "3x_1",
        r"42\times",
        r"{4}^{2}",
        "--42",
        # decimal commas
        "1.234,56",
        ",5",
        "1 234,56",
        # a number and a status
        "0 (no feasible solution)",
        "infeasible, 0",
        "Unbounded: 0",
    ],
)
def test_nothing_is_read_where_a_number_would_be_the_wrong_one(content: str) -> None:
    got = extract_answer(boxed(content))
    assert (got.value, got.protocol_ok) == (None, False)


@pytest.mark.parametrize(
    "content",
    [
        "x = 3, y = 4",
        "100, 200",
        "10-20",
        r"\sqrt{2}",
        "3,5",
        r"3 \cdot 4",
        r"\geq 15",
        "1e400",
        "1e308 million",
        "400 dollars (40 chairs)",
        "n/a",
        "nan",
        "1/0",
    ],
)
def test_nothing_is_read_when_the_box_does_not_state_one_number(content: str) -> None:
    assert extract_answer(boxed(content)).value is None


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("infeasible", "infeasible"),
        (r"\text{Infeasible}", "infeasible"),
        ("The problem has no feasible solution", "infeasible"),
        ("no solution", "infeasible"),
        ("Unbounded", "unbounded"),
        (r"\infty", "unbounded"),
        ("No Best Solution", "no_optimum"),
        ("infeasible or unbounded", "no_optimum"),
        ("not feasible", "infeasible"),
        ("not infeasible", None),
    ],
)
def test_words_become_statuses_when_the_box_holds_no_number(content: str, status: str | None) -> None:
    assert extract_answer(boxed(content)).value == status


@pytest.mark.parametrize("content", ["1234", "1234.37", "-700", "0", "1e12", " 15 ", "infeasible", r"\text{unbounded}"])
def test_the_protocol_is_kept_when_the_box_holds_one_plain_number_or_status(content: str) -> None:
    assert extract_answer(boxed(content)).protocol_ok


@pytest.mark.parametrize(
    "content",
    ["15 dollars", r"\$15", "1,234", "x = 15", r"\text{15}", "3/4", "12.5%", "the model is infeasible", "x = 1, y = 2"],
)
def test_the_protocol_is_broken_when_the_box_holds_anything_else(content: str) -> None:
    assert not extract_answer(boxed(content)).protocol_ok


def test_the_last_box_decides_when_there_are_several() -> None:
    got = extract_answer(r"First \boxed{12}, no: \boxed{\text{profit } 15}")
    assert (got.value, got.protocol_ok, got.boxes) == (15.0, False, ("12", r"\text{profit } 15"))


def test_an_empty_box_is_a_mention_and_not_an_answer() -> None:
    got = extract_answer(r"\boxed{7} as asked inside \boxed{}")
    assert (got.value, got.protocol_ok) == (7.0, False)


@pytest.mark.parametrize("response", ["", "The answer is 15.", r"\boxed{15", r"\boxed 15", r"\boxed{}"])
def test_there_is_no_answer_when_no_box_is_filled_and_closed(response: str) -> None:
    got = extract_answer(response)
    assert (got.value, got.protocol_ok) == (None, False)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nprint(r'\\boxed{99}')\n```",
        "```output\n\\boxed{99}\n```",
        "~~~\n\\boxed{99}\n~~~",
        "````python\n```\n\\boxed{99}\n````",
        "```python\n# cut off here \\boxed{99}",
    ],
)
def test_a_box_inside_a_block_is_not_an_answer(block: str) -> None:
    assert extract_answer(f"\\boxed{{1}}\n{block}").value == 1.0


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("```\n\\boxed{3}\n```", 3.0),
        ("```markdown\n# Answer\n\\boxed{3}\n```\n", 3.0),
        ("\\boxed{}\n```\n\\boxed{3}\n```", 3.0),  # an empty box is none
        ("\\boxed{4}\n```\n\\boxed{3}\n```", 4.0),  # one outside goes before
        ("```python\nf()\n```\n```output\n\n```\n```\n\\boxed{3}\n```\n", 3.0),
        ("```python\nf()\n```\n\n```\n\\boxed{3}\n```\n", None),  # what the code printed
        ("```json\n\\boxed{3}\n```", None),
        ("```output\n\\boxed{3}\n```", None),
        ("```python\n# \\boxed{3}\n```", None),
    ],
)
def test_a_box_in_a_block_of_prose_is_the_answer_where_there_is_no_other(response: str, value: float | None) -> None:
    assert extract_answer(response).value == value


def test_a_stray_fence_hides_nothing_when_it_is_never_closed() -> None:
    assert extract_answer("```python\nprint(1)\n```\n```output\n1\n```\n```\nSo \\boxed{3}").value == 3.0


def test_a_box_with_escaped_braces_ends_where_its_own_brace_closes() -> None:
    assert find_boxes(r"\boxed{\{3\}} } \boxed{\frac{1}{2}}") == (r"\{3\}", r"\frac{1}{2}")
    assert find_boxes(r"\boxed{\}5}") == (r"\}5",)


def test_boxes_are_found_side_by_side_and_behind_one_that_is_not_closed() -> None:
    assert find_boxes(r"\boxed{1}\boxed{2}") == ("1", "2")
    assert find_boxes(r"\boxed{never closed \boxed{2}") == ("2",)
    assert find_boxes(rf"\boxed{{{'x' * 1000}}} \boxed{{2}}") == ("2",)
    assert find_boxes(rf"\boxed{{{'x' * 999}}} \boxed{{2}}") == ("x" * 999, "2")


def test_a_block_within_a_box_is_dropped_from_it() -> None:
    assert find_boxes("\\boxed{4\n```output\n1\n```\n2}") == ("4\n2",)


def render(rng: random.Random, number: Decimal) -> str:
    """Writes a number in one of many ways; the number itself is the oracle."""
    sign = "-" if number < 0 else ""
    plain = f"{abs(number):f}"
    grouped = f"{abs(number):,f}"
    digits, exponent = f"{abs(number):.15e}".split("e")
    styles = [
        f"{sign}{plain}",
        f"{sign}{grouped}",
        f"{sign}${grouped}",
        f"\\${sign}{plain}",
        f"{sign}{grouped} dollars",
        f"{sign}{plain}\\text{{ units}}",
        f"\\text{{Total: }} {sign}{plain}",
        f"z = {sign}{plain}",
        f"x_2 + y^2 = {sign}{grouped}",
        f"{sign}{digits} \\times 10^{{{int(exponent)}}}",
        f"{sign}{digits}e{exponent}",
        f"{sign}{digits}E{int(exponent):+d}",
        f"\\mathbf{{{sign}{plain}}}",
        f"{sign}{grouped.replace(',', '{,}')} m^2",
        f"{sign}{grouped.replace(',', chr(92) + ',')}",
        f"\u2212{plain}" if number < 0 else f"+{plain}",
        f"about {sign}{plain} per day.",
        f"{sign}\\frac{{{plain}}}{{1}}",
        f"${sign}{plain}$",
        f"{sign}{plain}\\%",
    ]
    return rng.choice(styles)


def test_ten_thousand_numbers_are_read_however_they_are_written() -> None:
    rng = random.Random(20251104)
    for _ in range(10_000):
        places = rng.choice([0, 0, 1, 2, 4])
        number = Decimal(
            rng.choice([0, rng.randint(-20, 20), rng.randint(-(10**6), 10**6), rng.randint(-(10**13), 10**13)])
        ).scaleb(-places)
        number = (
            rng.choice([number, Decimal("1e12"), Decimal("1e-9"), Decimal("-700")]) if rng.random() < 0.1 else number
        )
        content = render(rng, number)
        got = extract_answer(f"So \\boxed{{{content}}}.").value
        assert isinstance(got, float), content
        assert got == pytest.approx(float(number), rel=1e-12, abs=0), content


class Stated(NamedTuple):
    """A response with what it states, known from how it was made and not from reading it."""

    response: str
    value: Fraction | str | None
    bare: bool
    """The last box holds a plain number or status word."""


STATUS_TEXTS = [
    ("infeasible", "infeasible", True),
    (r"\text{Infeasible}", "infeasible", True),
    ("The problem is infeasible.", "infeasible", False),
    ("unbounded", "unbounded", True),
    (r"+\infty", "unbounded", False),
    ("No Best Solution", "no_optimum", True),
]
NOTHING = ["The profit is 15.", r"\boxed{}", r"\boxed{15", r"\boxed{x = 1, y = 2}", r"\boxed{\text{see above}}"]
NUMBERS = [Fraction(0), Fraction(10**12), Fraction(1, 10**9), Fraction(-700), Fraction(-1, 8), Fraction(1, 3)]


def state(rng: random.Random) -> Stated:
    kind = rng.random()
    before = rng.choice(
        ["", r"First \boxed{99}, but no. ", "```python\nprint(r'\\boxed{98}')\n```\n", r"$\boxed{n/a}$ "]
    )
    after = rng.choice(["", ".", " is the answer", "\n$$", "**"])
    if kind < 0.1:
        return Stated(rng.choice(NOTHING), None, bare=False)
    if kind < 0.2:
        text, status, bare = rng.choice(STATUS_TEXTS)
        return Stated(f"{before}\\boxed{{{text}}}{after}", status, bare)
    if kind < 0.35:
        over, under = rng.randint(-5000, 5000), rng.choice([2, 3, 7, 8, 1000])
        sign = "-" if over < 0 else ""
        text = rng.choice(
            [rf"{sign}\frac{{{abs(over)}}}{{{under}}}", f"{over}/{under}", rf"\text{{Z}} = {over} / {under}"]
        )
        return Stated(f"{before}\\boxed{{{text}}}{after}", Fraction(over, under), bare=False)
    number = rng.choice(
        [Decimal(0), Decimal("1e12"), Decimal("1e-9"), Decimal(rng.randint(-(10**7), 10**7)).scaleb(-3)]
    )
    text = render(rng, number)
    for _ in range(rng.randint(0, 2)):
        text = rng.choice([r"\mathbf{%s}", r"{%s}", r"\textcolor{red}{%s}"]) % text
    plain = re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?", text) is not None
    return Stated(f"{before}\\boxed{{{text}}}{after}", Fraction(number), plain)


def agrees(label: Fraction | str, value: Fraction | str | None) -> bool:
    """Equation 3 of the paper over exact fractions, an absolute tolerance at 0, and what a status may be called."""
    if isinstance(label, str) or isinstance(value, str) or value is None:
        return value == label or (label == "no_optimum" and value in ("infeasible", "unbounded"))
    return abs(value - label) * 1000 <= (abs(label) if label else 1)


def test_ten_thousand_responses_are_graded_as_an_oracle_grades_them() -> None:
    rng = random.Random(20251120)
    seen: Counter[tuple[bool, bool]] = Counter()
    for _ in range(10_000):
        stated = state(rng)
        near = stated.value if isinstance(stated.value, Fraction) else Fraction(15)
        factor = 1 + Fraction(rng.choice([0, 0, 9, -9, 11, -11, 500]), 10_000)
        statuses = ["infeasible", "unbounded", "no_optimum"]
        labels: list[Fraction | str] = [*[near * factor] * 6, *NUMBERS, rng.choice(statuses)]
        label = rng.choice(labels)
        label = Fraction(repr(float(label))) if isinstance(label, Fraction) else label
        problem = Problem(
            id="p",
            question="q",
            answer=None if isinstance(label, str) else float(label),
            status=LabelStatus(label) if isinstance(label, str) else LabelStatus.OPTIMAL,
        )
        verdict = grade(problem, stated.response)
        expected = float(stated.value) if isinstance(stated.value, Fraction) else stated.value
        assert verdict.got == (pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected), stated
        assert verdict.correct == agrees(label, stated.value), (stated, label)
        assert verdict.protocol_ok == stated.bare, stated
        seen[verdict.correct, verdict.protocol_ok] += 1
    assert len(seen) == 4  # correctness and protocol are independent
    assert min(seen.values()) > 200


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_the_box(number: float) -> None:
    assert extract_answer(f"\\boxed{{{number!r}}}").value == number


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_a_fraction_is_its_quotient(over: int, under: int) -> None:
    sign = "-" if over < 0 else ""
    assert extract_answer(f"\\boxed{{{sign}\\frac{{{abs(over)}}}{{{under}}}}}").value == over / under


@given(st.text(max_size=200))
def test_no_text_breaks_the_extraction(text: str) -> None:
    for response in (text, f"\\boxed{{{text}}}", f"\\boxed{{{text}"):
        assert isinstance(extract_answer(response).protocol_ok, bool)
