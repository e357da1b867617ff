"""OpenTelemetry: `instrument(config)`, with its API alone (the extra `otel`): the SDK is the service's own choice."""

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from central_hub_client.config_manager import ConfigManager
from central_hub_client.observation import MEASURES, Kind, Measure, observe


def instrument(*managers: ConfigManager[Any], meter_provider: MeterProvider | None = None) -> None:
    """Make the measures of managers known as `central_hub.client.…`, taken at each collection. Call it once."""
    meter = get_meter("central_hub_client", meter_provider=meter_provider)
    for measure in MEASURES:
        create = meter.create_observable_counter if measure.kind is Kind.COUNTER else meter.create_observable_gauge
        create(
            f"central_hub.client.{measure.name}",
            callbacks=[_reader(measure, managers)],
            unit="s" if measure.unit == "seconds" else "1",
            description=measure.help,
        )


def _reader(
    measure: Measure, managers: tuple[ConfigManager[Any], ...]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        for manager in managers:
            seen = observe(manager)
            if (value := measure.read(seen)) is not None:
                yield Observation(value, {"service": seen.service, "environment": seen.environment})

    return read
