"""Patient intake forms: fictional people at a clinic's front desk."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field, computed_field

Sex = Literal["Female", "Male", "Intersex"]
BloodType = Literal["A+", "A-", "B+", "B-", "AB+", "AB-", "O+", "O-"]


class Patient(BaseModel):
    """A patient intake form."""

    sex: Sex = Field(title="Sex")
    age: int = Field(title="Age", ge=0, le=110)
    blood_type: BloodType = Field(title="Blood type")
    smoker: bool = Field(title="Smoker")
    pain: int = Field(title="Pain level", ge=0, le=10)
    patient: str = Field(title="Patient", description="full name", max_length=60)
    visit: date = Field(title="Visit date")
    complaint: str = Field(title="Complaint", description="one sentence", max_length=300)

    @computed_field(title="Age group")
    def age_group(self) -> Literal["child", "adult", "senior"]:
        return "child" if self.age < 18 else "adult" if self.age < 65 else "senior"
