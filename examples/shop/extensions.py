"""The extensions, without an app: the factory binds them."""

from __future__ import annotations

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_nightshift import Nightshift


class Base(DeclarativeBase):
    """The root of the models."""


db = SQLAlchemy(model_class=Base)
jobs = Nightshift()
