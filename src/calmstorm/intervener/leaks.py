"""Whether the words of a hint give the answer away.

Secret is the label, as long as the trajectory has not come to it: once a program has printed it before the hint, a hint
may quote it, as the paper's own do ("The solver returned an optimal cost of $392,760", appendix I). Until then

- a number that agrees with the label, within the tolerance of grading and however it is written, is a leak unless it is
  plainly something else: a number of the problem's text, the bound of a constraint that the hint names ("x >= 0",
  "0 or 1"), or a count ("step 2", "the three cheapest centers");
- even those are leaks where the words present them as the answer ("the optimal value is actually 5");
- a status is a leak where it is stated or suspected ("it may be infeasible"), and none where a hint asks for it ("I
  should check whether it is infeasible"): finding that out is left to a program.

Words are matched, not understood. In doubt a hint is refused, with the reason; whoever made it can put it differently.
"""

from __future__ import annotations

import re

from calmstorm.grading import TOLERANCE, compare, is_gradable
from calmstorm.intervener.numerals import Reading, readings
from calmstorm.problems.labels import STATUS_PHRASES
from calmstorm.records import Author, LabelStatus, Problem, Trajectory
from calmstorm.rollout.output_block import is_spent_block


def _pattern(*pieces: str) -> re.Pattern[str]:
    return re.compile("".join(pieces), re.IGNORECASE)


# ------------------------------------------------------------------ how an answer is presented

_LINK = (
    r"(?:is|was|be|been|being|are|should|must|would|will|could|can|might|may|has|have|had|to|of|as|at|equals?|equal"
    r"|actually|really|exactly|precisely|simply|just|only|about|approximately|around|roughly|nearly|close|then|thus|so"
    r"|here|now|the|a|an|number|value|figure|comes?|came|out|turns?|works?|amounts?|gets?|gives?|that|it|in|fact|say"
    r"|says|namely|which|this|indeed|instead|rather|dollars?|but|not\W+[\d.,]+)"
)
"""Words that may stand between what is named and its value."""
_MONEY = r"(?:costs?|profit|revenue|income|earnings|expenses?|return|expenditure|gain|objective|score|total|savings)"
_RESULT = (
    r"(?:answer|result|outcome|optimum|solution|ground truth|label|objective(?: function)?(?: value)?|z\*?"
    r"|optimal(?=\W*[=:])"
    rf"|(?:total|overall|net) (?:\w+ )?{_MONEY}"
    r"|(?:max(?:imum|imal|imized)?|min(?:imum|imal|imized)?|highest|lowest|largest|smallest|least|greatest|cheapest)"
    rf" (?:\w+ ){{0,2}}{_MONEY}"
    r"|(?:optimal|final|best|true|expected|correct|right|actual) (?:\w+ )?"
    rf"(?:value|number|figure|{_MONEY}|makespan|distance|time|length|amount|count|quantity))"
)
"""What the final answer is called."""
_SPEAKS_OF_RESULT = _pattern(rf"\b{_RESULT}\b")
_NAMED = _pattern(rf"\b{_RESULT}\W*(?:{_LINK}\W+)*\Z")
_GIVEN_AS_ANSWER = _pattern(
    rf"\bbox(?:ed)?\W+(?:(?:{_LINK}|contains?|holds?|reads?|with)\W+)*\Z|",
    r"\b(?:box(?:ed)?|answer(?:ed)?|submit|conclude|report|end up (?:with|at)|arrive at",
    r"|come(?:s|ing)? (?:to|out(?: (?:to|as|at))?))",
    rf"\W+(?:{_LINK}\W+)*\Z",
)
_ARRIVED_AT = _pattern(rf"\b(?:get|obtain|find|reach)\W+(?:{_LINK}\W+)*\Z")
_IT_IS = _pattern(r"\b(?:it|this|that|which)\W+(?:is|was|be|should|must|would|will|has|equals?|comes?)\b[^.;]*\Z")
_CALLED = _pattern(
    r"[\s,]*(?:[a-z]+\s+)?(?:",
    r"(?:is|was|as|being|must be|should be|would be|will be|which is|for)\W+(?:(?:the|my|our|an?)\W+)?(?:\w+\W+)?",
    rf"{_RESULT}\b|[,(\s-]+(?:the|my|our)\W+(?:\w+\W+)?{_RESULT}\s*(?:[.,;:)]|\Z)",
    r"|(?:\w+\W+)?(?:is|are|would be|should be|must be) (?:optimal|best|achievable|attainable)\b",
    r"|(?:\w+\W+)?(?:suffices?\b|is enough\b|(?:(?:should |must |to )?(?:go(?:es)?|belongs?) )?"
    r"(?:in|into|inside) (?:the|my) (?:final )?box\b))",
)
_ENDS = _pattern(r"\s*(?:dollars?|units?|in total|exactly|overall)?\s*(?:[.,;:!?)\"'*\]]|\Z|\b(?:as|and|then|so)\b)")
_COEFFICIENT = _pattern(
    r"\s*(?:\*\s*\w|\u00d7|[a-z]\d*\b(?!\s+[a-z])|[a-z]_\w+|(?:\w+\s+){0,2}(?:per|each|every|apiece|times)\b)"
)

