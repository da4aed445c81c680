"""The wording of hints, by what they correct.

A hint speaks in the first person, is short and asks for one next action (paper appendix D and the hint principles of
appendix I). For triggers 1 and 2 it ends by opening a Python block; for 5 and 6 it names the flaw, never the right
number and never the answer. There are many wordings of each, because a Reasoner that has seen only one learns the
sentence instead of its meaning.
"""

from __future__ import annotations

import random
from enum import StrEnum

from calmstorm.records import Domain

OPEN_BLOCK = "\n\n```python\n"
"""What a hint for code utilisation ends with."""
DOMAIN_WORDS = {Domain.INTEGER: "whole numbers", Domain.CONTINUOUS: "continuous", Domain.BINARY: "binary"}
"""How hints and traces call the kinds of variables."""


class Correction(StrEnum):
    """What a hint asks to put right."""

    USE_SOLVER = "use_solver"
    ONE_SCRIPT = "one_script"
    TRUST = "trust"
    REFLECT = "reflect"
    SENSE = "sense"
    DOMAIN = "domain"
    MISSING_ROW = "missing_row"
    ROW = "row"
    OBJECTIVE = "objective"
    REREAD = "reread"
    CODE_SENSE = "code_sense"
    CODE_DOMAIN = "code_domain"
    CODE_ROW = "code_row"
    CODE = "code"
    BOX = "box"


