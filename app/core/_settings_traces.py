"""Where traces go: the part ``traces`` of ``tandem.yml``."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class TracesConfig(BaseModel):
    """A collector of OpenTelemetry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str  # takes OTLP over HTTP, e.g. http://collector:4318/v1/traces
    sample: float = Field(default=1.0, gt=0, le=1)  # the part of all changes that is traced

    @field_validator("endpoint")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("an endpoint is like https://collector.example.com/v1/traces, without user and query")
        return value
