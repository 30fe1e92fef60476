"""An application that opens things of its own on asyncio or uvloop, and says what became of each.

`GET /` answers what was opened at start; the lifespan's shutdown notes what of it still works. Runs under plain
Hypercorn too: both must say the same.
"""

import asyncio
import concurrent.futures
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading

HOST = "127.0.0.1"
EVENTS = os.environ["EVENTS"]
_SIGNALS = "print([line for line in open('/proc/self/status') if line[:6] in ('SigBlk', 'SigIgn', 'SigCgt')])"


class Buffered(asyncio.BufferedProtocol):
    """Echoes, with a buffer of its own."""

    def connection_made(self, transport):
        self.transport, self.buffer = transport, bytearray(100)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.buffer[:nbytes]))


class Datagrams(asyncio.DatagramProtocol):
    """Echoes on the server's side, keeps on the client's."""

    def __init__(self, echo):
        self.echo, self.received = echo, asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        if self.echo:
            self.transport.sendto(data, addr)
        else:
            self.received.put_nowait(data)


async def echo(reader, writer):
    while True:
        line = await reader.readline()
        if not line:
            break
        writer.write(line)
    writer.close()


async def asks(reader, writer):
    """Return whether the other side still echoes."""
    writer.write(b"hello\n")
    return (await asyncio.wait_for(reader.readline(), 60)).decode()


def described(server):
    return [type(server).__module__, type(server).__name__, len(server.sockets), server.is_serving()]


class Opened:
    """What the application opened; every check adds what it said at start, and what to ask at the end."""

    def __init__(self):
        self.said, self.last, self.closing = {}, {}, []

    async def streams(self):
        server = await asyncio.start_server(echo, HOST, 0)
        connection = await asyncio.open_connection(*server.sockets[0].getsockname())
        self.last["streams"] = lambda: asks(*connection)
        self.closing += [connection[1].close, server.close]
        return [*described(server), await asks(*connection)]

    async def serve_forever(self):
        server = await asyncio.start_server(echo, HOST, 0)
        async with server:
            try:
                await asyncio.wait_for(server.serve_forever(), 0.1)
            except asyncio.TimeoutError:
                return server.is_serving()

    async def wait_closed(self):
        server = await asyncio.start_server(echo, HOST, 0)
        server.close()
        await asyncio.wait_for(server.wait_closed(), 60)
        return server.is_serving()

    async def given_socket(self):
        server = await asyncio.start_server(echo, sock=socket.create_server((HOST, 0)))
        connection = await asyncio.open_connection(*server.sockets[0].getsockname())
        self.last["given_socket"] = lambda: asks(*connection)
        self.closing += [connection[1].close, server.close]
        return [*described(server), await asks(*connection)]

    async def unix(self):
        server = await asyncio.start_unix_server(echo, EVENTS + ".unix")
        connection = await asyncio.open_unix_connection(EVENTS + ".unix")
        self.last["unix"] = lambda: asks(*connection)
        self.closing += [connection[1].close, server.close]
        return [*described(server), await asks(*connection)]

    async def buffered(self):
        server = await asyncio.get_running_loop().create_server(Buffered, HOST, 0)
        connection = await asyncio.open_connection(*server.sockets[0].getsockname())
        self.last["buffered"] = lambda: asks(*connection)
        self.closing += [connection[1].close, server.close]
        return [*described(server), await asks(*connection)]

    async def datagrams(self):
        create = asyncio.get_running_loop().create_datagram_endpoint
        server, _ = await create(lambda: Datagrams(True), (HOST, 0))
        client, protocol = await create(lambda: Datagrams(False), remote_addr=server.get_extra_info("sockname"))

        async def ask():
            client.sendto(b"hello")
            return (await asyncio.wait_for(protocol.received.get(), 60)).decode()

        self.last["datagrams"] = ask
        self.closing += [client.close, server.close]
        return await ask()

    async def subprocesses(self):
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        kept = await asyncio.create_subprocess_exec("cat", **pipes)
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", _SIGNALS, **pipes)
        signals, _ = await other.communicate()

        async def end():
            said = await asks(kept.stdout, kept.stdin)
            kept.stdin.close()
            return [said, await asyncio.wait_for(kept.wait(), 60)]

        self.last["subprocesses"] = end
        return [other.returncode, signals.decode()]

    async def threads(self):
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=lambda: loop.call_soon_threadsafe(heard.set)).start()
        await asyncio.wait_for(heard.wait(), 60)
        pool = concurrent.futures.ThreadPoolExecutor(1)

        async def ask():
            return [await loop.run_in_executor(where, len, "hello") for where in (None, pool)]

        self.last["threads"] = ask
        self.closing.append(pool.shutdown)
        return await ask()

    async def processes(self):
        pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        ask = lambda: asyncio.get_running_loop().run_in_executor(pool, len, "hello")  # noqa: E731
        self.last["processes"] = ask
        self.closing.append(pool.shutdown)
        return await ask()

    async def signals(self):
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        return await asyncio.wait_for(heard.wait(), 60)

    async def tasks(self):
        task = asyncio.get_running_loop().create_task(asyncio.sleep(1000))

        async def ask():
            return task.done()

        self.last["tasks"] = ask
        self.closing.append(task.cancel)
        return await ask()

    async def grpc(self):
        if not os.environ.get("WITH_PACKAGES"):
            return None
        import grpc

        async def method(data, context):
            return data

        handler = grpc.unary_unary_rpc_method_handler(method)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})])
        port = server.add_insecure_port(HOST + ":0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"{HOST}:{port}")

        async def ask():
            return (await channel.unary_unary("/test.Echo/Echo")(b"hello")).decode()

        async def end():
            said = await ask()
            await channel.close()
            await server.stop(None)
            return said

        self.last["grpc"] = end
        return await ask()

    async def redis(self):
        if not os.environ.get("WITH_PACKAGES"):
            return None
        import valkey.asyncio

        client = valkey.asyncio.Valkey(port=int(os.environ["REDIS_PORT"]))
        subscription = client.pubsub()
        await subscription.subscribe("news")
        await subscription.get_message(timeout=60)

        async def ask():
            await client.publish("news", "hello")
            message = await subscription.get_message(timeout=60)
            return message["data"].decode()

        async def end():
            said = await ask()
            await subscription.aclose()
            await client.aclose()
            return said

        self.last["redis"] = end
        return await ask()


_CHECKS = [name for name in vars(Opened) if not name.startswith("_")]


async def said(check):
    try:
        return await check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await receive()
    if scope["path"] == "/slow":
        with open(EVENTS, "a") as file:
            file.write(f"slow {os.getpid()}\n")
        await asyncio.sleep(1.5)
    body = json.dumps(OPENED.said).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    global OPENED
    OPENED = Opened()
    await receive()
    for name in _CHECKS:
        OPENED.said[name] = await said(getattr(OPENED, name))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    last = {name: await said(check) for name, check in OPENED.last.items()}
    for close in OPENED.closing:
        close()
    with open(EVENTS + ".last", "w") as file:
        json.dump(last, file)
    await send({"type": "lifespan.shutdown.complete"})
