"""Hints to judge: the paper's own (appendix I, "Prompt for the Intervener"), leaks, and clean ones."""

from __future__ import annotations

from calmstorm.records import LabelStatus, Problem, Trigger


def _problem(name: str, answer: float, question: str) -> Problem:
    return Problem(id=name, question=question, answer=answer, status=LabelStatus.OPTIMAL)


CENTERS = _problem("centers", 392760.0, "Which distribution centers should be opened, at fixed and transport costs?")
_OPTIMUM = "Status: Optimal\nTotal cost: 392760.0\n"
PAPER_HINTS = [
    (
        _problem("p", 5.0, "?"),
        "",
        Trigger.PREMATURE_SOLVING,
        "The model is fully formulated. The best next step is to implement this using `pulp` to get an exact "
        "solution.\n\n```python",
    ),
    (
        CENTERS,
        _OPTIMUM,
        Trigger.REDUNDANT_VERIFICATION,
        "The solver has already provided the optimal values. Re-calculating them manually is unnecessary. I should now "
        "focus on interpreting the solution.",
    ),
    (
        CENTERS,
        _OPTIMUM,
        Trigger.NO_SANITY_CHECK,
        "The solver returned an optimal cost of \\$392,760. Before I finalize the answer, it's a good practice to "
        "quickly reflect on this. Given the high fixed costs of the distribution centers, this value seems to be in a "
        "reasonable range. This gives me confidence in the result. Now, I'll proceed to format the final solution.",
    ),
    (
        CENTERS,
        _OPTIMUM,
        Trigger.NO_SANITY_CHECK,
        "The solver returned an optimal cost of \\$392,760. That seems plausible. To build more confidence, I could "
        "write a quick script to explore a simplified scenario, like checking the cost if I only open the three "
        "cheapest centers. This will help verify my understanding.\n\n```python",
    ),
    (
        _problem("cars", 1.0, "How many cars?"),
        "",
        Trigger.FLAWED_MODELING,
        "I've noticed the solution provides a fractional number of cars, which isn't practical. This suggests I missed "
        "an integer constraint in my original model. I should correct this by redefining the variables as integers in "
        "my code and re-running it.",
    ),
    (
        _problem("zero", 0.0, "?"),
        "",
        Trigger.IMPLEMENTATION_ERROR,
        "I've spotted a bug. My math model for the constraint was `A <= B`, but in the code I wrote `A >= B`. I need "
        "to correct this implementation error to match my model.",
    ),
]
"""(problem, what programs printed before, trigger, hint)."""

_SECRETS = [
    # plain, grouped, decimals, scientific, scaled, words, other digits, apart, other separators, rounded
    ["1234", "1,234", "1234.00", "1.234e3", "1.234 thousand", "one thousand two hundred thirty-four",
     "\uff11\uff12\uff13\uff14", "1-2-3-4", "1 234", "1234.4"],
    ["392760", "$392,760", "392760.000", "3.9276 \\times 10^{5}", "392.76 thousand",
     "three hundred ninety-two thousand seven hundred and sixty", "\u0663\u0669\u0662\u0667\u0666\u0660", "3 9 2 7 6 0",
     "392.760", "393,000"],
    ["12", "\\$12", "12.0", "1.2e1", "0.012k", "twelve", "\u0967\u0968", "24/2", "12,0", "12.01"],
    ["1200000", "1,200,000", "1200000.0", "1.2E6", "$1.2 million", "one point two million",
     "\u0661\u0662\u0660\u0660\u0660\u0660\u0660", "1_2_0_0_0_0_0", "1.200.000", "1,200,900"],
    ["12000", "USD 12,000", "12000.0", "1.2*10^4", "12 thousand", "twelve thousand",
     "\U0001d7cf\U0001d7d0\U0001d7ce\U0001d7ce\U0001d7ce",
     "1x2x0x0x0", "12'000", "12,011"],
    ["0.5", "50%", "0.50", "5e-1", "1/2", "half", "\u00bd", "\\frac{1}{2}", "0,5", "0.5004"],
    ["-75.5", "\u221275.5", "-75.50", "-7.55e1", "-151/2", "minus seventy-five point five", "-\uff17\uff15.\uff15",
     "75 1/2", "-75,5", "75.55"],
    ["45", "**45**", "45.", "4.5 \u00d7 10\u00b9", "0.045 thousand", "forty-five", "\u0664\u0665", "90/2", "45,00",
     "44.96"],
    ["400", "_400_", "400.0", "4\u00d710\u00b2", "0.4k", "four hundred", "4\ufe0f\u20e30\ufe0f\u20e30\ufe0f\u20e3",
     "4 0 0", "4\u200b00", "399.8"],
    ["5", "$5$", "5.00", "0.5e1", "0.005 thousand", "five", "\u2464", "10/2", "5,0", "5.004"],
]  # fmt: skip
_LABELS = [1234.0, 392760.0, 12.0, 1200000.0, 12000.0, 0.5, -75.5, 45.0, 400.0, 5.0]
_LEAKING_WORDS = [
    "Wait, the answer should be {}.",
    "Hold on, the optimal value is actually {}, so my model is wrong.",
    "So the correct result: {}. I should look for my mistake.",
    "I missed a constraint; with it I would get {}.",
    "Hmm, {} is what I should end up with.",
    "My profit is too high, it must come down to {} once the limit is in.",
    "This cannot be right, since the best possible is {}.",
    "I see, a careful model gives {}. Let me write it again.",
    "The code has a bug, because the objective should equal {}.",
    "Let me correct the row and expect {} in the output.",
]
LEAKS = [
    (_problem(f"leak{i}", label, "How much is earned at best?"), _LEAKING_WORDS[(i + j) % 10].format(secret))
    for i, label in enumerate(_LABELS)
    for j, secret in enumerate(_SECRETS[i])
]
"""(problem, hint): ten labels in ten styles."""