# ------------------------------------------------------------------ what a number may be beside the answer

_SIGN = r"(?:<=|>=|=<|=>|<|>|[\u2260\u2264\u2265\u2a7d\u2a7e]|\\leq?(?:slant)?\b|\\geq?(?:slant)?\b|!=|\\neq?\b)"
_SYMBOL_BEFORE = _pattern(r"(?<![\w*^])(?!z\b|obj\b)[a-z]\w{0,2}(?:\[\w+\])?\s*", _SIGN, r"\s*\Z")
"""A bound on a variable by its name: x >= 0, x_1 <= 5."""
_SIGN_BEFORE = _pattern(_SIGN, r"\s*\Z")
_SIGN_AFTER = _pattern(r"\s*", _SIGN)
_BOUND_BEFORE = _pattern(
    r"\b(?:at most|at least|no (?:more|less|fewer) than|exceed(?:s|ing)?|(?:less|greater|more|fewer|smaller) than"
    r"|or equal to|up to|between(?: [\d.,]+ and)?|bounded (?:by|below by|above by)|limit(?:ed)? (?:to|of)|bound of)"
    r"\s*(?:the|exactly)?\s*\Z"
)
_BIG_M_BEFORE = _pattern(
    r"\bbig[\s-]?m\b\W*(?:(?:of|is|as|be|to|at|with|such|like|say|least|should|must|set|value|constant|a|the)\W+){0,6}\Z"
)
_BIG_M_AFTER = _pattern(r"\s*(?:as|for|is)\s+(?:(?:a|the|my)\s+)?big[\s-]?m\b")
"""A big enough number of a linking constraint, which whoever writes the model chooses."""
_DIVIDED_BEFORE = _pattern(r"\bdivi(?:de|des|ded|ding|sion)\b[^.;\d]*\bby\s*\Z")
_EQUAL_BEFORE = _pattern(r"(?<![<>!])==?\s*\Z")
_CONSTRAINT = _pattern(
    r"\b(?:constrain\w*|bound(?:s|ed)?|limit\w*|restrict\w*|conditions?|domain|balance|requirements?|capacit\w+"
    r"|non-?negativ\w+|equations?|inequalit\w+)\b"
)
_VARIABLE = _pattern(r"\b(?:variables?|low_?bound|lb|lower bound)\b")
"""Of these 0 is an ordinary bound."""
_OF_RESULT = _pattern(rf"\b(?:{_MONEY}|answer|result|outcome|optim\w+|solution|label|z|obj)\b")
_BINARY = _pattern(r"\b(?:binary|indicator|boolean|0-1)\W+(?:\w+\W+)?(?:variables?|\w)\b")
_TAKES_BEFORE = _pattern(r"\b(?:is|are|be|becomes?|equals?|takes?|to|value|values|of|either)\s*\Z")
_SWITCH = _pattern(
    r"\b(?:0|zero)\s*(?:,|/|-|or|and|to)\s*(?:1|one)\b|\b(?:1|one)\s*(?:/|-|or|and)\s*(?:0|zero)\b"  # a binary variable
)
_CLAUSE = _pattern(r"[.,;:()\n]|\b(?:so|because|since|but|while|which|that|and)\b")
_SENTENCE = re.compile(r"(?<=[.!?;])\s|\n")
_SUM_BEFORE = _pattern(r"\bsums?\b[^.;]*\b(?:equals?|be|is|to)\s*\Z")
"""The choices of an assignment add up to 1."""
_CONVERSION = _pattern(
    r"\s*(?:months|weeks|days|hours|minutes|seconds|grams|kilograms|kg|g|meters|metres|m|cents|percent)\s+(?:in|per|make|to)\b"
)
_COUNTED = (
    r"(?:steps?|constraints?|variables?|blocks?|lines?|parts?|cases?|equations?|rows?|columns?|types?|triggers?|options?"
    r"|items?|rounds?|runs?|sections?|stages?|phases?|scripts?|attempts?|decimals?|digits?|kinds?|ways?|ind(?:ex|ices))"
)
_COUNT_BEFORE = _pattern(rf"(?:\b{_COUNTED}\s*#?|\w\[)\s*\Z")
_COUNT_AFTER = _pattern(rf"\s*(?:[a-z-]+\s+){{0,2}}?{_COUNTED}\b")
_MOST_COUNTED = 20
_COUNTS_SOMETHING = _pattern(
    r"[\s-]+(?!(?:dollars?|units?|euros?|in|as|and|or|is|are|then|should|must|would|suffices?|percent)\b)[a-z]"
)
_FEW = 4
"""Up to here, number words before another word are ordinary language ("the three cheapest centers")."""

# ------------------------------------------------------------------ labels that are no numbers

