"""The CustomGPT API behind the ``Assistant`` port.

One file per idea. ``client`` says which requests make up a call, ``requests`` what all of them have in
common. ``transport`` sends one request, ``sending`` is the last line before its bytes leave, ``exchange`` is
what became of it, and ``sorting`` turns that into an error with a name. ``parsing`` and ``facts`` turn bodies
into models, ``moments`` reads dates and pauses, ``listing`` puts pages of messages together, and ``canned``
keeps the agent's fixed texts.
"""

from worker.adapters.customgpt.client import CustomGpt
from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.facts import PlanUsage, ProjectFacts

__all__ = ["CustomGpt", "CustomGptConfig", "PlanUsage", "ProjectFacts"]
