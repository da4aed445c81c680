"""calmstorm: adapt reasoning models to optimization modeling, after "CALM Before the STORM" (arXiv 2510.04204).

The data flows one way: problem, prompt, rollout with code, verdict, intervention, golden set, fine-tuning,
reinforcement, evaluation, report. Each subpackage is one step of that way.

The public API stands in `__init__.pyi`; docs/python.md shows it at work. Names are loaded when they are first used, so
that importing the package is cheap and needs none of the extras.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
