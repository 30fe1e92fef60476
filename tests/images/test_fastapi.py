"""What the images with FastAPI do beside all that the plain ones do."""

from __future__ import annotations

import pytest

from tests.images.container import Runner

pytestmark = pytest.mark.images("hypercorn-fastapi")

APPLICATION = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{number}")
async def item(number: int) -> dict:
    return {"number": number}
"""


def test_serves_a_fastapi_application(run: Runner, image: str) -> None:
    with run(image, files={"/app/main.py": APPLICATION}) as container:
        assert container.get("/items/7") == (200, '{"number":7}')
        assert container.get("/items/seven")[0] == 422
        assert '"/items/{number}"' in container.get("/openapi.json")[1]
