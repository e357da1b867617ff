"""Take a service's configuration from Central Hub, and run on without it."""

from central_hub_client.change import ConfigChange
from central_hub_client.config_client import ConfigClient
from central_hub_client.config_manager import ConfigManager
from central_hub_client.config_report import Report
from central_hub_client.errors import CentralHubError, IncompleteConfig, NoInstance
from central_hub_client.explain import Explanation
from central_hub_client.held_config import Source, Status
from central_hub_client.notifications import SettingsChange
from central_hub_client.registration import InstanceDescription
from central_hub_client.routing.policy import Choice, Fallback, Policy
from central_hub_client.service_directory import ServiceDirectory
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.sources import ConfigSource
from central_hub_client.wire import HealthState

__all__ = [
    "CentralHubError",
    "Choice",
    "ConfigChange",
    "ConfigClient",
    "ConfigManager",
    "ConfigSource",
    "Explanation",
    "Fallback",
    "HealthState",
    "IncompleteConfig",
    "InstanceDescription",
    "NoInstance",
    "Policy",
    "Report",
    "ServiceDirectory",
    "ServiceInstance",
    "SettingsChange",
    "Source",
    "Status",
]
