"""What `opens` is on asyncio, on trio: an application with a server, a subprocess and threads of its own."""

import json
import os
import subprocess

import trio

EVENTS = os.environ["EVENTS"]
SAID = {}


async def asks(stream):
    """Return whether the other side still echoes."""
    await stream.send_all(b"hello")
    with trio.fail_after(10):
        return (await stream.receive_some(5)).decode()


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        async with trio.open_nursery() as nursery:
            await lifespan(nursery, receive, send)
            nursery.cancel_scope.cancel()
        return
    await receive()
    if scope["path"] == "/slow":
        with open(EVENTS, "a") as file:
            file.write(f"slow {os.getpid()}\n")
        await trio.sleep(1.5)
    body = json.dumps(SAID).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def lifespan(nursery, receive, send):
    await receive()
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    cat = await trio.lowlevel.open_process(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pipes = trio.StapledStream(cat.stdin, cat.stdout)
    done = await trio.run_process(["true"])
    SAID.update(server=await asks(stream), process=await asks(pipes), status=done.returncode)
    SAID["thread"] = await trio.to_thread.run_sync(len, "hello")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    last = {"server": await asks(stream), "process": await asks(pipes)}
    last["thread"] = await trio.to_thread.run_sync(len, "hello")
    await pipes.aclose()
    last["status"] = await cat.wait()
    with open(EVENTS + ".last", "w") as file:
        json.dump(last, file)
    await send({"type": "lifespan.shutdown.complete"})