WORDINGS: dict[Correction, tuple[str, ...]] = {
    Correction.USE_SOLVER: (
        "The model is complete, so the best next step is to solve it with pulp.",
        "Wait, doing this by hand is error prone. I should let the solver find the optimum.",
        "Okay, the model is set. Now I should write pulp code and get the exact optimum.",
        "I see, guessing plans will not prove anything. Let me write the solver code.",
        "Instead of trying plans, I should hand this model to a solver.",
        "A solver can do this exactly, so I write the script now.",
        "Hold on, there is no need to search by hand. I can code this in pulp.",
        "I should stop calculating and implement the model.",
        "Rather than estimate, I will let pulp compute the best plan.",
        "The formulation is ready, and code is the safe way to solve it.",
        "Manual trials could miss the optimum. A short script will not.",
        "Now that I have the model, I should run it through the solver.",
    ),
    Correction.ONE_SCRIPT: (
        "I should put everything in one complete script.",
        "Wait, small pieces of code will fail. I should write one complete script.",
        "Okay, a single complete pulp script is better than small pieces.",
        "Each block runs on its own, so the whole model must be in one block.",
        "Let me write the full program at once, from import to print.",
        "Fragments share nothing. I need one self-contained script.",
        "It is better to code the model and the solve together.",
        "I see, I should not split the code. One full script it is.",
        "The next block should hold data, model and solve all together.",
        "Rather than testing parts, I write the entire model now.",
        "Hold on, one block with everything is the right way.",
        "A complete script is needed, so I start it from the import.",
    ),
    Correction.TRUST: (
        "The solver already gave the optimal value, so doing it again by hand is not needed.",
        "I should trust the solver and not redo the sums by hand.",
        "Okay, the solver result is exact, so I should not compute it again.",
        "Recalculating by hand adds nothing. I should interpret the result instead.",
        "The numbers come from an exact solve. I can rely on them.",
        "There is no reason to repeat what the solver did.",
        "Wait, checking every product by hand only invites mistakes. The solver is right.",
        "I see, the output already has what I need. I go on from it.",
        "Instead of redoing the arithmetic, I look at what the result means.",
        "The status is given by the solver, so I accept its value.",
        "I do not need to verify sums that the solver computed.",
        "The solver has done the sums, so let me move on.",
    ),
    Correction.REFLECT: (
        "Before I finalize, let me reflect on this result.",
        "Wait, I should check if this result makes sense.",
        "Before I box it, let me see whether the value is plausible.",
        "It is good practice to look at the result once more.",
        "Let me make sure that this answer is reasonable.",
        "One quick sanity check before the final answer.",
        "I should ask myself if the solution fits the problem.",
        "Hold on, a short check of the result comes first.",
        "Let me see that nothing was left out before I answer.",
        "First I want to be sure that this is sensible.",
        "I take a moment to judge the result.",
        "A brief look at the status and the limits is in order.",
    ),
    Correction.SENSE: (
        "Wait, the goal is to {direction} the {objective}.",
        "I see, I should {direction} here.",
        "Hold on, the question asks me to {direction} {objective}.",
        "The direction is wrong. The task is to {direction}.",
        "Let me read the question again: it wants me to {direction} the {objective}.",
        "I mixed up the direction, since we {direction} {objective}.",
        "Okay, this is a problem where I {direction}.",
        "To answer the question I have to {direction} the {objective}.",
        "No, the {objective} is something to {direction}.",
        "I must not confuse the goal. It is to {direction} {objective}.",
    ),
    Correction.DOMAIN: (
        "Wait, these must be {domain}.",
        "I see, the problem needs {domain} here.",
        "Hold on, the variables are {domain} in this problem.",
        "I should not forget that the decisions are {domain}.",
        "What kind of numbers are these? The text implies {domain}.",
        "Other values make no sense, so I need {domain}.",
        "Okay, the text tells me about the kind of variables: {domain}.",
        "Let me fix the kind of variables. They are {domain}.",
        "The variables are of the wrong kind. They should be {domain}.",
        "I need to declare {domain} for this to be practical.",
    ),
    Correction.MISSING_ROW: (
        "Wait, I must not miss the {row} limit.",
        "I see, the {row} limit is not in my model yet.",
        "Hold on, I left out {row}.",
        "The condition on {row} belongs in the model too.",
        "I have not written the {row} constraint so far.",
        "Something is missing. The text also restricts {row}.",
        "Let me add the constraint for {row}.",
        "Before I code, the {row} condition has to be there.",
        "Okay, {row} is still open, so I write that constraint.",
        "I should include {row} as well.",
    ),
    Correction.ROW: (
        "Wait, the {row} limit needs care.",
        "I see, I got the {row} line wrong.",
        "Hold on, I should read the {row} condition again.",
        "The {row} constraint is not right. Let me look at the text.",
        "Let me be careful with {row}.",
        "I need to check the direction and the numbers for {row}.",
        "Okay, what does the text say about {row}? I write it again.",
        "I should correct the {row} constraint.",
        "The line for {row} does not match the text.",
        "No, for {row} I have to look again at the data.",
    ),
    Correction.OBJECTIVE: (
        "Wait, the numbers of the {objective} need care.",
        "I should read the {objective} figures again.",
        "Hold on, one of the {objective} numbers is wrong.",
        "Let me copy the {objective} of each from the text.",
        "The {objective} line does not match the text.",
        "I see, I misread the {objective} data.",
        "Okay, I go through the {objective} values once more.",
        "I need to correct the objective line.",
    ),
    Correction.REREAD: (
        "Let me go through the data once more with care.",
        "Wait, something in my model does not match the text. I read it again.",
        "I should set up the model again from the text.",
        "Hold on, I start over and copy each number carefully.",
        "I see, I need to read the problem more closely.",
        "Okay, once more from the beginning, line by line.",
    ),
    Correction.CODE_SENSE: (
        "I need to make the code match my model: it has to {direction}.",
        "Wait, my code went in the wrong direction. The model says {direction}.",
        "The code should {direction}, as I wrote above.",
        "I see a bug: the program must {direction}.",
        "Hold on, LpProblem needs the right direction, which is to {direction}.",
        "Let me write the code so that it does {direction}.",
    ),
    Correction.CODE_DOMAIN: (
        "I need to make the code match my model: the variables are {domain}.",
        "Wait, in the code the variables must be {domain}.",
        "The code should declare {domain}, as I wrote above.",
        "I see a bug: the category of the variables has to say {domain}.",
        "Hold on, my model has {domain}, so the code needs that too.",
        "Let me write the code with {domain}.",
    ),
    Correction.CODE_ROW: (
        "I need to make the code match my model: the {row} line is off.",
        "Wait, the code must follow the {row} constraint of my model.",
        "The code should have {row} exactly as I wrote it above.",
        "I see a bug in the code for {row}.",
        "Hold on, {row} in the code is not what my model says.",
        "Let me write the code again and take care of {row}.",
    ),
    Correction.CODE: (
        "I need to make the code match my model.",
        "Wait, the code must follow each line of the model.",
        "There is a bug in the code. I write it again, line by line.",
        "I see, the program differs from my model, so I correct it.",
        "Hold on, I should copy the model into code more carefully.",
        "The script has to be faithful to the model above.",
    ),
    Correction.BOX: (
        "Now I should box only the final number.",
        "I must put the final number in a box.",
        "Okay, the final number must go in a box.",
        "The answer has to be in \\boxed{{}} with the number alone.",
        "I should give the number inside \\boxed{{}} and nothing else.",
        "The instructions ask for a boxed number, so I write it that way.",
        "Let me end with the plain number in a box.",
        "No units and no words, only the number in the box.",
        "I need to finish with the boxed value.",
        "The last line should be the boxed number.",
    ),
}


def hint(rng: random.Random, correction: Correction, **names: str) -> str:
    """Returns a hint sentence for a correction.

    Args:
        rng: Chooses the wording.
        correction: What is to be put right.
        **names: `direction`, `objective`, `domain` and `row`, as far as the correction speaks of them.
    """
    return rng.choice(WORDINGS[correction]).format(**names)
