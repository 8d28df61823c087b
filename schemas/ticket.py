"""Support tickets: who wrote, through which channel, how urgent, and what about."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, computed_field

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
