"""Reinforcement learning by verl on a Ray cluster: the one place that knows verl, whose version is pinned.

verl's own `main_ppo` runs the training; what is ours reaches it through the entry point `verl.plugins` (`plugin`):

    agent_loop     the package's one rollout loop as an agent loop, graded in the loop
    interpreter    one interpreter on each node that runs agent loops
    trainer        verl's trainers, with what a failed rollout must not do, and with metrics of our own
    platform       verl without an accelerator
    rollout        the engine of this package as verl's rollout engine, for models that fit a CPU

The recipe travels inside verl's configuration (`recipe`), so that no worker needs a file or a variable of its own.
"""
