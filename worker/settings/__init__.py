"""The settings: the only part that reads the environment."""

from worker.settings.declare import Origin, Setting, as_text
from worker.settings.key_source import KeySource
from worker.settings.load import Need, load_settings
from worker.settings.model import HIGHEST_PROJECT_ID, SETTINGS, Settings
from worker.settings.state_folder import make_state_folder
from worker.settings.urls import masked_url

__all__ = [
    "HIGHEST_PROJECT_ID",
    "SETTINGS",
    "KeySource",
    "Need",
    "Origin",
    "Setting",
    "Settings",
    "as_text",
    "load_settings",
    "make_state_folder",
    "masked_url",
]
