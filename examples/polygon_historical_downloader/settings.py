"""The operational settings, as the hub's document spells them: typed, checked, frozen. Pure.

The defaults are the safe defaults the service runs with where no hub has ever answered. Connection settings (where the
API is, the key, the database file) are no business of the hub: see environment.py.
"""

from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .dates import resolve
from .instruments import SYMBOL_PATTERN, PairClass
from .schedule import Schedule
from .timeframes import Timeframe, Timespan


def _a_date(text: str) -> str:
    resolve(text, date(2024, 1, 1))
    return text


def _a_schedule(text: str) -> str:
    Schedule.parse(text)
    return text


_Date = Annotated[str, AfterValidator(_a_date)]
_Symbol = Annotated[str, Field(pattern=SYMBOL_PATTERN)]


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class _Section(BaseModel):
    # A key this build does not know must not stop it: the document may already speak to the next one.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Operational(_Section):
    symbols: tuple[_Symbol, ...] = ("EURUSD", "XAUUSD", "GBPUSD", "USDJPY")
    timeframes: tuple[Timeframe, ...] = (
        Timeframe.M5,
        Timeframe.M15,
        Timeframe.M30,
        Timeframe.H1,
        Timeframe.H4,
        Timeframe.D1,
        Timeframe.W1,
    )
    batch_size: int = Field(
        default=50_000, ge=1, le=50_000, description="Bars per page: asked for and written at once."
    )
    max_parallel: int = Field(default=3, ge=1, le=100, description="Requests in flight at once.")
    max_retries: int = Field(default=5, ge=0, le=100, description="How often a failed page is tried again.")
    retry_delay_seconds: float = Field(default=10, ge=0, le=3600)
    gap_check_interval_hours: float = Field(default=1, gt=0, le=24 * 7, description="Pause between two sweeps.")
    verification_enabled: bool = Field(default=True, description="Check every page, and read it back once written.")


class Granularity(_Section):
    """The finest bars that are asked for."""

    timeframe: Timespan = Timespan.MINUTE
    multiplier: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _is_a_timeframe(self) -> Self:
        Timeframe.of(self.multiplier, self.timeframe)
        return self

    @property
    def finest(self) -> Timeframe:
        return Timeframe.of(self.multiplier, self.timeframe)


class Granularities(_Section):
    trading_pairs: Granularity = Granularity()
    analysis_pairs: Granularity = Granularity()
    confirmation_pairs: Granularity = Granularity()

    def of(self, pair_class: PairClass) -> Granularity:
        return {
            PairClass.TRADING: self.trading_pairs,
            PairClass.ANALYSIS: self.analysis_pairs,
            PairClass.CONFIRMATION: self.confirmation_pairs,
        }[pair_class]


class Download(_Section):
    start_date: _Date = "today-7days"
    end_date: _Date = "today"
    rate_limit_per_sec: float = Field(default=5, gt=0, le=1000)
    granularity: Granularities = Granularities()


class GapDetection(_Section):
    enabled: bool = True
    schedule: Annotated[str, AfterValidator(_a_schedule)] = "0 2 * * *"
    max_gap_days: float = Field(default=7, gt=0, description="Longer gaps are reported and left to a person.")
    completeness_threshold_intraday: float = Field(default=1.0, ge=0, le=1)
    completeness_threshold_daily: float = Field(default=0.8, ge=0, le=1)

    def threshold(self, timeframe: Timeframe) -> float:
        return self.completeness_threshold_intraday if timeframe.is_intraday else self.completeness_threshold_daily


class Features(_Section):
    enable_gap_verification: bool = True
    enable_period_tracker: bool = True
    enable_auto_backfill: bool = True


class CircuitBreaker(_Section):
    failure_threshold: int = Field(default=5, ge=1)
    recovery_timeout_seconds: float = Field(default=60, ge=0)


class HealthCheck(_Section):
    interval_seconds: float = Field(default=30, gt=0)
    timeout_seconds: float = Field(default=5, gt=0)


class Logging(_Section):
    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.JSON


class Settings(_Section):
    """The whole document: the service's own, over the global one."""

    operational: Operational = Operational()
    download: Download = Download()
    gap_detection: GapDetection = GapDetection()
    features: Features = Features()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    health_check: HealthCheck = HealthCheck()
    logging: Logging = Logging()
