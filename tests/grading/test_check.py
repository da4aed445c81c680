from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calmstorm.grading import check_problems
from calmstorm.records import LabelStatus, Problem

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