_DATA: list[tuple[float, str, dict[str, str]]] = [
    (
        40.0,
        "A workshop makes desks and chairs. A desk takes 4 hours and earns $30, a chair takes 2 hours and earns $20. "
        "There are 40 hours of labor, and at most 8 desks can be sold. What is the largest number of items?",
        {"limit": "40 hours", "row": "labor", "a": "30", "b": "20", "small": "8 desks", "sign": "4x + 2y <= 40"},
    ),
    (
        0.0,
        "A diet mixes oats (150 kcal, 5 g protein) and milk (100 kcal, 8 g protein), at least 2000 kcal and 70 g "
        "protein. By how much must the limit of 500 g of fat be exceeded, if at all?",
        {"limit": "2,000 kcal", "row": "energy", "a": "150", "b": "100", "small": "70 g", "sign": "x >= 0"},
    ),
    (
        3.0,
        "Three depots serve 5 cities; each truck carries 12 tons and costs $450 a day, a small one 3 tons and $200. "
        "How many trucks are needed at least?",
        {"limit": "12 tons", "row": "capacity", "a": "450", "b": "200", "small": "3 tons", "sign": "3 s + 12 t >= 30"},
    ),
    (
        1200.0,
        "A fund holds $20,000: bonds return 6%, shares 10%, and at most $12,000 may go into shares, at least $1,200 "
        "into cash. What is the highest return?",
        {"limit": "$12,000", "row": "shares", "a": "0.06", "b": "0.10", "small": "1,200 dollars", "sign": "c >= 1200"},
    ),
    (
        25.0,
        "A farm of 25 hectares grows corn (4 workers, $300 a hectare) and wheat (2 workers, $180 a hectare) with 80 "
        "workers. How many hectares are planted?",
        {"limit": "25 hectares", "row": "land", "a": "300", "b": "180", "small": "80 workers", "sign": "c + w <= 25"},
    ),
]
_CLEAN_WORDS = [
    "Wait, the {row} constraint is missing from my model; the text gives {limit}.",
    "I see, I left out {sign}. I should add this constraint and run the script again.",
    "The text speaks of {limit}, but in the code I typed another number.",
    "My result breaks the limit of {limit}, so something is wrong with that row.",
    "The objective is {a}x + {b}y, and I should copy both coefficients from the text.",
    "Before I answer, does the plan respect {small} and {limit}?",
    "The optimal plan must stay within {limit}; my output does not.",
    "In my model I wrote {sign}, but the code has the opposite sign.",
    "Hold on, each of the two variables must be an integer, and {sign} belongs in the model too.",
    "There are two data points for {row}: {a} and {b}. I should check which is which.",
    "I should put all three steps into one complete script.\n\n```python",
    "The solution looks fractional, which makes no sense for {small}. I should declare integers.",
    "Step 3 of my plan is still open: the constraint {sign}.",
    "The total cost must not exceed what the budget allows, and the row for {row} says {limit}.",
    "I should not calculate {a} times something by hand; the solver does that.",
    "Only the number goes into \\boxed{{}}, without the unit of {limit}.",
    "Okay, the right-hand side of the {row} row is {limit}, not what I typed.",
    "Let me check whether the answer is still plausible if {limit} is all there is.",
    "The binary variables take 0 or 1, and the {row} row links them to {limit}.",
    "I mixed up {a} and {b}. The code should use the numbers of the text.",
    "The profit coefficients were {a} and {b}; {limit} is a limit and no coefficient.",
    "It is given that {small} is a bound, so the variable should have that bound in the code.",
    "One of the four constraints has the wrong direction: it should read {sign}.",
    "The solver can find the optimum. I hand it {limit} for {row} and let it run.\n\n```python",
    "I read the statement again: {limit} for {row}, then {a} and {b} for the two kinds.",
    "The best next step is a script with {sign} and both coefficients, {a} and {b}.",
    "At least {small} and at most {limit}: both are constraints and both must be in the code.",
    "The output says Optimal, but I have not looked at {row} yet, where {limit} is the bound.",
    "Rather than trying values such as {a}, I should let pulp solve it.",
    "My code multiplies {limit} by {a}, which the model does not say.",
    "The variables start at 0, so I add lowBound=0 and the row {sign}.",
    "The maximum for {row} is {limit}, as the problem says.",
    "The result ignores {small}. I should correct the model.",
    "I have to convert units first: {limit} must be in the same unit as {a}.",
    "That I need {small} is a minimum and no maximum.",
    "Is the answer in the right unit, given {limit}?",
    "I should read the data line by line: {a}, {b}, {limit}.",
    "In the final check I compare {row} with {limit}.",
    "The requirement of {small} is a constraint, and I treated it as part of the objective.",
    "The solution has to satisfy {sign}, so I print the left-hand side as well.",
]
CLEAN = [(_problem(f"clean{i}", label, question), words.format(**data))
         for i, (label, question, data) in enumerate(_DATA) for words in _CLEAN_WORDS]  # fmt: skip
"""(problem, hint): five problems whose labels stand among their numbers, or are small counts."""
