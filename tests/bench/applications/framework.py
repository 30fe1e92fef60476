"""The application with FastAPI: a small JSON answer."""

from fastapi import FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


app = FastAPI()


@app.get("/json")
async def item() -> Item:
    return Item(name="spam", price=1.5, tags=["a", "b", "c"])
