"""Take a service's configuration from Central Hub, and run on without it."""

from central_hub_client.change import ConfigChange
from central_hub_client.config_client import ConfigClient
from central_hub_client.errors import CentralHubError
from central_hub_client.held_config import Source, Status

__all__ = ["CentralHubError", "ConfigChange", "ConfigClient", "Source", "Status"]
