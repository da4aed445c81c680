"""calmstorm: adapt reasoning models to optimization modeling, after "CALM Before the STORM" (arXiv 2510.04204).

The data flows one way: problem, prompt, rollout with code, verdict, intervention, golden set, fine-tuning,
reinforcement, evaluation, report. Each room of the package is one station of that way.
"""

__version__ = "0.1.0"
