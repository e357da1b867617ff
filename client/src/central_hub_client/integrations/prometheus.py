"""Prometheus: `REGISTRY.register(ConfigCollector(config))`, with prometheus-client."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from central_hub_client.config_manager import ConfigManager
from central_hub_client.observation import MEASURES, Kind, observe

LABELS = ("service", "environment")


class ConfigCollector(Collector):
    """The measures of managers as `central_hub_client_…`, taken at each scrape.

    Of the process that is scraped: the multiprocess mode of prometheus-client, which merges files of several processes,
    does not know collectors.
    """

    def __init__(self, *managers: ConfigManager[Any]) -> None:
        self._managers = managers

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        observations = [observe(manager) for manager in self._managers]
        for measure in MEASURES:
            family = CounterMetricFamily if measure.kind is Kind.COUNTER else GaugeMetricFamily
            name = "_".join(filter(None, ("central_hub_client", measure.name, measure.unit)))
            metric = family(name, measure.help, labels=LABELS)
            for seen in observations:
                if (value := measure.read(seen)) is not None:
                    metric.add_metric([seen.service, seen.environment], value)
            yield metric
