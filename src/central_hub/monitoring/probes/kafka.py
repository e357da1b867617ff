"""Asks a Kafka cluster for its metadata."""

import asyncio
import importlib
import logging
import time
from typing import Any

from central_hub.connections.health_probe import Probed, failure
from central_hub.monitoring.probes.connection import Connection, brokers
from central_hub.monitoring.probes.options import KafkaOptions
from central_hub.monitoring.probes.reach import Found, Reach, answered, tls_if_asked
from central_hub.monitoring.probes.wires import Wires

_NO_KAFKA = "what answers is no Kafka broker"


async def ask(connection: Connection, options: KafkaOptions, reach: Reach) -> Probed:
    """Whether one of the brokers tells of a cluster that is as it should be."""
    try:
        # In a thread: it takes a while, and only who has a Kafka pays for it.
        await asyncio.to_thread(importlib.import_module, "aiokafka.conn")
    except ImportError:
        return Probed(None, "Kafka is not spoken here: install central-hub[monitoring]")
    found = Probed(False)
    servers = brokers(connection)
    for number, (host, port) in enumerate(servers):
        try:
            async with reach.share(len(servers) - number):
                return await _ask_one(host, port, connection, options, reach)
        except TimeoutError:
            if number == len(servers) - 1:
                raise
            found = Probed(False, "no answer in time")
        except Found as end:
            found = end.probed
        except OSError as error:
            found = failure(error)
    return found


async def _ask_one(host: str, port: int, connection: Connection, options: KafkaOptions, reach: Reach) -> Probed:
    from aiokafka.conn import AIOKafkaConnection
    from aiokafka.errors import KafkaError
    from aiokafka.protocol.metadata import MetadataRequest

    # It logs what it raises, and for every sign-in a line: here that is every few seconds.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
    tls = tls_if_asked(connection.options.tls, options)
    addresses = await reach.addresses(host)
    started = time.perf_counter()
    for number, address in enumerate(addresses):
        try:
            with Wires(host) as wires:
                broker = AIOKafkaConnection(
                    address,
                    port,
                    client_id="central-hub-probe",
                    ssl_context=tls,
                    security_protocol=("SASL_" if connection.user else "") + ("SSL" if tls else "PLAINTEXT"),
                    sasl_mechanism=connection.options.mechanism,
                    sasl_plain_username=connection.user,
                    sasl_plain_password=connection.password or "",
                )
                broker._loop = wires  # what `connect` makes its connection with
                try:
                    await broker.connect()
                    request = MetadataRequest(list(options.topics), allow_auto_topic_creation=False)
                    return _judged(await broker.send(request), options, started)
                finally:
                    broker.close()
        except OSError:
            if number == len(addresses) - 1:
                raise
        except KafkaError as error:
            raise _found(error) from None
        except (ValueError, AssertionError, ArithmeticError, LookupError):
            # What the library makes of bytes that are nothing of Kafka.
            raise Found(False, _NO_KAFKA) from None
    raise Found(False, "its name has no address")


def _judged(metadata: Any, options: KafkaOptions, started: float) -> Probed:
    well = answered(started)
    if len(metadata.brokers) < options.min_brokers:
        return Probed(False, f"{len(metadata.brokers)} of {options.min_brokers} brokers are there", well.latency_ms)
    partitions = {name: parts for error, name, _, parts, *_ in metadata.topics if error == 0}
    for name in options.topics:
        if name not in partitions:
            return Probed(False, f"the topic {name} is not there", well.latency_ms)
        if any(leader < 0 for _, _, leader, *_ in partitions[name]):
            return Probed(False, f"a partition of the topic {name} has no leader", well.latency_ms)
    return well


def _found(error: Exception) -> Found:
    from aiokafka import errors

    if isinstance(error, errors.AuthenticationFailedError | errors.SaslAuthenticationFailed):
        return Found(False, "the credentials were refused")
    if isinstance(error, errors.UnsupportedSaslMechanismError | errors.IllegalSaslStateError):
        return Found(False, "it lets nobody in in this way")
    if isinstance(error, errors.TopicAuthorizationFailedError | errors.ClusterAuthorizationFailedError):
        return Found(False, "the user may not do this")
    told = failure(error)
    return Found(told.ok, told.reason or "")
