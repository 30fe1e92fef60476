"""Views, plain and asynchronous."""

import asyncio

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse
from django.urls import path


def kind(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"served": "ASGI" if isinstance(request, ASGIRequest) else "WSGI"})


async def wait(request: HttpRequest) -> JsonResponse:
    await asyncio.sleep(1)
    return JsonResponse({"waited": 1})


urlpatterns = [path("", kind), path("wait", wait)]
