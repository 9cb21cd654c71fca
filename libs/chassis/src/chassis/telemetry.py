"""Logs, metrics and traces, set up once per process."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram

from chassis.settings import ServiceSettings

MESSAGES = Counter("accrual_messages_total", "Messages applied.", ["consumer", "result"])
BATCH_SECONDS = Histogram(
    "accrual_batch_seconds", "Seconds from a batch's receipt to its commit.", ["consumer"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
BATCH_MESSAGES = Histogram(
    "accrual_batch_messages", "Messages per batch.", ["consumer"], buckets=(1, 3, 10, 30, 100, 300, 1000, 3000)
)
CONSUMER_LAG = Gauge("accrual_consumer_lag_messages", "Messages behind the end of the topic.", ["consumer"])
CONSUMER_STOPPED = Gauge("accrual_consumer_stopped", "1 while a consumer has stopped and needs a person.", ["consumer"])
LOG_CUT = Counter(
    "accrual_consumer_log_cut_total", "Partitions whose end Kafka had lost after it was read.", ["consumer"]
)
DEAD_LETTERS = Counter("accrual_dead_letters_total", "Messages sent to the dead letters.", ["consumer", "code"])
DEAD_LETTERS_WAITING = Gauge("accrual_dead_letters_waiting", "Dead letters not replayed yet.", ["consumer"])
DEAD_LETTER_AGE = Gauge(
    "accrual_dead_letter_age_seconds", "Age of the oldest dead letter not replayed yet.", ["consumer"]
)
WAITING = Gauge("accrual_waiting_messages", "Messages that wait for their shop.", ["consumer"])
WAITING_AGE = Gauge("accrual_waiting_age_seconds", "Age of the oldest waiting message.", ["consumer"])
QUARANTINED = Gauge(
    "accrual_shops_quarantined", "Shops whose messages wait until a person lets them go on.", ["consumer"]
)
RELAY_LAG = Gauge("accrual_relay_lag_rows", "Rows recorded and not yet sent.")
RELAY_REGAINED = Counter("accrual_relay_regained_total", "Partitions whose end Kafka had lost after it was sent.")
RELAY_SENT = Counter("accrual_relay_sent_total", "Events sent to Kafka.")
RELAY_LEADER = Gauge("accrual_relay_leader", "1 while this process leads the relay.")
TRANSACTION_RETRIES = Counter("accrual_transaction_retries_total", "Transactions tried again after a transient fault.")
REQUESTS = Histogram(
    "accrual_request_seconds", "Seconds per HTTP request.", ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
IN_FLIGHT = Gauge("accrual_requests_in_flight", "HTTP requests being answered.")
JOB_SECONDS = Histogram("accrual_job_seconds", "Seconds per run of a job.", ["job"])
JOB_FAILURES = Counter("accrual_job_failures_total", "Runs of a job that failed; it runs again.", ["job"])

_PROPAGATOR = TraceContextTextMapPropagator()
_SAMPLED = "-01"


def set_up(name: str, settings: ServiceSettings) -> None:
    """Configure logging for the process and, where an endpoint is given, tracing."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.captureWarnings(capture=True)  # of libraries: lines of the log like all others
    structlog.contextvars.bind_contextvars(service=name)
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider = TracerProvider(resource=Resource.create({"service.name": name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
        trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, traceparent: str | None, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span | None]:
    """A span that continues a message's or request's trace, if that trace is sampled; else none, at no cost."""
    if traceparent is None or not traceparent.endswith(_SAMPLED):
        yield None
        return
    context = _PROPAGATOR.extract({"traceparent": traceparent})
    with trace.get_tracer("accrual").start_as_current_span(name, context=context, kind=kind) as current:
        yield current


def open_span(name: str, traceparent: str | None) -> tuple[Span | None, str | None]:
    """A span that is ended by hand, for one message of a batch, and the `traceparent` that continues from it."""
    if traceparent is None or not traceparent.endswith(_SAMPLED):
        return None, traceparent
    context = _PROPAGATOR.extract({"traceparent": traceparent})
    opened = trace.get_tracer("accrual").start_span(name, context=context, kind=SpanKind.CONSUMER)
    if not opened.get_span_context().is_valid:
        return None, traceparent
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(opened))
    return opened, carrier.get("traceparent", traceparent)


def current_traceparent() -> str | None:
    """The `traceparent` of the span that is current, for outgoing calls and events."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")
