"""The environment as a settings source: each variable also as NAME_FILE, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_settings import PydanticBaseSettingsSource

from worker.settings.declare import Origin, Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

    from worker.settings.model import Settings

#: Bytes; a secret or an address is shorter, a wrong path may name something huge.
FILE_BYTES = 65_536


class Found(NamedTuple):
    """One value and where it was found."""

    value: str
    origin: Origin


class EnvironmentAndFiles(PydanticBaseSettingsSource):
    """Reads variables and the files they name; call it once, then look at origins and problems."""

    def __init__(
        self, model: type[Settings], settings: tuple[Setting, ...], environ: Mapping[str, str]
    ) -> None:
        super().__init__(model)
        self._settings = {setting.field: setting for setting in settings}
        self._environ = environ
        self.origins: dict[str, Origin] = {}
        #: What could not be read, by field, one sentence each.
        self.problems: dict[str, str] = {}

    def __call__(self) -> dict[str, Any]:
        """Return what was set, by field; what is empty counts as not set."""
        values: dict[str, Any] = {}
        for field in self._settings:
            value, _, _ = self.get_field_value(self.settings_cls.model_fields[field], field)
            if value is not None:
                values[field] = value
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return a field's value, the variable it came from and whether it still has to be decoded."""
        found = self._find(self._settings[field_name])
        if found is None:
            return None, "", False
        self.origins[field_name] = found.origin
        return found.value, found.origin.name, False

    def _find(self, setting: Setting) -> Found | None:
        for name in setting.names:
            plain = self._environ.get(name, "")
            file_name = f"{name}_FILE"
            file = self._environ.get(file_name, "") if file_name in setting.file_names else ""
            if plain and file:
                self.problems[setting.field] = f"{name} and {file_name} are both set: keep one of them"
                return None
            if plain:
                return Found(plain, Origin("environment", name))
            if file:
                return self._read(setting, file_name, Path(file))
        return None

    def _read(self, setting: Setting, file_name: str, path: Path) -> Found | None:
        try:
            with path.open("rb") as file:
                text = file.read(FILE_BYTES).decode("utf-8").rstrip("\r\n")
        except OSError as error:
            self.problems[setting.field] = f"{file_name} names {path}, which cannot be read: {error.strerror}"
            return None
        except UnicodeDecodeError:
            self.problems[setting.field] = f"{file_name} names {path}, which is not text"
            return None
        if not text:
            self.problems[setting.field] = f"{file_name} names {path}, which is empty"
            return None
        return Found(text, Origin("file", file_name, path))
