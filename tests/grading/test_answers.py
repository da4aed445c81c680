from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.grading import extract_answer
from calmstorm.grading.boxes import find_boxes


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
def test_the_number_is_read_however_it_is_dressed(content: str, value: float) -> None:
    assert extract_answer(boxed(content)).value == value


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


def test_a_stray_fence_hides_nothing_when_it_is_never_closed() -> None:
    assert extract_answer("```python\nprint(1)\n```\n```output\n1\n```\n```\nSo \\boxed{3}").value == 3.0


def test_a_box_with_escaped_braces_ends_where_its_own_brace_closes() -> None:
    assert find_boxes(r"\boxed{\{3\}} } \boxed{\frac{1}{2}}") == (r"\{3\}", r"\frac{1}{2}")


def render(rng: random.Random, number: Decimal) -> str:
    """Dresses a number; the undressed one is the oracle."""
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


def test_ten_thousand_dressed_numbers_are_read_as_what_they_are() -> None:
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
