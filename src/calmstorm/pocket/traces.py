"""Writes native reasoning traces: text, a complete script, its real output, reflection, box, with flaws and hints.

A trace is what the pocket Reasoner learns from before any adaptation, so it carries the habits that CALM is to
correct. In some traces an Intervener's hint stands where a flaw would have been, followed by the right step: that is
how the Reasoner learns what a hint is. Hints and execution output are never learnt themselves (see
`calmstorm.pocket.corpus`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from calmstorm.intervener.hints import DOMAIN_WORDS, OPEN_BLOCK, Correction, hint
from calmstorm.pocket.flaws import Habits, Mistake, Spoilt, make_mistake
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
BRIDGES = (
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

    def say(self, text: str) -> None:
        """Adds words of the Reasoner."""
        if self.segments and self.segments[-1][0] is Author.REASONER:
            self.segments[-1] = (Author.REASONER, self.segments[-1][1] + text)
        elif text:
            self.segments.append((Author.REASONER, text))

    def hear(self, text: str) -> None:
        """Adds a hint."""
        self.segments.append((Author.INTERVENER, text))

    def run(self, run: Run, script: str, *, opened: bool = False) -> str:
        """Adds a code block and its output; `opened` when a hint has opened the block already. Returns the output."""
        self.say(("" if opened else "```python\n") + script + "```\n")
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


def write_trace(rng: random.Random, case: Case, optimum: float, habits: Habits, run: Run, *, hints: float) -> Trace:
    """Writes one trace.

    Args:
        rng: Decides everything that is open.
        case: The problem.
        optimum: Its optimal value.
        habits: How often each flaw occurs where no hint prevents it.
        run: Runs a script and returns its output block.
        hints: Probability that a hint is given at a point where one could be.
    """
    writer = _Writer(rng, case, optimum, habits, run, hints)
    return writer.write()


class _Writer:
    """State of one trace being written; each method writes one station of the reasoning flow."""

    def __init__(self, rng: random.Random, case: Case, optimum: float, habits: Habits, run: Run, hints: float) -> None:
        self.rng, self.optimum, self.habits, self.run, self.hints = rng, optimum, habits, run, hints
        self.true = plan_of(case)
        self.trace = Trace()
        self.mistake: Mistake | None = None

    def write(self) -> Trace:
        self.trace.say(self.rng.choice(STARTS) + "\n")
        plan = self.write_plan()
        value = self.solve(plan)
        self.answer(value)
        return self.trace

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def names(self, plan: Plan, row: str = "") -> dict[str, str]:
        return {
            "direction": plan.direction,
            "objective": plan.objective,
            "domain": DOMAIN_WORDS[plan.domain],
            "row": row,
        }

    # -------------------------------------------------------------- the plan

    def write_plan(self) -> Plan:
        """Writes the plan, spoilt or not, and returns what the writer now believes."""
        hinted = self.chance(self.hints)
        if not hinted and self.chance(self.habits.modeling):
            self.mistake = make_mistake(self.rng, self.true)
        plan = self.mistake.plan if self.mistake else self.true
        lines = plan.lines()
        if not hinted:
            self.trace.say("".join(text + "\n" for _, text in lines))
            return plan
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
        for i, (_, line) in enumerate(lines):
            if i == index:
                self.trace.hear(hint(self.rng, correction, **self.names(plan, key)) + "\n")
            self.trace.say(line + "\n")
        return plan

    # -------------------------------------------------------------- solving

    def solve(self, plan: Plan) -> float | None:
        """Writes how the plan is solved and what is thought of the result; returns the value to be answered."""
        draw = self.rng.random()
        opened = False
        if self.chance(self.hints * 0.6):
            correction = self.rng.choice((Correction.USE_SOLVER, Correction.ONE_SCRIPT))
            self.trace.hear(hint(self.rng, correction) + OPEN_BLOCK)
            opened = True
        elif draw < self.habits.by_hand:
            guess = self.by_hand(plan)
            if guess is not None:
                return guess
        elif draw < self.habits.by_hand + self.habits.fragments:
            guess = self.in_fragments(plan)
            if guess is not None:
                return guess
        elif bridge := self.rng.choice(BRIDGES):
            self.trace.say(bridge + "\n")
        return self.by_script(plan, opened)

    def by_hand(self, plan: Plan) -> float | None:
        """Trigger 1. Returns the guess, or None when the writer turns to code after all."""
        self.trace.say(self.rng.choice(BY_HAND) + "\n")
        guess = self.optimum
        for attempt in range(self.rng.choice((1, 2, 3))):
            guess = self.off_by_some()
            self.trace.say(f"Try plan {attempt + 1}: the {plan.objective} is {number(guess)}.\n")
        if self.chance(self.habits.recover):
            self.trace.say(hint(self.rng, Correction.USE_SOLVER) + "\n")
            return None
        self.trace.say(self.rng.choice(("", "", f"So the best plan gives {number(guess)}.\n")))
        return guess

    def in_fragments(self, plan: Plan) -> float | None:
        """Trigger 2. Returns the estimate, or None when the writer turns to a whole script after all."""
        head, body, tail = plan.script_parts()
        self.trace.say(self.rng.choice(FRAGMENT) + "\n")
        self.trace.run(self.run, "\n".join((*head, body[0], 'print("ok")')) + "\n")
        self.trace.say("Now I solve it.\n")
        self.trace.run(self.run, "\n".join(tail[:2]) + "\n")
        if self.chance(self.habits.recover):
            self.trace.say(hint(self.rng, Correction.ONE_SCRIPT) + "\n")
            return None
        self.trace.say(self.rng.choice(FRAGMENT_FAILED) + "\n")
        return self.off_by_some()

    def off_by_some(self) -> float:
        return float(
            round(
                self.optimum
                * self.rng.choice((0.6, 0.7, 0.8, 0.85, 0.9, 1.1, 1.15, 1.25, 1.3, 1.0 if self.chance(0.3) else 1.2))
            )
        )

    def by_script(self, plan: Plan, opened: bool) -> float | None:
        """Writes the script, spoilt or not, its output and the reflection."""
        code = plan
        slip: Mistake | None = None
        if not opened and self.chance(self.hints * 0.4):
            self.hear_about_code(plan)
        elif self.mistake is None and self.chance(self.habits.coding):
            slip = make_mistake(self.rng, plan, in_code=True)
            code = slip.plan
        status, value = read_result(self.trace.run(self.run, code.script(), opened=opened))
        wrong = self.mistake or slip
        hinted = self.chance(self.hints * 0.6)
        if hinted:
            correction = self.rng.choice((Correction.REFLECT, Correction.REFLECT, Correction.TRUST))
            self.trace.hear(hint(self.rng, correction) + "\n")
        if wrong is not None and (self.chance(self.habits.catch) or (status != "Optimal" and self.chance(0.5))):
            value = self.mend(wrong, status)
        elif hinted or not self.chance(self.habits.no_reflection):
            rows = listing([row.name for row in code.rows])
            self.trace.say(self.rng.choice(PLAUSIBLE).format(rows=rows) + "\n")
        if not hinted and self.chance(self.hints * 0.4):
            self.trace.hear(hint(self.rng, Correction.TRUST) + "\n")
        elif not hinted and self.chance(self.habits.recheck):
            value = self.recheck(value)
        return value

    def hear_about_code(self, plan: Plan) -> None:
        """A hint for trigger 6, before the code is written again."""
        correction = self.rng.choice(
            (Correction.CODE, Correction.CODE_SENSE, Correction.CODE_DOMAIN, Correction.CODE_ROW, Correction.CODE_ROW)
        )
        self.trace.hear(hint(self.rng, correction, **self.names(plan, self.rng.choice(plan.rows).name)) + "\n")

    def mend(self, wrong: Mistake, status: str) -> float | None:
        """The writer notices a mistake and runs a right script."""
        lead = self.rng.choice(NOT_OPTIMAL) + " " if status != "Optimal" else "Check: "
        domain = DOMAIN_WORDS[self.true.domain]
        reason = {
            Spoilt.SENSE: f"I used the wrong direction, I should {self.true.direction}.",
            Spoilt.DOMAIN: f"the values should be {domain} but I missed that.",
            Spoilt.DROPPED: f"I missed the {wrong.row} limit.",
            Spoilt.OPERATOR: f"the {wrong.row} limit has the wrong sign.",
            Spoilt.NUMBER: "the code does not match the numbers.",
        }[wrong.kind]
        self.trace.say(f"{lead}{reason} {self.rng.choice(('I fix it.', 'Let me correct it.', 'I write it again.'))}\n")
        _, value = read_result(self.trace.run(self.run, self.true.script()))
        if self.chance(0.5):
            self.trace.say(self.rng.choice(PLAUSIBLE).format(rows=listing([row.name for row in self.true.rows])) + "\n")
        return value

    def recheck(self, value: float | None) -> float | None:
        """Trigger 3: the value is computed again by hand, often wrongly, and the wrong one is believed."""
        self.trace.say(self.rng.choice(RECHECK) + "\n")
        base = value if value is not None else self.optimum
        found = base
        for _ in range(self.rng.choice((1, 2))):
            found = float(round(base * self.rng.choice((0.9, 0.95, 1.05, 1.1)))) if self.chance(0.7) else base
            self.trace.say(f"By hand I get {number(found)}.\n")
        if self.chance(self.habits.recover):
            self.trace.say(hint(self.rng, Correction.TRUST) + "\n")
            return value
        return found

    # -------------------------------------------------------------- the answer

    def answer(self, value: float | None) -> None:
        """Writes the final answer, boxed or not (trigger 7)."""
        self.trace.say("</think>\n\n")
        final = number(value if value is not None else 0)
        adjective = "maximum" if self.true.sense is Sense.MAXIMIZE else "minimum"
        if self.chance(self.hints * 0.5):
            self.trace.hear(hint(self.rng, Correction.BOX) + "\n")
        elif self.chance(self.habits.no_box):
            self.trace.say(
                self.rng.choice(
                    (
                        f"The {adjective} {self.true.objective} is {final}.",
                        f"So the answer is {final}.",
                        f"The best value is {final}.",
                        f"\\boxed{{{final} in total}}",
                    )
                )
            )
            return
        self.trace.say(
            self.rng.choice(
                (
                    f"\\boxed{{{final}}}",
                    f"The {adjective} {self.true.objective} is \\boxed{{{final}}}.",
                    f"The answer is \\boxed{{{final}}}.",
                )
            )
        )
