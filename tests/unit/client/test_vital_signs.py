"""How a service is, as another thread sees it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from central_hub_client import ConfigManager, HealthState, vital_signs
from central_hub_client.vital_signs import VitalSigns
from tests.wire.waiting import until


class Patient:
    def __init__(self) -> None:
        self.state = HealthState.HEALTHY
        self.told: list[HealthState] = []
        self.signs = VitalSigns(self.measure, lambda: self.told.append(self.signs.state()))

    def measure(self) -> HealthState:
        if self.state is HealthState.EXPIRED:
            raise ZeroDivisionError
        return self.state


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vital_signs, "LOOK_SECONDS", 0.02)


@pytest.fixture
async def patient() -> AsyncIterator[Patient]:
    patient = Patient()
    patient.signs.start()
    await until(lambda: patient.told == [HealthState.HEALTHY])
    yield patient
    patient.signs.stop()


async def test_only_another_state_is_told(patient: Patient) -> None:
    looks = 0

    def count() -> HealthState:
        nonlocal looks
        looks += 1
        return patient.state

    patient.signs._measure = count
    await until(lambda: looks > 3)
    assert patient.told == [HealthState.HEALTHY]
    patient.state = HealthState.DRAINING
    await until(lambda: patient.told == [HealthState.HEALTHY, HealthState.DRAINING])


async def test_an_event_loop_that_is_stuck_is_unhealthy_and_recovers(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert patient.signs.state() is HealthState.HEALTHY
    seen = asyncio.create_task(asyncio.to_thread(until_unhealthy, patient))
    await asyncio.sleep(0)
    monkeypatch.setattr(vital_signs, "HELD_UP_SECONDS", 0.2)
    time.sleep(1)  # noqa: ASYNC251 - this is what is wrong with the service
    assert patient.signs.state() is HealthState.UNHEALTHY
    assert await seen
    monkeypatch.setattr(vital_signs, "HELD_UP_SECONDS", 60.0)
    await until(lambda: patient.signs.state() is HealthState.HEALTHY)


def until_unhealthy(patient: Patient) -> bool:
    deadline = time.monotonic() + 20
    while patient.signs.state() is not HealthState.UNHEALTHY:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def test_a_recovery_is_told_although_the_measured_state_is_the_same(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vital_signs, "HELD_UP_SECONDS", 0.5)
    time.sleep(0.7)  # noqa: ASYNC251 - the hub may have heard `unhealthy` meanwhile
    await until(lambda: len(patient.told) >= 2)
    assert set(patient.told) == {HealthState.HEALTHY}


async def test_a_measurement_that_fails_is_no_health_and_not_the_end(patient: Patient) -> None:
    patient.state = HealthState.EXPIRED
    await until(lambda: patient.signs.state() is HealthState.UNHEALTHY)
    patient.state = HealthState.HEALTHY
    await until(lambda: patient.signs.state() is HealthState.HEALTHY)


async def test_the_last_measurement_stands(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.state = HealthState.DRAINING
    patient.signs.stop()
    monkeypatch.setattr(vital_signs, "HELD_UP_SECONDS", 0.0)
    assert patient.signs.state() is HealthState.DRAINING


def test_a_forked_process_does_not_speak_of_its_parents_health() -> None:
    manager = ConfigManager("orders", config_dir=None)
    manager.report_state(lambda: HealthState.UNHEALTHY)
    assert manager._instance_report().state is HealthState.UNHEALTHY
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, manager._instance_report().state.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"healthy"
    os.close(reading)
    os.close(writing)