_ASKED = _pattern(r"\b(?:whether|(?:check|test|verify) that|in case|if)\b[^.!?;]*\Z")
_STATUS = {
    LabelStatus.INFEASIBLE: _pattern(
        r"\b(?:not |non-?|isn't |never )feasible\b|\binfeasibility\b|\bcontradictory\b"
        r"|\bno (?:\w+ )?(?:plan|point|assignment|schedule)s? (?:can|could|satisf\w+|meets?|exists?)\b"
        r"|\b(?:cannot|can't|impossible to) (?:all )?(?:be )?(?:met|meet|satisf\w+)\b"
    ),
    LabelStatus.UNBOUNDED: _pattern(
        r"\bunboundedness\b|\bnot bounded\b|\bwithout (?:any )?(?:limit|bound)\b|\bno finite\b"
        r"|\barbitrarily (?:large|high)\b|\b(?:grows?|increases?|rises?) (?:forever|indefinitely)\b"
    ),
}


def gives_away(text: str, problem: Problem, printed: str = "") -> bool:
    """Whether words of a hint give the label of a problem away.

    Args:
        text: The words.
        problem: Problem with its label; without a usable one nothing can be given away.
        printed: What programs have printed before the hint.
    """
    label = problem.label
    if label is None or not is_gradable(problem):
        return False
    if isinstance(label, str):
        return _states(text, problem.status) and not _states(printed, problem.status)
    plain, numbers = readings(text)
    named = [reading for reading in numbers if _agrees(reading, label, problem)]
    if not named or any(_agrees(reading, label, problem) for reading in readings(printed)[1]):
        return False
    given = {reading.value for reading in readings(problem.question)[1]}
    return any(_is_presented(plain, it) or not (it.value in given or _is_something_else(plain, it)) for it in named)


def printed_before(trajectory: Trajectory, position: int) -> str:
    """Returns what programs had printed before a position of the response, characters."""
    outputs, start = [], 0
    for span in trajectory.spans:
        if span.author is Author.INTERPRETER and start < position and not is_spent_block(span.text):
            outputs.append(span.text[: position - start])
        start += len(span.text)
    return "\n".join(outputs)


def _agrees(reading: Reading, label: float, problem: Problem) -> bool:
    return compare(abs(label), reading.value, max(problem.tolerance or 0, TOLERANCE))


def _around(text: str, reading: Reading) -> tuple[str, str]:
    return text[max(0, reading.start - 160) : reading.start], text[reading.end : reading.end + 80]


def _is_presented(text: str, reading: Reading) -> bool:
    """Whether a text calls a number the answer."""
    before, after = _around(text, reading)
    if _COEFFICIENT.match(after) or _COUNT_BEFORE.search(before):
        return False
    if _NAMED.search(before) or _GIVEN_AS_ANSWER.search(before) or _CALLED.match(after):
        return True
    is_said_of_it = _SPEAKS_OF_RESULT.search(before) is not None and _IT_IS.search(before) is not None
    return _ENDS.match(after) is not None and (is_said_of_it or _ARRIVED_AT.search(before) is not None)


def _is_something_else(text: str, reading: Reading) -> bool:
    """Whether a number is plainly not the answer: a count, the bound of a constraint, a value of a binary variable."""
    before, after = _around(text, reading)
    if reading.value <= _MOST_COUNTED and (_COUNT_BEFORE.search(before) or _COUNT_AFTER.match(after)):
        return True
    if reading.spelled and reading.value <= _FEW and (reading.value == 1 or _COUNTS_SOMETHING.match(after)):
        return True
    if _CONVERSION.match(after) or (reading.value == 1 and _SUM_BEFORE.search(before)):
        return True
    if any(switch.start() <= reading.start and reading.end <= switch.end() for switch in _SWITCH.finditer(text)):
        return True
    if _SYMBOL_BEFORE.search(before) or _BIG_M_BEFORE.search(before) or _BIG_M_AFTER.match(after):
        return True
    if reading.value == 0 and _DIVIDED_BEFORE.search(before):
        return True
    if _OF_RESULT.search(_CLAUSE.split(before)[-1] + " " + _CLAUSE.split(after)[0]):
        return False
    if _SIGN_BEFORE.search(before) or _SIGN_AFTER.match(after):
        return True
    sentence = _SENTENCE.split(before)[-1] + " " + _SENTENCE.split(after)[0]
    if reading.value == 0 and _VARIABLE.search(sentence):
        return True
    if reading.value in (0, 1) and _TAKES_BEFORE.search(before) and _BINARY.search(sentence):
        return True
    names_one = _CONSTRAINT.search(sentence) is not None
    return names_one and (_BOUND_BEFORE.search(before) or _EQUAL_BEFORE.search(before)) is not None


def _states(text: str, status: LabelStatus) -> bool:
    """Whether a text states or suspects a status; a label that only says "no optimum" has either."""
    if status is LabelStatus.NO_OPTIMUM:
        patterns = [*_STATUS.values(), *(pattern for _, pattern in STATUS_PHRASES)]
    else:
        patterns = [_STATUS[status], *(pattern for named, pattern in STATUS_PHRASES if named is status)]
    matches = (match for pattern in patterns for match in pattern.finditer(text.replace("_", " ")))
    return any(_ASKED.search(text[: match.start()]) is None for match in matches)
