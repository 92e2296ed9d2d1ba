"""The HTTP server: processes and sockets, connections, and the shell between them and a WSGI application.

It knows settings and nothing else of the product, so that the command line can start it
with the name of the application.

Why it is our own: in granian's RSGI interface two other threads hand each request over to
the loop's, and a warm prediction took 237 µs of processor time; with everything in one
thread it took 166, and about a sixth more requests were answered. The parts that are
dangerous are not ours: llhttp (httptools) parses, libuv (uvloop) moves the bytes.
"""

from service.server.files import FileBody
from service.server.lanes import Lane
from service.server.requests import Refusal
from service.server.serving import serve
from service.server.shell import Refuse, Shell

__all__ = ["FileBody", "Lane", "Refusal", "Refuse", "Shell", "serve"]
