"""What every service needs and no business.

Where each delivery guarantee is kept: order of positions `lanes`, recording `outbox`, sending `relay`, applying once
`fence`, `gathering`, `batch` and `consumer`, what cannot work `deadletters`, what must wait `waiting`.
"""

from chassis.database import Database, Transaction, UseCase
from chassis.jobs import Job
from chassis.messages import Consumer, Received
from chassis.outcome import Outcome, Poison, answer_or_raise
from chassis.problems import Overloaded, Problem
from chassis.service import CannotStart, Runtime, Service, run
from chassis.settings import ServiceSettings

__all__ = [
    "CannotStart",
    "Consumer",
    "Database",
    "Job",
    "Outcome",
    "Overloaded",
    "Poison",
    "Problem",
    "Received",
    "Runtime",
    "Service",
    "ServiceSettings",
    "Transaction",
    "UseCase",
    "answer_or_raise",
    "run",
]
