"""NDIF's API with every request untrusted, as the public service treats a key without the tag `trusted`.

Without a database of keys NDIF trusts every request that does not say otherwise, and nnsight's client says nothing.
Served beside NDIF's own API, on another port and over the same queue.
"""

from fastapi import Form, Header
from ndif.services.api.app import app
from ndif.services.api.auth import validate_request

__all__ = ["app"]


async def validate_untrusted_request(data: str = Form(), api_key: str | None = Header(None, alias="ndif-api-key")):
    request = await validate_request(data, api_key)
    request.trusted = False
    return request


app.dependency_overrides[validate_request] = validate_untrusted_request
