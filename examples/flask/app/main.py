"""Notes that are kept in memory: one process, so that all requests see them."""

import threading

from flask import Flask, Response, jsonify, request

app = Flask(__name__)
notes: list[str] = []
writing = threading.Lock()


@app.get("/notes")
def read() -> Response:
    return jsonify(notes)


@app.post("/notes")
def write() -> tuple[Response, int]:
    with writing:  # requests run in threads
        notes.append(request.get_json()["text"])
        return jsonify(len(notes)), 201
