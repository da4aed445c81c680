"""A chat model as Intervener and as annotator."""

from calmstorm.intervener.llm.reviewers import LlmAnnotator, LlmIntervener

__all__ = ["LlmAnnotator", "LlmIntervener"]
