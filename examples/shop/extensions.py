"""The extensions; the application factory binds them to the app."""

from __future__ import annotations

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_nightshift import Nightshift


class Base(DeclarativeBase):
    """The base class of the models."""


db = SQLAlchemy(model_class=Base)
jobs = Nightshift()
