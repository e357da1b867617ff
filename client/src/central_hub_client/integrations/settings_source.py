"""pydantic-settings: the hub as one more source of a `BaseSettings` that a service already has."""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from central_hub_client.config_manager import ConfigManager
from central_hub_client.model_binding import ModelBinding
from central_hub_client.read_only import ReadOnlyDict


class HubSettingsSource(PydanticBaseSettingsSource):
    """What a started ConfigManager holds, for `settings_customise_sources`. Give the manager no schema.

    Keys that the settings do not declare are left out at every depth, so that a key for the next build stops nobody.
    Settings are read when they are made: make them anew for each unit of work, or when the manager tells of a change.
    """

    def __init__(self, settings_cls: type[BaseSettings], config: ConfigManager[Any]) -> None:
        super().__init__(settings_cls)
        self._config = config

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        current = self._config.current
        if not isinstance(current, ReadOnlyDict):
            raise TypeError("the manager of a HubSettingsSource has no schema: the settings are the schema")
        values = current.to_dict()
        shape = ModelBinding(self.settings_cls).shape
        return values if shape is None else shape.fit(values)[0]
