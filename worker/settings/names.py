"""Names of variables: which are unknown, and which right one was probably meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from worker.settings.model import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.settings.declare import Setting

#: Names that Kubernetes makes in every pod for a Service called askrelay.
_OWN_SERVICE = re.compile(r"ASKRELAY_(SERVICE_|PORT)")
#: Names that it makes for other Services whose name starts with askrelay-.
_OTHER_SERVICE = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")
_LINK_ADVICE = " (Kubernetes makes this for a Service: set enableServiceLinks: false in the pod)"

_PREFIX = "ASKRELAY_"
KNOWN = tuple(name for setting in SETTINGS for name in (*setting.names, *setting.file_names))
_ENDINGS = [name.removeprefix(_PREFIX) for name in KNOWN if name.startswith(_PREFIX)]


def unknown(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for every ASKRELAY_ name that is no setting, with the nearest one that is."""
    for name in sorted(environ):
        if not name.upper().startswith(_PREFIX) or name in KNOWN or _OWN_SERVICE.match(name):
            continue
        if _OTHER_SERVICE.search(name):
            yield f"{name} is not a setting{_LINK_ADVICE}"
            continue
        # Without the part that all have in common: with it, any two names are alike.
        near = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), _ENDINGS, n=1)
        advice = f"did you mean {_PREFIX}{near[0]}?" if near else "`askrelay settings` lists them"
        yield f"{name} is not a setting: {advice}"


def misspelt(name: str, environ: Mapping[str, str]) -> str:
    """Return a hint when a variable is set whose name is nearly this one, or an empty string."""
    others = [other for other in environ if other not in KNOWN]
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.85)
    return f" (but {near[0]} is)" if near else ""


def nearest_choice(value: str, setting: Setting) -> str:
    """Return ``: did you mean x?`` for a value that is nearly one of a setting's choices."""
    if not setting.must_be.startswith("one of "):
        return ""
    near = difflib.get_close_matches(value.lower(), setting.must_be.removeprefix("one of ").split(", "), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def service_link_hint(value: str) -> str:
    """Return a hint for a value such as ``tcp://10.0.0.1:80``, which Kubernetes makes and nobody means."""
    return _LINK_ADVICE if re.match(r"(tcp|udp)://", value) else ""
