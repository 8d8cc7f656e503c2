"""The base of everything that crosses a file or a human: frozen, closed, and strict about numbers."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from data.text import one_line


class Value(BaseModel):
    """A frozen value. Unknown fields, NaN and infinity are refused; change is a new value."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="null")


class Band(Value):
    """A prediction as its 10th, 50th and 90th percentiles, in the unit its field names."""

    p10: float
    p50: float
    p90: float

    @classmethod
    def exactly(cls, value: float) -> "Band":
        """A band of no width, for what is decided rather than predicted."""
        return cls(p10=value, p50=value, p90=value)


NConvention = Literal["total", "non-embedding", "matmul"]
"""How parameters are counted: all of them; without embedding and head; matmul weights including the head."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@:+/-]{0,127}$")]
"""Free text that may reach a path, a screen or a report: printable, short, starting with a letter or digit."""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""The name of a file in a folder that is ours: it leads nowhere else."""

PathText = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
"""A path that a user stated. Linux takes at most 4,096 bytes (limits.h, PATH_MAX), and none that is zero."""

Line = Annotated[str, AfterValidator(one_line)]
"""A sentence that may quote anything: a path, an error of the system. One line of what can be seen is kept of it."""
