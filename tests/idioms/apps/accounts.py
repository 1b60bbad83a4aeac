"""Flask-SQLAlchemy, Flask-Migrate and Flask-Login in one app with the jobs, as in most apps."""

import os

from flask import Flask, current_app
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from ledger import note

from flask_nightshift import Nightshift

db, migrate, login, jobs = SQLAlchemy(), Migrate(), LoginManager(), Nightshift()


class User(UserMixin, db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(80))


@login.user_loader
def load(user_id):
    return db.session.get(User, int(user_id))


@jobs.task(name="greet")
def greet(user_id):
    with current_app.test_request_context():
        login_user(db.session.get(User, user_id))
        note("greet", current_user.name)


@jobs.task(name="nobody")
def nobody():
    note("nobody", current_user)


def create_app():
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    app.config.from_mapping(
        NAME="accounts", SECRET_KEY="x", SQLALCHEMY_DATABASE_URI="sqlite:///accounts.sqlite3"
    )
    db.init_app(app)
    migrate.init_app(app, db)
    login.init_app(app)
    jobs.init_app(app)

    @app.shell_context_processor
    def names():
        return {"db": db, "User": User, "greet": greet, "nobody": nobody, "login_user": login_user}

    return app
