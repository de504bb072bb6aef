"""What the agent's sources are measured against: the least that a program of one's own would do, each as a script.

Arguments of all: the model's file. They score with the same engine and the same model, check nothing, keep nothing, and
count nothing.
"""

from typing import Final

# A minimal server: the next argument is the port.
HTTP: Final = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from edge_agent.engine.loading import load_engine
with open(sys.argv[1], "rb") as file:
    model = load_engine().open(file.read(), 0)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        scores = [list(model.score(row)) for row in asked["inputs"][0]["data"]]
        body = json.dumps({"outputs": [{"name": "probabilities", "datatype": "FP64", "data": scores}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""

# A loop over lines: the next arguments are the names of the features, separated by commas, and a socket's path or -.
LINES: Final = """
import json, socket, sys
from edge_agent.engine.loading import load_engine
with open(sys.argv[1], "rb") as file:
    model = load_engine().open(file.read(), 0)
names = sys.argv[2].split(",")
if sys.argv[3] == "-":
    lines = sys.stdin.buffer
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[3])
    listener.listen()
    lines = listener.accept()[0].makefile("rb")
with open("bare.jsonl", "w") as answers:
    for number, line in enumerate(lines):
        row = json.loads(line)
        scores = list(model.score([row[name] for name in names]))
        best = max(range(len(scores)), key=scores.__getitem__)
        answers.write(json.dumps({"row": number, "label": best, "confidence": scores[best]}) + "\\n")
        answers.flush()
    import time
    time.sleep(600)
"""
