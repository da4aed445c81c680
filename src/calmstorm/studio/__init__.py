"""The studio: a web page on this machine to look at a run. So far it reads; annotating and intervening come later."""

from calmstorm.studio.server import StudioServer

__all__ = ["StudioServer"]
