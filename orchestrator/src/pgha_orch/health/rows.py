"""What every part of the status document is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Row):
    """One thing that is wrong, in words, and the next step."""

    where: str
    what: str
    next: str
