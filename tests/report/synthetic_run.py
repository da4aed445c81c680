"""A run directory as `calm demo` leaves it, made by code: deterministic, small problems, every kind of record.

Run as a script to look at a report of it: `python -m tests.report.synthetic_run DIRECTORY`.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import tomli_w

from calmstorm.records import (
    Author,
    Execution,
    ExecutionStatus,
    GoldenTrajectory,
    Intervention,
    LabelStatus,
    Problem,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
    Trigger,
    Usage,
    Verdict,
    VerdictStatus,
)
from calmstorm.settings import Recipe

CONFIG = tomli_w.dumps(Recipe(name="pocket", reasoner="pocket", seed=7).model_dump(mode="json", exclude_none=True))

ENV = {
    "versions": {
        "calmstorm": "0.1.0",
        "python": "3.11.9",
        "torch": "2.13.0+cpu",
        "transformers": "5.10.4",
        "trl": "1.16.0",
        "pulp": "3.3.2",
        "highspy": "1.11.0",
    },
    "platform": "Linux x86_64",
    "implementation": "cpython",
    "cores": 2,
    "commit": "0123456789abcdef0123456789abcdef01234567",
}

PRODUCTS = ["desk", "chair", "lamp", "sofa", "table", "bench", "stool", "cabinet", "mirror"]
HINTS = {
    1: "Wait, guessing by hand is unreliable. I should let a solver do this. ",
    2: "I am splitting this into fragments. One complete script is clearer. ",
    3: "The solver already gave the exact optimum, so I can trust it instead of adding it up again. ",
    4: "Before I answer, let me check briefly that this number is plausible. ",
    5: "Wait, the problem says that units cannot be split, so the variables must be integer. ",
    6: "My model has the right limit, but the code has another number. I should copy it exactly. ",
    7: "The box should hold one plain number and nothing else. ",
}


def make_problem(index: int, suite: str, stage: str, rng: random.Random) -> Problem:
    """A product mix with an answer found by enumeration."""
    a, b = rng.sample(PRODUCTS, 2)
    profit = [rng.randint(8, 60), rng.randint(8, 60)]
    labor = [rng.randint(1, 6), rng.randint(1, 6)]
    wood = [rng.randint(1, 7), rng.randint(1, 7)]
    limits = [rng.randint(30, 90), rng.randint(30, 90)]
    best = max(
        profit[0] * x + profit[1] * y
        for x in range(91)
        for y in range(91)
        if labor[0] * x + labor[1] * y <= limits[0] and wood[0] * x + wood[1] * y <= limits[1]
    )
    question = (
        f"A workshop makes {a}s and {b}s. Each {a} earns ${profit[0]} and needs {labor[0]} hours of labor and "
        f"{wood[0]} units of wood. Each {b} earns ${profit[1]} and needs {labor[1]} hours of labor and {wood[1]} units "
        f"of wood. There are {limits[0]} hours of labor and {limits[1]} units of wood. Units cannot be split. "
        "What is the maximum profit?"
    )
    return Problem(
        id=f"{stage}-{suite}-{index:03d}",
        question=question,
        answer=float(best),
        status=LabelStatus.OPTIMAL,
        suite=suite,
        label_version="generated-1",
        family="product_mix",
    )


def script(problem: Problem, *, integer: bool = True, limit_shift: int = 0) -> str:
    """Solver code for the problem, with or without a slip."""
    numbers = [int(word.strip("$.,")) for word in problem.question.split() if word.strip("$.,").isdigit()]
    profit_a, labor_a, wood_a, profit_b, labor_b, wood_b, labor, wood = numbers
    cat = ', cat="Integer"' if integer else ""
    return (
        "```python\nimport pulp\n\n"
        'p = pulp.LpProblem("mix", pulp.LpMaximize)\n'
        f'x = pulp.LpVariable("x", lowBound=0{cat})\n'
        f'y = pulp.LpVariable("y", lowBound=0{cat})\n'
        f"p += {profit_a} * x + {profit_b} * y\n"
        f"p += {labor_a} * x + {labor_b} * y <= {labor + limit_shift}  # labor\n"
        f"p += {wood_a} * x + {wood_b} * y <= {wood}  # wood\n"
        "p.solve(pulp.PULP_CBC_CMD(msg=0))\n"
        "print(pulp.LpStatus[p.status], pulp.value(p.objective))\n```\n"
    )


def span(author: Author, kind: SpanKind, text: str) -> Span:
    return Span(author=author, kind=kind, text=text, token_ids=tuple(range(5, 5 + max(1, math.ceil(len(text) / 3.5)))))


def thought(text: str) -> Span:
    return span(Author.REASONER, SpanKind.TEXT, text)


def solve_spans(problem: Problem, value: float, **slip: object) -> list[Span]:
    return [
        span(Author.REASONER, SpanKind.CODE, script(problem, **slip)),  # type: ignore[arg-type]
        span(Author.INTERPRETER, SpanKind.OUTPUT, f"```output\nOptimal {value}\n```\n"),
    ]


def plan(integer: bool = True) -> str:
    kind = "integer" if integer else "continuous"
    return (
        "I need to maximize profit. The plan:\n"
        f"variables: x, y ({kind})\nobjective: max profit\nlabor: row <= limit\nwood: row <= limit\nNow I code it.\n"
    )


def check() -> str:
    return "The status is Optimal and the value stays under what the labor alone would allow, so it is plausible.\n"


def box(value: float) -> str:
    return f"The maximum profit is \\boxed{{{value:g}}}."


def flawed(problem: Problem, trigger: int) -> tuple[list[Span], str, float]:
    """A response with one flaw: (spans, flawed passage, answer)."""
    best = problem.answer or 0.0
    wrong = best + 7
    if trigger == 1:
        passage = "This is small, so I can do it by hand.\nTry plan 1: the profit is " + f"{wrong:g}.\n"
        return [thought(plan() + passage + box(wrong))], passage, wrong
    if trigger == 2:
        passage = "```python\nimport pulp\nprices = [3, 4]\nprint('ok')\n```\n"
        tail = "Now I solve it.\n```python\np.solve()\n```\n"
        return (
            [
                thought(plan() + "First I define the data.\n"),
                span(Author.REASONER, SpanKind.CODE, passage),
                span(Author.INTERPRETER, SpanKind.OUTPUT, "```output\nok\n```\n"),
                thought("Now I solve it.\n"),
                span(Author.REASONER, SpanKind.CODE, tail.removeprefix("Now I solve it.\n")),
                span(Author.INTERPRETER, SpanKind.OUTPUT, "```output\nNameError: name 'p' is not defined\n```\n"),
                thought("The code failed, so I guess. " + box(wrong)),
            ],
            passage,
            wrong,
        )
    if trigger == 3:
        passage = "But wait, let me redo the sum by hand. 4 times 31 is 134, so the total moves.\n"
        return [thought(plan()), *solve_spans(problem, best), thought(check() + passage + box(wrong))], passage, wrong
    if trigger == 4:
        return [thought(plan()), *solve_spans(problem, best), thought(box(best))], box(best), best
    if trigger == 5:
        passage = "variables: x, y (continuous)\n"
        solved = solve_spans(problem, wrong + 0.6, integer=False)
        return [thought(plan(False)), *solved, thought(check() + box(wrong + 0.6))], passage, wrong + 0.6
    if trigger == 6:
        bad = script(problem, limit_shift=8)
        line = next(row for row in bad.splitlines() if "# labor" in row) + "\n"
        solved = solve_spans(problem, wrong, limit_shift=8)
        return [thought(plan()), *solved, thought(check() + box(wrong))], line, wrong
    text = f"The maximum profit is \\boxed{{{best:g} dollars in total}}."
    return [thought(plan()), *solve_spans(problem, best), thought(check() + text)], text, best


def cut(spans: list[Span], position: int) -> list[Span]:
    """The spans up to a character offset."""
    kept: list[Span] = []
    for item in spans:
        if position <= 0:
            break
        text = item.text[:position]
        kept.append(item if len(text) == len(item.text) else span(item.author, item.kind, text))
        position -= len(item.text)
    return kept


def resumed(problem: Problem, spans: list[Span], position: int, trigger: int) -> list[Span]:
    best = problem.answer or 0.0
    hint = span(Author.INTERVENER, SpanKind.HINT, HINTS[trigger])
    end = thought(check() + box(best))
    tails = {3: [thought(box(best))], 4: [end], 7: [thought(box(best))]}
    tail = tails.get(trigger, [thought("variables: x, y (integer)\n"), *solve_spans(problem, best), end])
    return [*cut(spans, position), hint, *tail]


def trajectory(
    problem: Problem, spans: list[Span], answer: float, *, stage: str, sample: int, round: int = 0
) -> Trajectory:
    correct = problem.answer is not None and abs(answer - problem.answer) <= 1e-3 * abs(problem.answer)
    outputs = [item for item in spans if item.kind is SpanKind.OUTPUT]
    return Trajectory(
        problem_id=problem.id,
        sample=sample,
        round=round,
        stage=stage,
        suite=problem.suite,
        spans=tuple(spans),
        stop_reason=StopReason.FINISHED,
        executions=tuple(
            Execution(
                status=ExecutionStatus.ERROR if "Error" in item.text else ExecutionStatus.OK,
                stdout=item.text,
                wall_seconds=0.04,
                tier="namespaces",
            )
            for item in outputs
        ),
        answer=answer,
        verdict=Verdict(
            correct=correct,
            expected=problem.answer,
            got=answer,
            tolerance=1e-3,
            status=VerdictStatus.CORRECT if correct else VerdictStatus.WRONG,
            protocol_ok="in total" not in spans[-1].text,
        ),
        usage=Usage(prompt_tokens=140, completion_tokens=sum(len(item.token_ids or ()) for item in spans), seconds=0.8),
    )


def curate(problem: Problem, sample: int, rng: random.Random) -> Iterator[Trajectory | Intervention | GoldenTrajectory]:
    """What the hint loop leaves for one sample of one problem."""
    trigger = rng.choice([0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7])
    best = problem.answer or 0.0
    if trigger == 0:
        spans, passage, answer = [thought(plan()), *solve_spans(problem, best), thought(check() + box(best))], "", best
    else:
        spans, passage, answer = flawed(problem, trigger)
    interventions: list[Intervention] = []
    current = trajectory(problem, spans, answer, stage="curation", sample=sample)
    yield current
    rounds = 0 if trigger == 0 else rng.choice([1, 1, 1, 2])
    for number in range(rounds):
        position = current.response.index(passage)
        interventions.append(
            Intervention(
                problem_id=problem.id,
                sample=sample,
                round=number,
                trigger=Trigger(trigger),
                analysis="The passage goes on without what the trigger asks for.",
                target=passage,
                position=position,
                hint=HINTS[trigger],
            )
        )
        yield interventions[-1]
        hopeless = rng.random() < 0.08
        spans = resumed(problem, list(current.spans), position, trigger)
        if number + 1 < rounds:  # a second flaw after the first hint
            trigger, passage = 7, f"The maximum profit is \\boxed{{{best:g} dollars in total}}."
            spans = [*spans[:-1], thought(spans[-1].text.replace(box(best), passage))]
        elif hopeless:
            spans = [*spans[:-1], thought(box(best - 3))]
        answer = best - 3 if hopeless and number + 1 == rounds else best
        current = trajectory(problem, spans, answer, stage="curation", sample=sample, round=number + 1)
        yield current
    if current.verdict is not None and current.verdict.correct:
        hint_tokens = sum(len(item.token_ids or ()) for item in current.spans if item.kind is SpanKind.HINT)
        yield GoldenTrajectory(
            trajectory=current,
            question=problem.question,
            interventions=tuple(interventions),
            edited_token_share=hint_tokens / max(1, current.usage.completion_tokens),
            token_modification=0.25 * len(interventions),
        )


LIKE = {"pilot": "sft", "control_sft": "sft", "control_rl": "rl"}
"""Which main stage the arms of the experiments resemble."""


def evaluate(problem: Problem, stage: str, sample: int, rng: random.Random) -> tuple[Trajectory, list[int]]:
    made, triggers = _evaluated(problem, LIKE.get(stage, stage), sample, rng)
    return made.model_copy(update={"stage": Stage(stage)}), triggers


def _evaluated(problem: Problem, stage: str, sample: int, rng: random.Random) -> tuple[Trajectory, list[int]]:
    ability = {"base": 0.50, "sft": 0.56, "rl": 0.88}[stage] - (0.14 if problem.suite == "complex" else 0.0)
    habits = {"base": [1, 1, 2, 3, 3, 4, 5, 6, 7], "sft": [3, 4, 5, 5, 6, 7], "rl": [5, 5, 6]}[stage]
    best = problem.answer or 0.0
    if rng.random() < ability:
        if stage != "rl" and rng.random() < 0.3:
            trigger = rng.choice([4, 7])
            spans, _, answer = flawed(problem, trigger)
            return trajectory(problem, spans, answer, stage=stage, sample=sample), [trigger]
        spans = [thought(plan()), *solve_spans(problem, best), thought(check() + box(best))]
        return trajectory(problem, spans, best, stage=stage, sample=sample), []
    trigger = rng.choice(habits)
    spans, _, answer = flawed(problem, trigger)
    answer = answer if answer != best else best + 11
    return trajectory(problem, spans, answer, stage=stage, sample=sample), [trigger]


def write_run(
    root: Path,
    *,
    seed: int = 7,
    curation: int = 40,
    tests: int = 24,
    samples: int = 4,
    stages: tuple[str, ...] = ("base", "sft", "rl"),
) -> Path:
    """Writes a whole run directory and returns it."""
    rng = random.Random(seed)
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.toml").write_text(CONFIG, encoding="utf-8")
    (root / "env.json").write_text(json.dumps(ENV, indent=2), encoding="utf-8")
    names = ("problems", "trajectories", "interventions", "golden", "flaws")
    files: dict[str, list[str]] = {name: [] for name in names}
    for index in range(curation):
        problem = make_problem(index, "easy" if index % 2 else "complex", "train", rng)
        files["problems"].append(problem.model_dump_json())
        for sample in range(2):
            for record in curate(problem, sample, rng):
                if isinstance(record, Trajectory):
                    files["trajectories"].append(record.to_json())
                elif isinstance(record, Intervention):
                    files["interventions"].append(record.model_dump_json())
                else:
                    files["golden"].append(record.model_dump_json(by_alias=True))
    problems = [make_problem(index, suite, "test", rng) for suite in ("easy", "complex") for index in range(tests)]
    files["problems"].extend(problem.model_dump_json() for problem in problems)
    for stage in stages:
        for problem in problems:
            for sample in range(samples):
                made, triggers = evaluate(problem, stage, sample, rng)
                files["trajectories"].append(made.to_json())
                row = {"stage": stage, "suite": problem.suite, "problem_id": problem.id, "sample": sample}
                files["flaws"].append(json.dumps(row | {"triggers": triggers}))
    for name, lines in files.items():
        (root / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    write_curves(root, rng, controlled="control_rl" in stages)
    return root


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_curves(root: Path, rng: random.Random, *, controlled: bool = False) -> None:
    sft: list[dict[str, object]] = []
    for i in range(1, 29):
        loss = 0.42 * math.exp(-i / 9) + 0.11 + rng.uniform(-0.02, 0.02)
        sft.append({"step": i, "epoch": i / 14, "loss": loss, "learning_rate": 1e-4, "seconds": 1.3})
    rl: list[dict[str, object]] = [
        {
            "step": i,
            "reward": min(1.0, 0.5 + 0.4 * (1 - math.exp(-i / 8)) + rng.uniform(-0.08, 0.08)),
            "code_blocks": 0.92 + 0.16 * (1 - math.exp(-i / 6)) + rng.uniform(-0.04, 0.04),
            "response_tokens": 268 - 42 * (1 - math.exp(-i / 7)) + rng.uniform(-9, 9),
            "grad_norm": 0.4 + rng.uniform(-0.1, 0.1),
            "seconds": 7.5,
        }
        for i in range(1, 25)
    ]
    along: list[dict[str, object]] = []
    for step in range(0, 25, 6):
        accuracy = 0.5 + 0.4 * (1 - math.exp(-step / 8))
        score = {
            "pass_at_1": accuracy,
            "ci95": [accuracy - 0.1, min(1.0, accuracy + 0.1)],
            "problems": 64,
            "samples": 1,
        }
        along.append({"step": step, "evaluation": {**score, "seconds": 3.5}})
    timing = [("base", 61.2), ("curation", 88.0), ("sft", 41.5), ("sft", 9.0), ("rl", 187.4), ("report", 1.4)]
    write_rows(root / "sft.jsonl", sft)
    write_rows(root / "rl.jsonl", [*rl, *along])
    if controlled:
        write_rows(root / "control_sft.jsonl", sft)
        write_rows(root / "control_rl.jsonl", [{**row, "reward": 0.4, "response_tokens": 280.0} for row in rl] + along)
    write_rows(root / "timing.jsonl", [{"stage": stage, "seconds": seconds} for stage, seconds in timing])


if __name__ == "__main__":
    print(write_run(Path(sys.argv[1])))
