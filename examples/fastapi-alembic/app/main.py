"""A shop with a table of products."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, status
from pydantic import BaseModel
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import database

app = FastAPI()
Database = Annotated[Session, Depends(database.session)]


class Product(BaseModel):
    name: str
    price: int


# Plain functions: SQLAlchemy waits for the database, so FastAPI runs them in threads.
@app.get("/products")
def products(session: Database) -> list[Product]:
    found = session.scalars(select(database.Product).order_by(database.Product.name))
    return [Product(name=one.name, price=one.price) for one in found]


@app.post("/products", status_code=status.HTTP_201_CREATED)
def add(product: Product, session: Database) -> Product:
    session.add(database.Product(name=product.name, price=product.price))
    try:
        session.commit()
    except IntegrityError:
        raise HTTPException(status.HTTP_409_CONFLICT, f"there is a product {product.name} already") from None
    return product


@app.get("/ready")
def ready(session: Database) -> None:
    session.execute(text("SELECT 1"))
