"""Writes reasoning traces: text, a complete script, its real output, reflection, box, with flaws and hints.

The pocket Reasoner learns from these traces before any adaptation, so they contain the flaws that CALM is to correct.
In some traces an Intervener's hint stands where a flaw would have been, followed by the right step: that is how the
Reasoner learns what a hint is. Hints and execution output are never learnt themselves (see `calmstorm.pocket.corpus`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from calmstorm.intervener.hints import DOMAIN_WORDS, OPEN_BLOCK, Correction, hint
from calmstorm.pocket.flaws import FlawRates, Mistake, MistakeKind, make_mistake
from calmstorm.pocket.plan import Plan, plan_of
from calmstorm.problems.case import Case
from calmstorm.problems.wording import listing, number
from calmstorm.records import Author, Sense

Run = Callable[[str], str]
"""Runs a script and returns the whole output block, fences included, as a rollout would show it."""

STARTS = (
    "Let me set up the model.|Okay, first I write the model.|Let me read the data.|I need to model this.|"
    "First, the model.|Let me formulate the problem.|I start with the formulation.|So, what do we have here?|"
    "Let me think about the model."
).split("|")
BRIDGES = (  # the last is empty: some traces go straight to the code
    "Now I code it.|I will write the code.|Let me solve it with pulp.|Time to run the solver.|Next comes the script.|"
    "I put this into code.|"
).split("|")
BY_HAND = (
    "This is small, so I can do it by hand.|I can just try some plans by hand.|Let me work it out by hand.|"
    "No code is needed, I solve it by hand."
).split("|")
FRAGMENT = (
    "First I define the data.|I start with a small piece of code.|Let me test a part first.|"
    "I begin with the variables only."
).split("|")
FRAGMENT_FAILED = (
    "The code failed, so I estimate it.|That did not work, so I guess.|I cannot run it, so I estimate.".split("|")
)
RECHECK = (
    "But wait, let me redo the sum by hand.|Let me verify this by hand.|I want to recompute the total by hand.|"
    "Let me check every product by hand."
).split("|")
PLAUSIBLE = (
    "Check: the status is Optimal and {rows} is included. This looks right.|"
    "Check: Optimal, with {rows} in the model. The value is plausible.|"
    "The solver reports Optimal and respects {rows}, so the value makes sense.|"
    "A quick check: {rows} is modeled and the status is Optimal. That is reasonable.|"
    "The result seems sensible, since {rows} holds and the status is Optimal."
).split("|")
NOT_OPTIMAL = (
    "The status is not Optimal, so something is wrong.|This status tells me that my model has a mistake.".split("|")
)


@dataclass
class Trace:
    """A response in segments."""

    segments: list[tuple[Author, str]] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Adds words of the Reasoner."""
        if self.segments and self.segments[-1][0] is Author.REASONER:
            self.segments[-1] = (Author.REASONER, self.segments[-1][1] + text)
        elif text:
            self.segments.append((Author.REASONER, text))

    def add_hint(self, text: str) -> None:
        """Adds a hint of the Intervener."""
        self.segments.append((Author.INTERVENER, text))

    def add_script(self, run: Run, script: str, *, opened: bool = False) -> str:
        """Adds a code block and its output; `opened` when a hint has opened the block already. Returns the output."""
        self.write(("" if opened else "```python\n") + script + "```\n")
        block = run(script)
        self.segments.append((Author.INTERPRETER, block))
        return block

    @property
    def text(self) -> str:
        """The whole response."""
        return "".join(text for _, text in self.segments)


def read_result(block: str) -> tuple[str, float | None]:
    """Returns solver status and objective value from an output block ("Optimal 400.0")."""
    match = re.search(r"(Optimal|Infeasible|Unbounded|Undefined|Not Solved) (-?[\d.]+(?:e[+-]?\d+)?)", block)
    return (match.group(1), float(match.group(2))) if match else ("", None)


def write_trace(rng: random.Random, case: Case, optimum: float, rates: FlawRates, run: Run, *, hints: float) -> Trace:
    """Writes one trace.

    Args:
        rng: Decides everything that is open.
        case: The problem.
        optimum: Its optimal value.
        rates: How often each flaw occurs where no hint prevents it.
        run: Runs a script and returns its output block.
        hints: Probability that a hint is given at a point where one could be.
    """
    return _TraceWriter(rng, case, optimum, rates, run, hints).write_all()


