"""A notebook behind a login: who is in may leave files and fetch them. Everything is Flask as it comes from Debian.

NOTEBOOK_STATE is the directory for files and for the key that signs sessions; all workers share it.
"""
import os
import secrets
import time
from pathlib import Path

from flask import Flask, abort, flash, get_flashed_messages, redirect, render_template_string, request, send_from_directory, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.utils import secure_filename

STATE = Path(os.environ.get("NOTEBOOK_STATE", "state"))
KEY_CHARACTERS = 64
USERS = {"ada": generate_password_hash("engine", method="pbkdf2:sha256:1000")}


def session_key():
    """The same for every worker: who comes first makes it, the others wait until it is written."""
    STATE.mkdir(parents=True, exist_ok=True)
    path = STATE / "key"
    try:
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(made, secrets.token_hex(KEY_CHARACTERS // 2).encode())
        os.close(made)
    except FileExistsError:
        pass
    while len(key := path.read_text()) < KEY_CHARACTERS:
        time.sleep(0.01)
    return key


application = Flask(__name__)
application.secret_key = session_key()
application.config["MAX_CONTENT_LENGTH"] = 256 << 20
application.config["SESSION_COOKIE_PATH"] = "/"

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>notebook</title>
<h1>Notebook</h1>
{% for text in get_flashed_messages() %}<p><em>{{ text }}</em></p>{% endfor %}
{% if user %}
<p>You are {{ user }}, and have been here {{ visits }} times.</p>
<form method="post" action="{{ url_for('logout') }}"><button>Leave</button></form>
<form method="post" action="{{ url_for('upload') }}" enctype="multipart/form-data">
  <input type="file" name="file"> <input name="note" placeholder="a note"> <button>Keep</button></form>
<ul>{% for name in names %}<li><a href="{{ url_for('download', name=name) }}">{{ name }}</a></li>{% endfor %}</ul>
{% else %}
<form method="post" action="{{ url_for('login') }}">
  <input name="name" placeholder="ada"> <input name="password" type="password" placeholder="engine"> <button>Enter</button></form>
{% endif %}"""


def files():
    folder = STATE / "files"
    folder.mkdir(exist_ok=True)
    return folder


@application.get("/")
def index():
    user = session.get("user")
    if user:
        session["visits"] = session.get("visits", 0) + 1
    names = sorted(p.name for p in files().iterdir()) if user else []
    return render_template_string(PAGE, user=user, visits=session.get("visits", 0), names=names, get_flashed_messages=get_flashed_messages)


@application.post("/login")
def login():
    name = request.form.get("name", "")
    if name not in USERS or not check_password_hash(USERS[name], request.form.get("password", "")):
        flash("That is not it.")
        return redirect(url_for("index"))
    session.clear()
    session["user"] = name
    return redirect(url_for("index"))


@application.post("/logout")
def logout():
    session.clear()
    return redirect(url_for("index"))


@application.post("/files")
def upload():
    if "user" not in session:
        abort(403)
    sent = request.files.get("file")
    name = secure_filename(sent.filename) if sent else ""
    if not name:
        abort(400)
    sent.save(files() / name)
    flash(f"Kept {name}: {request.form.get('note', '')}")
    return redirect(url_for("index"))


@application.get("/files/<name>")
def download(name):
    if "user" not in session:
        abort(403)
    return send_from_directory(files().resolve(), name, as_attachment=True)


@application.get("/stream")
def stream():
    """As many lines as asked for, one by one."""
    count = min(int(request.args.get("lines", 10)), 1_000_000)
    return application.response_class((f"line {i}\n" for i in range(count)), mimetype="text/plain")
