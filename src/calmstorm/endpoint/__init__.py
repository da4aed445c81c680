"""Clients of OpenAI-compatible APIs: addresses, keys, retries, outages and errors in one place.

Environment variables:
    CALM_API_KEY: Key of the Reasoner's servers.
    CALM_INTERVENER_URL: Base URL of the API of the reviewing model.
    CALM_INTERVENER_KEY: Its key.
    OPENAI_API_KEY: Key of either, where its own variable is not set.

A key comes from the environment and from nowhere else. It is never sent over plain http to another machine, and it is
masked in every message.
"""

from calmstorm.endpoint.client import AttemptError, Call, Endpoint, Served
from calmstorm.endpoint.pool import EndpointPool

__all__ = ["AttemptError", "Call", "Endpoint", "EndpointPool", "Served"]
