"""Support tickets: who wrote, through which channel, how urgent, and what about."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, Field, computed_field

from .sources import MAIL_DOMAINS, MAIL_ENDINGS, full_names, mail_address, pick

Channel = Literal["email", "chat", "phone", "web form"]
Priority = Literal["low", "medium", "high", "urgent"]
Status = Literal["open", "pending", "solved", "closed"]
Sentiment = Literal["positive", "neutral", "negative"]


class Ticket(BaseModel):
    """A customer support ticket."""

    opened: datetime = Field(title="Opened")
    customer: str = Field(title="Customer", description="full name", max_length=60)
    email: str = Field(title="E-mail", pattern=r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", max_length=80)
    channel: Channel = Field(title="Channel")
    priority: Priority = Field(title="Priority")
    status: Status = Field(title="Status")
    sentiment: Sentiment = Field(title="Sentiment")
    message: str = Field(title="Message", description="one sentence", max_length=300)

    @computed_field(title="Hour opened")
    def hour_opened(self) -> int:
        return self.opened.hour


def balanced_tickets(
    rng: np.random.Generator, n: int
) -> Iterator[tuple[datetime, str, str, Channel, Priority, Status, Sentiment]]:
    """All fields but the message: any minute of 2015 to 2026; channel, priority and so on in balance."""
    start = datetime(2015, 1, 1)
    minutes = rng.integers(12 * 365 * 24 * 60, size=n).tolist()
    opened = [start + timedelta(minutes=minute) for minute in minutes]
    customers = full_names(rng, pick(rng, ("Female", "Male"), n))
    emails = map(mail_address, customers, pick(rng, MAIL_DOMAINS, n), pick(rng, MAIL_ENDINGS, n))
    channels, priorities = pick(rng, get_args(Channel), n), pick(rng, get_args(Priority), n)
    statuses, sentiments = pick(rng, get_args(Status), n), pick(rng, get_args(Sentiment), n)
    return zip(opened, customers, emails, channels, priorities, statuses, sentiments, strict=True)
