"""What verl logs and dumps while it trains, told to the run: each step and evaluation once and in order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from subprocess import Popen

from calmstorm.training.steps import RlStep
from calmstorm.training.verl import config
from calmstorm.training.verl.checkpoints import checkpoint, keep_only, resume_step, whole_steps
from calmstorm.training.verl.config import VerlTraining
from calmstorm.training.verl.metrics import DumpedRollout, LoggedStep, parse_steps, read_rollouts, rl_step
from calmstorm.training.verl.process import check_ended
from calmstorm.training.watching import HeldOutAnswer, RlEvaluation, Watcher

_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 5.0
"""How long a step waits for its rollouts, which verl dumps beside its work."""


@dataclass(frozen=True)
class Listener:
    """Who is told of a training."""

    on_step: Callable[[RlStep], None]
    """Gets every step once, in order."""
    on_rollout: Callable[[DumpedRollout], None]
    """Gets every rollout of a step, before the step."""
    on_resume: Callable[[int], None]
    """Told after which step the training goes on: what was told of later ones comes again."""


class Follower:
    """Tells the listener of each step that verl logs, and the watcher of each evaluation, once and in order."""

    def __init__(self, training: VerlTraining, listener: Listener, logged: int, watcher: Watcher | None = None) -> None:
        """Takes a training, whom to tell, the last step that was told before, and who chooses weights."""
        self._training, self._listener, self.watcher = training, listener, watcher
        self._folder = training.work / config.CHECKPOINTS
        self.told = logged
        """The last step that the listener knows."""
        self._read_to = 0  # bytes of verl's log

    def catch_up(self) -> VerlTraining:
        """Takes up what was logged before a kill; returns the training as it goes on."""
        work = self._training.work
        self._listener.on_resume(self.told)  # rollouts may be told of a step that is not
        self.tell_new(wait=False)
        step = resume_step(self._folder, self.told)
        if self.watcher is not None:
            known = self.watcher.scores
            self.watcher.scores = {done: score for done, score in known.items() if done <= step}
        keep_only(self._folder, {step, self._best})
        for place in (config.ROLLOUTS, config.EVALUATIONS, "hydra"):
            shutil.rmtree(work / place, ignore_errors=True)
        (work / config.METRICS).unlink(missing_ok=True)
        self._read_to, self.told = 0, step
        self._listener.on_resume(step)
        resume_from = checkpoint(self._folder, step) if step else None
        return replace(self._training, resume_from=resume_from)

    def follow(self, process: Popen[bytes]) -> None:
        """Tells of steps until verl ends, or evaluations say that it is enough."""
        ended = False
        while not ended and not self.is_over:
            ended = check_ended(process, self._training.work)
            self.tell_new(wait=not ended)
            if not ended:
                time.sleep(_POLL_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether as many evaluations as `rl.patience` came after the best one."""
        return self.watcher is not None and self.watcher.is_over()

    @property
    def kept(self) -> int | None:
        """The step whose weights become the model; None where that has no checkpoint."""
        whole = whole_steps(self._folder)
        if self._training.recipe.rl.keep == "best" and (best := self._best) is not None:
            return best if best in (0, *whole) else None
        return max((step for step in whole if step == self.told), default=None)

    @property
    def _best(self) -> int | None:
        return None if self.watcher is None else self.watcher.best

    def _logged(self) -> list[LoggedStep]:
        """Returns what was logged since the last call."""
        path = self._training.work / config.METRICS
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._read_to)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return parse_steps(whole.decode().splitlines())

    def tell_new(self, wait: bool) -> None:
        """Tells of what was logged since the last call.

        Args:
            wait: Whether rollouts that are not dumped yet are waited for, some seconds.
        """
        settings = self._training.recipe.rl
        for logged in self._logged():
            if logged.is_trained and logged.step > self.told:
                count = settings.prompts_per_step * settings.samples
                for rollout in self._dumped(config.ROLLOUTS, logged.step, count if wait else 0):
                    self._listener.on_rollout(rollout)
                self._listener.on_step(rl_step(logged))
                self.told = logged.step
            if self.watcher is not None and logged.step not in self.watcher.scores:
                self._evaluated(self.watcher, logged, wait)

    def _evaluated(self, watcher: Watcher, logged: LoggedStep, wait: bool) -> None:
        """Scores the evaluation after a step, if there was one, and removes checkpoints that nobody needs any more."""
        settings, measure = watcher.settings, watcher.watch.held_out
        if logged.step % settings.evaluation_steps and logged.step != self._training.steps:
            return
        count = len(measure.problems) * settings.evaluation_samples
        suites = {problem.id: problem.suite for problem in measure.problems}
        answers = [
            HeldOutAnswer(suites[answer.problem_id], answer.problem_id, answer.reward == 1.0)
            for answer in self._dumped(config.EVALUATIONS, logged.step, count if wait else 0)
            if answer.reward is not None
        ]
        if not answers:
            return
        score = measure.score(answers).model_copy(update={"seconds": logged.numbers.get("timing_s/testing", 0.0)})
        watcher.scores[logged.step] = score
        watcher.watch.on_evaluation(RlEvaluation(step=logged.step, evaluation=score))
        if config.chooses(settings):
            keep_only(self._folder, {*whole_steps(self._folder)[-2:], watcher.best})

    def _dumped(self, place: str, step: int, count: int) -> list[DumpedRollout]:
        """Returns what verl dumped of a step, and removes it: whole responses are gigabytes in the end.

        Args:
            place: Of rollouts, or of evaluations.
            step: Which step.
            count: How many are waited for, some seconds.
        """
        folder = self._training.work / place
        rollouts = read_rollouts(folder, step)
        until = time.monotonic() + _SETTLE_SECONDS
        while len(rollouts) < count and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            rollouts = read_rollouts(folder, step)
        (folder / f"{step}.jsonl").unlink(missing_ok=True)
        return rollouts