class _TraceWriter:
    """State of one trace being written; each method writes one part of it."""

    def __init__(
        self, rng: random.Random, case: Case, optimum: float, rates: FlawRates, run: Run, hints: float
    ) -> None:
        self.rng, self.optimum, self.rates, self.run, self.hints = rng, optimum, rates, run, hints
        self.true_plan = plan_of(case)
        self.trace = Trace()
        self.mistake: Mistake | None = None

    def write_all(self) -> Trace:
        self.write_one_of(STARTS)
        plan = self.write_plan()
        value = self.solve(plan)
        self.answer(value)
        return self.trace

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def write(self, text: str) -> None:
        self.trace.write(text)

    def write_one_of(self, wordings: Sequence[str], **values: str) -> None:
        self.write(self.rng.choice(wordings).format(**values) + "\n")

    def write_correction(self, correction: Correction) -> None:
        """Lets the Reasoner correct itself, in the words of a hint."""
        self.write(hint(self.rng, correction) + "\n")

    def add_hint(self, correction: Correction, *, end: str = "\n", **values: str) -> None:
        self.trace.add_hint(hint(self.rng, correction, **values) + end)

    def names(self, plan: Plan, row: str) -> dict[str, str]:
        """Returns what the wordings of hints name."""
        return {
            "direction": plan.direction,
            "objective": plan.objective,
            "domain": DOMAIN_WORDS[plan.domain],
            "row": row,
        }

    # -------------------------------------------------------------- the plan

    def write_plan(self) -> Plan:
        """Writes the plan, right or wrong, and returns it."""
        if self.chance(self.hints):
            self.write_hinted_plan(self.true_plan)
            return self.true_plan
        if self.chance(self.rates.modeling):
            self.mistake = make_mistake(self.rng, self.true_plan)
        plan = self.mistake.plan if self.mistake else self.true_plan
        self.write("".join(text + "\n" for _, text in plan.lines()))
        return plan

    def write_hinted_plan(self, plan: Plan) -> None:
        """Writes the plan with a hint before one of its lines."""
        lines = plan.lines()
        rows = {row.name for row in plan.rows}
        index = self.rng.choice([0, len(lines) - 1, *range(1, len(lines) - 1)])
        key, text = lines[index]
        if key in rows and self.chance(0.6):  # a forgotten row is added late, just before the domain
            del lines[index]
            lines.insert(len(lines) - 1, (key, text))
            index, correction = len(lines) - 2, Correction.MISSING_ROW
        elif key == "objective":
            correction = self.rng.choice((Correction.SENSE, Correction.SENSE, Correction.OBJECTIVE))
        else:
            correction = Correction.DOMAIN if key == "domain" else Correction.ROW
        if self.chance(0.06):
            index, correction = 0, Correction.REREAD
        for position, (_, line) in enumerate(lines):
            if position == index:
                self.add_hint(correction, **self.names(plan, key))
            self.write(line + "\n")

    # -------------------------------------------------------------- solving

    def solve(self, plan: Plan) -> float | None:
        """Writes how the plan is solved and what is thought of the result; returns the value to be answered."""
        draw = self.rng.random()
        if self.chance(self.hints * 0.6):
            self.add_hint(self.rng.choice((Correction.USE_SOLVER, Correction.ONE_SCRIPT)), end=OPEN_BLOCK)
            return self.solve_by_script(plan, opened=True)
        guess = None
        if draw < self.rates.by_hand:
            guess = self.solve_by_hand(plan)
        elif draw < self.rates.by_hand + self.rates.fragments:
            guess = self.solve_in_fragments(plan)
        elif bridge := self.rng.choice(BRIDGES):
            self.write(bridge + "\n")
        return guess if guess is not None else self.solve_by_script(plan, opened=False)

    def solve_by_hand(self, plan: Plan) -> float | None:
        """Writes trigger 1. Returns the guess, or None when it is given up for code after all."""
        self.write_one_of(BY_HAND)
        guess = self.optimum
        for attempt in range(self.rng.choice((1, 2, 3))):
            guess = self.estimate()
            self.write(f"Try plan {attempt + 1}: the {plan.objective} is {number(guess)}.\n")
        if self.chance(self.rates.recover):
            self.write_correction(Correction.USE_SOLVER)
            return None
        self.write(self.rng.choice(("", "", f"So the best plan gives {number(guess)}.\n")))
        return guess

    def solve_in_fragments(self, plan: Plan) -> float | None:
        """Writes trigger 2. Returns the estimate, or None when it is given up for a whole script after all."""
        head, body, tail = plan.script_parts()
        self.write_one_of(FRAGMENT)
        self.trace.add_script(self.run, "\n".join((*head, body[0], 'print("ok")')) + "\n")
        self.write("Now I solve it.\n")
        self.trace.add_script(self.run, "\n".join(tail[:2]) + "\n")
        if self.chance(self.rates.recover):
            self.write_correction(Correction.ONE_SCRIPT)
            return None
        self.write_one_of(FRAGMENT_FAILED)
        return self.estimate()

    def estimate(self) -> float:
        """Returns a value somewhere near the optimum."""
        factors = (0.6, 0.7, 0.8, 0.85, 0.9, 1.1, 1.15, 1.25, 1.3, 1.0 if self.chance(0.3) else 1.2)
        return float(round(self.optimum * self.rng.choice(factors)))

    def solve_by_script(self, plan: Plan, *, opened: bool) -> float | None:
        """Writes the script, right or wrong, its output and the reflection; returns the value that is believed."""
        code_mistake: Mistake | None = None
        if not opened and self.chance(self.hints * 0.4):
            self.add_hint_about_code(plan)
        elif self.mistake is None and self.chance(self.rates.coding):
            code_mistake = make_mistake(self.rng, plan, in_code=True)
        code = code_mistake.plan if code_mistake else plan
        status, value = read_result(self.trace.add_script(self.run, code.script(), opened=opened))
        mistake = self.mistake or code_mistake
        hinted = self.chance(self.hints * 0.6)
        if hinted:
            self.add_hint(self.rng.choice((Correction.REFLECT, Correction.REFLECT, Correction.TRUST)))
        if mistake is not None and (self.chance(self.rates.notice) or (status != "Optimal" and self.chance(0.5))):
            value = self.correct(mistake, status)
        elif hinted or not self.chance(self.rates.no_reflection):
            self.write_one_of(PLAUSIBLE, rows=listing([row.name for row in code.rows]))
        if not hinted and self.chance(self.hints * 0.4):
            self.add_hint(Correction.TRUST)
        elif not hinted and self.chance(self.rates.recheck):
            value = self.recheck_by_hand(value)
        return value

    def add_hint_about_code(self, plan: Plan) -> None:
        """Adds a hint for trigger 6, before the code is written again."""
        correction = self.rng.choice(
            (Correction.CODE, Correction.CODE_SENSE, Correction.CODE_DOMAIN, Correction.CODE_ROW, Correction.CODE_ROW)
        )
        self.add_hint(correction, **self.names(plan, self.rng.choice(plan.rows).name))

    def correct(self, mistake: Mistake, status: str) -> float | None:
        """Writes that a mistake is noticed, and a right script; returns its value."""
        lead = self.rng.choice(NOT_OPTIMAL) + " " if status != "Optimal" else "Check: "
        reason = {
            MistakeKind.SENSE: f"I used the wrong direction, I should {self.true_plan.direction}.",
            MistakeKind.DOMAIN: f"the values should be {DOMAIN_WORDS[self.true_plan.domain]} but I missed that.",
            MistakeKind.DROPPED: f"I missed the {mistake.row} limit.",
            MistakeKind.OPERATOR: f"the {mistake.row} limit has the wrong sign.",
            MistakeKind.NUMBER: "the code does not match the numbers.",
        }[mistake.kind]
        self.write(f"{lead}{reason} {self.rng.choice(('I fix it.', 'Let me correct it.', 'I write it again.'))}\n")
        _, value = read_result(self.trace.add_script(self.run, self.true_plan.script()))
        if self.chance(0.5):
            self.write_one_of(PLAUSIBLE, rows=listing([row.name for row in self.true_plan.rows]))
        return value

    def recheck_by_hand(self, value: float | None) -> float | None:
        """Writes trigger 3: the value is computed again by hand, often wrongly, and the wrong one is believed."""
        self.write_one_of(RECHECK)
        base = recomputed = value if value is not None else self.optimum
        for _ in range(self.rng.choice((1, 2))):
            wrong = self.chance(0.7)
            recomputed = float(round(base * self.rng.choice((0.9, 0.95, 1.05, 1.1)))) if wrong else base
            self.write(f"By hand I get {number(recomputed)}.\n")
        if self.chance(self.rates.recover):
            self.write_correction(Correction.TRUST)
            return value
        return recomputed

    # -------------------------------------------------------------- the answer

    def answer(self, value: float | None) -> None:
        """Writes the final answer, boxed or not (trigger 7)."""
        self.write("</think>\n\n")
        final = number(value if value is not None else 0)
        adjective = "maximum" if self.true_plan.sense is Sense.MAXIMIZE else "minimum"
        subject = f"The {adjective} {self.true_plan.objective}"
        boxed = (f"\\boxed{{{final}}}", f"{subject} is \\boxed{{{final}}}.", f"The answer is \\boxed{{{final}}}.")
        unboxed = (
            f"{subject} is {final}.",
            f"So the answer is {final}.",
            f"The best value is {final}.",
            f"\\boxed{{{final} in total}}",
        )
        if self.chance(self.hints * 0.5):
            self.add_hint(Correction.BOX)
            self.write(self.rng.choice(boxed))
        else:
            self.write(self.rng.choice(unboxed if self.chance(self.rates.no_box) else boxed))
