"""The application with another WebSocket: it pushes without end, or is slow to clean up (CLEANUP_SECONDS)."""

import os
import threading

import main


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        await main.app(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    main.note("accepted")
    if os.environ.get("CLEANUP_SECONDS"):
        while (await receive())["type"] != "websocket.disconnect":
            pass
        await main.sleep(float(os.environ["CLEANUP_SECONDS"]))
        main.note("cleaned")
        return
    while True:
        # The buffers of both ends are full, or will be: 100 kB are gone in much less.
        stuck = threading.Timer(0.5, main.note, ["stuck"])
        stuck.start()
        await send({"type": "websocket.send", "bytes": b"x" * 100000})
        stuck.cancel()
