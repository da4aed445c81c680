from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.grading import ProblemCheck, check, check_problems, grade
from calmstorm.records import LabelStatus, Problem, Verdict

labels = st.one_of(
    st.floats(-1e15, 1e15, allow_subnormal=False).map(lambda x: (x, LabelStatus.OPTIMAL)),
    st.sampled_from([(0.0, LabelStatus.OPTIMAL), (1e12, LabelStatus.OPTIMAL), (1e-9, LabelStatus.OPTIMAL)]),
    st.sampled_from([(None, status) for status in LabelStatus if status is not LabelStatus.OPTIMAL]),
)


@given(st.lists(labels, max_size=5))
def test_every_label_scores_with_itself_and_not_when_corrupted(
    given_labels: list[tuple[float | None, LabelStatus]],
) -> None:
    problems = [Problem(id=str(n), question="q", answer=a, status=s) for n, (a, s) in enumerate(given_labels)]
    check = check_problems(problems)
    assert check.problems == ()
    assert check.rows == sum(check.statuses.values()) == len(problems)
    assert check.checked == sum(s not in (LabelStatus.MISSING, LabelStatus.SENTINEL) for _, s in given_labels)


def test_an_empty_text_is_reported() -> None:
    check = check_problems([Problem(id="7", question=" ")])
    assert check.problems == ("7: the problem text is empty",)


def test_the_statuses_of_all_labels_are_counted() -> None:
    problems = [Problem(id=str(n), question="q", answer=15.0, status=LabelStatus.OPTIMAL) for n in range(2)]
    problems.append(Problem(id="2", question="q", status=LabelStatus.SENTINEL))
    assert check_problems(problems) == ProblemCheck(
        rows=3,
        statuses={**dict.fromkeys(LabelStatus, 0), LabelStatus.OPTIMAL: 2, LabelStatus.SENTINEL: 1},
        checked=2,
        problems=(),
    )


TRIED = [
    (15.0, LabelStatus.OPTIMAL, None, ["15.0", "about 15.0 units"], ["", "15.0225", "sentinel", "infeasible"]),
    (
        -2000.0,
        LabelStatus.OPTIMAL,
        None,
        ["-2000.0", "about -2,000.0 units"],
        ["", "-1997.0", "sentinel", "infeasible"],
    ),
    (0.0, LabelStatus.OPTIMAL, None, ["0.0", "about 0.0 units"], ["", "0.0015", "sentinel", "infeasible"]),
    (15.0, LabelStatus.OPTIMAL, 0.1, ["15.0", "about 15.0 units"], ["", "17.25", "sentinel", "infeasible"]),
    (15.0, LabelStatus.OPTIMAL, 0.0, ["15.0", "about 15.0 units"], ["", "30.0", "sentinel", "infeasible"]),
    (0.5, LabelStatus.OPTIMAL, 0.0, ["0.5", "about 0.5 units"], ["", "1.5", "sentinel", "infeasible"]),
    (None, LabelStatus.NO_OPTIMUM, None, ["no optimum"], ["", "0.0015", "sentinel"]),
]


@pytest.mark.parametrize(("answer", "status", "tolerance", "right", "wrong"), TRIED)
def test_every_answer_that_a_broken_grading_gets_wrong_is_named(
    answer: float | None,
    status: LabelStatus,
    tolerance: float | None,
    right: list[str],
    wrong: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def inverted(problem: Problem, response: str) -> Verdict:
        tried.append(response)
        verdict = grade(problem, response)
        return verdict.model_copy(update={"correct": not verdict.correct})

    monkeypatch.setattr(check, "grade", inverted)
    problem = Problem(id="7", question="q", answer=answer, status=status, tolerance=tolerance)
    assert check_problems([problem]).problems == (
        *(f"7: its own answer {text!r} does not score 1" for text in right),
        *(f"7: the wrong answer {text!r} scores" for text in wrong),
    )
    assert tried == [f"\\boxed{{{text}}}" for text in (*right, *wrong)]
